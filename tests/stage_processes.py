"""Watching the processes that stages run in."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def is_stage(pid: int) -> bool:
    """Whether a process is alive and runs a stage."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"tasks.child_main" in command and is_alive(pid)


def descendants(pid: int) -> Iterator[int]:
    """Processes below one that are its main thread's."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from descendants(child)


def until[R](ask: Callable[[], R | None], timeout_s: float = 300.0) -> R:
    """The first answer that is not empty, asked for again and again."""
    deadline = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.05)
    return answer
