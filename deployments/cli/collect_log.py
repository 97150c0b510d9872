"""Where warnings of drivers and encoders go while a screen is drawn."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

OPERATOR_MESSAGES = "recap_core.collection.operator_desk"
"""Logger of what a status carries as messages anyway."""


@contextmanager
def warnings_go_to(take: Callable[[str], object]) -> Generator[None]:
    """Inside the block what is logged does not run across the screen; ``take`` gets warnings."""
    root, handler = logging.getLogger(), _Warnings(take)
    before, root.handlers[:] = list(root.handlers), [handler]
    try:
        yield
    finally:
        root.handlers[:] = before


class _Warnings(logging.Handler):
    """Passes warnings on, except those that the operator is shown as messages."""

    def __init__(self, take: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != OPERATOR_MESSAGES:
            self._take(record.getMessage())
