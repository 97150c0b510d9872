"""A stage in a child process, seen from its parent.

The child tells its log, progress and result (:mod:`tasks.child_events`); the parent shows them as
if the stage ran here, and raises its error as the same class. The child leads a process group and a
session of its own, so that a Ctrl-C reaches it only through the parent, and is gone when the parent
leaves :func:`run_in_child`, or dies (:mod:`tasks.lifeline`).
"""

import builtins
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recap_core import errors
from recap_core.config.isolation import AcceleratorRuntime
from recap_core.errors import RecapError, StageProcessError, StageTimeoutError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.device_lock import WAITING
from recap_core.lineage.layout import Layout
from recap_core.lineage.store import Store
from recap_core.progress import Bar, Progress
from tasks.child_events import (
    EVENTS,
    BarClosed,
    BarMoved,
    BarOpened,
    Event,
    Failed,
    Logged,
    Made,
    StoppedError,
)
from tasks.child_job import Job, encode

type Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

KEPT_LINES = 20
"""Last lines of what the process printed that an error quotes."""
EXIT_S = 30.0
"""Time to exit for a process that told its result."""
OVER_GRACE_S = 2.0
"""The child kills itself when its grace is over; its parent does if that fails."""


def run_in_child(  # noqa: PLR0913 - what to call, and who watches
    stage: str,
    arguments: Mapping[str, Any],
    runtime: AcceleratorRuntime,
    *,
    store: Store,
    is_refreshed: bool = False,
    progress: Progress,
    log: Log,
) -> Artifact:
    """Run a stage in a process of its own, and return its artifact.

    Args:
        stage: Id of the stage.
        arguments: By parameter of the stage function, without store and progress.
        runtime: How long it may take, and its grace when it is stopped.
        store: Where everything is.
        is_refreshed: Whether it executes although its result exists.
        progress: Who watches.
        log: Who reads what the process logs and prints.

    Raises:
        StageTimeoutError: If it took longer than ``runtime.timeout_s``.
        StageProcessError: If it ended without a result or an error, for instance killed.
        RecapError: What the stage raised, as the same class. Other errors of the standard library
            keep their class too; the rest become RuntimeError.
    """
    job = Job(
        stage=stage,
        home=store.home,
        arguments={name: encode(value) for name, value in arguments.items()},
        is_refreshed=is_refreshed,
        cancel_grace_s=runtime.cancel_grace_s,
        parent_pid=os.getpid(),
    )
    with _started(job) as child, ExitStack() as bars:
        watcher = _Watcher(child, runtime, progress=progress, log=log, bars=bars)
        try:
            watcher.follow()
        except BaseException:
            log.warning("stopping the process of stage %s (pid %d)", stage, child.process.pid)
            watcher.stop()
            raise
    return store.get(watcher.result(stage))


