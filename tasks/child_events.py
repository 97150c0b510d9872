"""What a stage's child process says to its parent: one JSON object per line."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from recap_core.progress import Bar

MIN_INTERVAL_S = 0.2
"""Time between two lines about the same loop."""


class StoppedError(BaseException):
    """SIGTERM, where nothing else is done about it; leaves through every context manager."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Logged(_Event):
    """A line of a log."""

    event: Literal["log"] = "log"
    level: int
    logger: str
    text: str


class BarOpened(_Event):
    """A loop began."""

    event: Literal["bar"] = "bar"
    bar: int
    """Its number among the loops of the process."""
    label: str
    total: int
    done: int


class BarMoved(_Event):
    """A loop went on."""

    event: Literal["moved"] = "moved"
    bar: int
    done: int
    note: str


class BarClosed(_Event):
    """A loop ended."""

    event: Literal["closed"] = "closed"
    bar: int


class Made(_Event):
    """The stage has its result."""

    event: Literal["made"] = "made"
    artifact: str
    """Its id."""


class Failed(_Event):
    """The stage raised an error."""

    event: Literal["failed"] = "failed"
    error: str
    """Name of its class."""
    text: str
    errno: int | None = None
    """Of an error of the operating system."""
    filename: str | None = None
    traceback: str


type Event = Annotated[
    Logged | BarOpened | BarMoved | BarClosed | Made | Failed, Field(discriminator="event")
]

EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


def failure(error: BaseException) -> Failed:
    """What the parent needs to raise the same error."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, OSError) and error.errno is not None:
        return Failed(
            error=type(error).__name__,
            text=error.strerror or "",
            errno=error.errno,
            filename=None if error.filename is None else str(error.filename),
            traceback=trace,
        )
    return Failed(error=type(error).__name__, text=str(error), traceback=trace)


class Speaker:
    """Writes events, from any thread; silent once nobody listens any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, event: BaseModel) -> None:
        """Write one event."""
        line = event.model_dump_json() + "\n"
        try:
            with self._lock:
                self._stream.write(line)
                self._stream.flush()
        except (BrokenPipeError, ValueError):
            return  # the parent died; the lifeline ends this process


class ToldProgress:
    """Progress that is told to the parent process."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._num_bars = 0
        self._lock = threading.Lock()

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar that the parent shows."""
        with self._lock:
            self._num_bars += 1
            number = self._num_bars
        self._speaker.say(BarOpened(bar=number, label=label, total=total, done=done))
        bar = _ToldBar(self._speaker, number)
        try:
            yield bar
        finally:
            bar.tell_last()
            self._speaker.say(BarClosed(bar=number))


class _ToldBar:
    def __init__(self, speaker: Speaker, number: int) -> None:
        self._speaker = speaker
        self._number = number
        self._told_at = 0.0
        self._untold: BarMoved | None = None

    def update(self, done: int, note: str = "") -> None:
        """Tell how far the loop is, if it was not told just now."""
        self._untold = BarMoved(bar=self._number, done=done, note=note)
        if time.monotonic() - self._told_at >= MIN_INTERVAL_S:
            self.tell_last()

    def tell_last(self) -> None:
        """Tell what was held back."""
        untold, self._untold = self._untold, None
        if untold is not None:
            self._told_at = time.monotonic()
            self._speaker.say(untold)


class ToldLog(logging.Handler):
    """Log records that are told to the parent process."""

    def __init__(self, speaker: Speaker) -> None:
        super().__init__(logging.INFO)
        self._speaker = speaker

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a record that cannot be formatted must end nothing
            self.handleError(record)
            return
        self._speaker.say(Logged(level=record.levelno, logger=record.name, text=text))


def flush_output() -> None:
    """Let nothing that was printed be lost."""
    sys.stdout.flush()
    sys.stderr.flush()
