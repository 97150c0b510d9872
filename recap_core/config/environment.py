"""What is read from the process environment."""

import os
from pathlib import Path


def recap_home() -> Path:
    """Absolute directory of the store: ``RECAP_HOME``, else ``./recap-home``."""
    return Path(os.environ.get("RECAP_HOME") or "recap-home").expanduser().absolute()


def pages_url() -> str | None:
    """Address of the pages about rounds and artifacts, without a slash at its end.

    ``RECAP_PAGES_URL``, which ``recap up`` sets; None if no pages are served.
    """
    return (os.environ.get("RECAP_PAGES_URL") or "").rstrip("/") or None


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
