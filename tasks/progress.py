"""Progress of a stage, seen in the Prefect UI and on the terminal."""

import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from recap_core.progress import Bar, Progress, Silent, Terminal

_log = logging.getLogger(__name__)


class TaskProgress:
    """A progress artifact of the running task, and a bar if a terminal is there to see it.

    The artifact is written by a thread of its own, about once in ``interval_s`` seconds, so that
    the loop never waits for the server. Loops shorter than that leave none.
    """

    def __init__(self, *, interval_s: float = 1.0, terminal: Progress | None = None) -> None:
        self._interval_s = interval_s
        self._terminal = terminal or (Terminal() if sys.stderr.isatty() else Silent())

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar on the terminal and in the UI."""
        with self._terminal.bar(label, total, done) as bar:
            reporter = _Reporter(label, total, done)
            stop = threading.Event()
            run = contextvars.copy_context().run  # the thread reports for this task run
            thread = threading.Thread(target=run, args=(reporter.report, stop, self._interval_s))
            thread.start()
            try:
                yield _BothBars(bar, reporter)
            finally:
                stop.set()
                thread.join()


class _BothBars:
    """Forwards to the terminal's bar, and tells the reporter."""

    def __init__(self, bar: Bar, reporter: "_Reporter") -> None:
        self._bar = bar
        self._reporter = reporter

    def update(self, done: int, note: str = "") -> None:
        """Say how far the loop is."""
        self._bar.update(done, note)
        self._reporter.done = done
        self._reporter.note = note


class _Reporter:
    """Writes the newest state of one loop to its progress artifact."""

    def __init__(self, label: str, total: int, done: int) -> None:
        self._label = label
        self._total = total
        self.done = done
        self.note = ""
        self._artifact: UUID | None = None

    def report(self, stop: threading.Event, interval_s: float) -> None:
        """Report until ``stop`` is set, and once more then."""
        while not stop.wait(interval_s):
            if not self._survives(self._write):
                return
        if self._artifact is not None:
            self._survives(self._write)

    def _write(self) -> None:
        percent = 100.0 * min(self.done / self._total, 1.0) if self._total else 100.0
        text = f"{self._label}: {self.done} of {self._total} {self.note}".rstrip()
        if self._artifact is None:
            self._artifact = cast("UUID", create_progress_artifact(percent, description=text))
        else:
            update_progress_artifact(self._artifact, percent, description=text)

    @staticmethod
    def _survives(write: Callable[[], None]) -> bool:
        """Whether the server took it; hours of training must not end because it did not."""
        try:
            write()
        except (httpx.HTTPError, PrefectException, OSError) as error:
            _log.warning("progress is no longer reported: %s", error)
            return False
        return True
