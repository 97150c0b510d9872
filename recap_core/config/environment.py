"""What is read from the process environment."""

import os
import tempfile
from pathlib import Path

from recap_core.errors import ConfigError

API_KEY_VARIABLE = "RECAP_API_KEY"
"""Holds the key of a policy server."""


def recap_home() -> Path:
    """Absolute directory of the store: ``RECAP_HOME``, else ``./recap-home``.

    Raises:
        ConfigError: If something that is no directory has that name.
    """
    home = Path(os.environ.get("RECAP_HOME") or "recap-home").expanduser().absolute()
    if home.exists() and not home.is_dir():
        raise ConfigError(
            f"RECAP_HOME is {home}, which is no directory; set it to one, or a new one"
        )
    return home


def pages_url() -> str | None:
    """Address of the pages about rounds and artifacts, without a slash at its end.

    ``RECAP_PAGES_URL``, which ``recap up`` sets; None if no pages are served.
    """
    return (os.environ.get("RECAP_PAGES_URL") or "").rstrip("/") or None


def accelerator_deployment() -> str | None:
    """Who runs the accelerator stages of flows in this process: ``RECAP_GPU_DEPLOYMENT``.

    ``<flow>/<deployment>`` of an orchestrator; None: they run where the flow runs.
    """
    return os.environ.get("RECAP_GPU_DEPLOYMENT") or None


def api_key(file: Path | None, variable: str = API_KEY_VARIABLE) -> str | None:
    """Key of a policy server: of ``file``, else of the environment variable; None: there is none.

    Raises:
        ConfigError: If it cannot be read, or is not one line of printable ASCII.
    """
    where = str(file or variable)
    try:
        key = file.read_text(encoding="utf-8") if file else os.environ.get(variable, "")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the API key cannot be read from {where}: {error}") from error
    key = key.strip()
    if file is None and not key:
        return None
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{where} must hold one line of printable ASCII: the API key.")
    return key


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


def devices() -> tuple[str, ...]:
    """Names of the accelerators that JAX would use in this process; none on a CPU.

    ``RECAP_DEVICES``: names, separated by commas; ``none``. Otherwise NVIDIA's, of which
    ``CUDA_VISIBLE_DEVICES`` may hide some, unless ``JAX_PLATFORMS`` is ``cpu``.
    """
    named = os.environ.get("RECAP_DEVICES")
    if named is not None:
        return () if named == "none" else _names(named)
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return ()
    found = tuple(sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not found or visible is None:
        return found
    shown = (name for name in _names(visible) if name != "-1")
    return tuple(sorted(f"nvidia{name}" if name.isdigit() else name for name in shown))


def device_locks_dir() -> Path:
    """Where the users of this host's accelerators find each other: ``RECAP_DEVICE_LOCKS``.

    By default a directory of the user's among the host's temporary files, whatever the store.
    """
    value = os.environ.get("RECAP_DEVICE_LOCKS")
    if value:
        return Path(value).expanduser().absolute()
    return Path(tempfile.gettempdir()) / f"recap-devices-{os.getuid()}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))
