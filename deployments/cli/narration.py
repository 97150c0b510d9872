"""One line per finished stage, while a flow runs."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console

_LOGGER = "prefect.task_runs"
_FINISHED = "Finished in state "


class StageLines(logging.Handler):
    """Says that a task has finished, how, and how long after the one before."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console
        self._since = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line if the record is Prefect's about the end of a task run."""
        message = record.getMessage()
        name = getattr(record, "task_run_name", None)
        if name is None or not message.startswith(_FINISHED):
            return
        state = message.removeprefix(_FINISHED).partition("(")[0].lower()
        now = time.monotonic()
        self._console.print(f"[dim]{name:<32} {state:<10} {now - self._since:6.1f} s[/dim]")
        self._since = now


@contextmanager
def narrated(console: Console) -> Generator[None]:
    """Print a line on ``console`` for every task that finishes inside the block."""
    handler, logger = StageLines(console), logging.getLogger(_LOGGER)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
