"""What is read from the process environment."""

import os
from pathlib import Path


def recap_home() -> Path:
    """Absolute directory of the store: ``RECAP_HOME``, else ``./recap-home``."""
    return Path(os.environ.get("RECAP_HOME") or "recap-home").expanduser().absolute()


def weights_dir() -> Path | None:
    """Directory of published weights and tokenizers; None if neither variable is set.

    ``RECAP_WEIGHTS``, else ``OPENPI_VLM_CKPT_DIR``: the bundle has Gemma's tokenizer.
    """
    value = os.environ.get("RECAP_WEIGHTS")
    return Path(value).expanduser().absolute() if value else vlm_bundle_dir()


def vlm_bundle_dir() -> Path | None:
    """The reference's bundle of SigLIP, Gemma 3 and tokenizer: ``OPENPI_VLM_CKPT_DIR``, or None."""
    value = os.environ.get("OPENPI_VLM_CKPT_DIR")
    return Path(value).expanduser().absolute() if value else None


def accelerator_deployment() -> str | None:
    """Who runs the accelerator stages of flows in this process: ``RECAP_GPU_DEPLOYMENT``.

    ``<flow>/<deployment>`` of an orchestrator; None: they run where the flow runs.
    """
    return os.environ.get("RECAP_GPU_DEPLOYMENT") or None
