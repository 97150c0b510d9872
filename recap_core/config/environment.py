"""What is read from the process environment."""

import os
from pathlib import Path


def recap_home() -> Path:
    """Absolute directory of the store: ``RECAP_HOME``, else ``./recap-home``."""
    return Path(os.environ.get("RECAP_HOME") or "recap-home").expanduser().absolute()


def weights_dir() -> Path | None:
    """Directory of published weights and tokenizers: ``RECAP_WEIGHTS``; None if it is not set."""
    value = os.environ.get("RECAP_WEIGHTS")
    return Path(value).expanduser().absolute() if value else None
