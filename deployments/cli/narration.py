"""One line per finished stage and per warning, while a flow runs."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

_LOGGER = "prefect.task_runs"
_WARNED_BY = (_LOGGER, "prefect.flow_runs", "recap_core", "tasks", "flows")
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


class Warnings(logging.Handler):
    """Repeats what flows, tasks and stages warn of; their errors are told when the flow ends."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning."""
        if record.levelno == logging.WARNING:
            text = escape(record.getMessage())
            self._console.print(f"[yellow]{text}[/yellow]", soft_wrap=True)


@contextmanager
def narrated(console: Console) -> Generator[None]:
    """Print on ``console`` every task that finishes, and every warning, inside the block."""
    handlers = [(_LOGGER, StageLines(console)), *((name, Warnings(console)) for name in _WARNED_BY)]
    for name, handler in handlers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name, handler in handlers:
            logging.getLogger(name).removeHandler(handler)