class _Child:
    """The process, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said: queue.SimpleQueue[Event | str] = queue.SimpleQueue()
        """Events, and lines that it printed."""
        self.readers: list[threading.Thread] = []

    def read(self, descriptor: int, *, is_events: bool) -> None:
        """Begin to read one of its pipes to the end."""
        reader = threading.Thread(target=self._read, args=(descriptor, is_events), daemon=True)
        reader.start()
        self.readers.append(reader)

    def _read(self, descriptor: int, is_events: bool) -> None:  # noqa: FBT001 - a thread's arguments
        with os.fdopen(descriptor, "rb") as stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self.said.put(_event(text) if is_events else text)

    def has_ended(self) -> bool:
        """Whether the process is over; its id stays taken until it is reaped."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return (
            self.process.returncode is not None
            or os.waitid(os.P_PID, self.process.pid, options) is not None
        )

    def kill(self) -> None:
        """End it and all that it has started, and reap it."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def _started(job: Job) -> Generator[_Child]:
    """The child process of a job; it is gone afterwards."""
    job_file = Layout(job.home).new_file()  # one that is forgotten here is swept by the store
    job_file.parent.mkdir(parents=True, exist_ok=True)
    job_file.write_text(job.model_dump_json(), encoding="utf-8")
    mine, its = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tasks.child_main", str(job_file), str(its)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(its,),
            start_new_session=True,
            env=environment(job.home),
        )
    except BaseException:
        os.close(mine)
        job_file.unlink()
        raise
    finally:
        os.close(its)
    child = _Child(process)
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        child.read(mine, is_events=True)
        child.read(os.dup(process.stdout.fileno()), is_events=False)
        yield child
    finally:
        child.kill()
        for reader in child.readers:
            reader.join(timeout=1)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        job_file.unlink(missing_ok=True)


def environment(home: Path) -> dict[str, str]:
    """The child's environment: that of this process, and the defaults of one that has a device.

    It may take nine tenths of the device's memory, because nobody else is on it, and keeps its
    compiled programs where all stages of the store do.
    """
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
    defaults = {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
        "JAX_COMPILATION_CACHE_DIR": str(home / "cache" / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    wanted = {"PYTHONPATH": path, "RECAP_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    return defaults | dict(os.environ) | wanted


class _Watcher:
    """Shows what a child says, and ends it when its time is over."""

    def __init__(
        self,
        child: _Child,
        runtime: AcceleratorRuntime,
        *,
        progress: Progress,
        log: Log,
        bars: ExitStack,
    ) -> None:
        self._child = child
        self._runtime = runtime
        self._progress = progress
        self._log = log
        self._stack = bars
        self._bars: dict[int, tuple[ExitStack, Bar]] = {}
        self._waiting: set[int] = set()
        self._worked_s, self._looked_at = 0.0, time.monotonic()
        self._printed: deque[str] = deque(maxlen=KEPT_LINES)
        self._end: Made | Failed | None = None
        self._exit_by: float | None = None

    def follow(self) -> None:
        """Show what the child says until it has ended.

        Raises:
            StageTimeoutError: If its time is over.
        """
        while not self._child.has_ended():
            self._show(wait_s=0.1)
            self._check_time()
            if self._exit_by is not None and time.monotonic() > self._exit_by:
                self._log.warning("the process told its result and does not exit; it is killed")
                break
        self._finish()

    def stop(self) -> None:
        """Tell the child to stop, give it its grace, and see that it is gone."""
        deadline = time.monotonic() + self._runtime.cancel_grace_s + OVER_GRACE_S
        pipe = self._child.process.stdin
        assert pipe is not None  # noqa: S101 - it was asked for
        try:
            with suppress(OSError):
                pipe.write(b"s")
                pipe.flush()
            while not self._child.has_ended() and time.monotonic() < deadline:
                self._show(wait_s=0.1)
        finally:  # a second signal, too, ends it at once
            self._finish()
        if isinstance(self._end, Failed):
            self._log.info("the process ended: %s", self._end.text)

    def result(self, stage: str) -> str:
        """Id of the artifact.

        Raises:
            StageProcessError: If the process told neither a result nor an error.
            RecapError: What the stage raised, or another error.
        """
        if isinstance(self._end, Made):
            return self._end.artifact
        if isinstance(self._end, Failed):
            self._log.error("stage %s failed in its process:\n%s", stage, self._end.traceback)
            raise _error(self._end)
        status = self._child.process.returncode
        how = f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
        printed = "; it printed: " + " | ".join(self._printed) if self._printed else ""
        raise StageProcessError(
            f"the process of stage {stage!r} ended with {how} and told no result. A SIGKILL that "
            "nobody sent is the system's answer to too little memory. Run the stage again to go on "
            f"where it stopped{printed}"
        )

    def _finish(self) -> None:
        self._child.kill()
        for reader in self._child.readers:
            reader.join(timeout=1)
        while self._show(wait_s=0):
            continue

    def _check_time(self) -> None:
        now = time.monotonic()
        if not self._waiting:
            self._worked_s += now - self._looked_at
        self._looked_at = now
        limit = self._runtime.timeout_s
        if limit is not None and self._worked_s > limit and self._end is None:
            raise StageTimeoutError(
                f"the stage's process worked for more than timeout_s ({limit:g} s) and was ended. "
                "Run it again to go on from its last checkpoint, or raise timeout_s of its runtime"
            )

    def _show(self, *, wait_s: float) -> bool:
        """Show the next thing that was said, if it is said in time."""
        try:
            said = self._child.said.get(block=wait_s > 0, timeout=wait_s)
        except queue.Empty:
            return False
        match said:
            case str():
                self._printed.append(said)
                self._log.info("%s", said)
            case Logged():
                self._log.log(said.level, "%s", said.text)
            case BarOpened():
                self._open(said)
            case BarMoved():
                self._bars[said.bar][1].update(said.done, said.note)
            case BarClosed():
                self._waiting.discard(said.bar)
                self._bars.pop(said.bar)[0].close()
            case Made() | Failed():
                self._end, self._exit_by = said, time.monotonic() + EXIT_S
        return True

    def _open(self, opened: BarOpened) -> None:
        if opened.label.startswith(WAITING):
            self._waiting.add(opened.bar)
        # Each on a stack of its own: loops may end in any order. All end with the outer one.
        stack = self._stack.enter_context(ExitStack())
        shown = self._progress.bar(opened.label, opened.total, opened.done)
        self._bars[opened.bar] = stack, stack.enter_context(shown)


def _event(line: str) -> Event | str:
    try:
        return EVENTS.validate_json(line)
    except ValidationError:
        return line  # cut short by a kill


def _error(failed: Failed) -> BaseException:
    """The error that the child raised."""
    kind = getattr(errors, failed.error, None) or getattr(builtins, failed.error, None)
    error: BaseException = RuntimeError(f"{failed.error}: {failed.text}")
    if failed.error == StoppedError.__name__:
        error = RecapError(f"{failed.text}. Run the stage again to go on where it stopped")
    elif failed.errno is not None:
        error = OSError(failed.errno, failed.text, failed.filename)
    elif isinstance(kind, type) and issubclass(kind, Exception):
        with suppress(TypeError):  # some take more than a text
            error = kind(failed.text)
    error.add_note("in the stage's process:\n" + failed.traceback)
    return error
