"""One ``recap up`` per store: two would run long flows side by side, each in its own turn."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from recap_core.errors import ServerError

_NAME = "up.lock"


def refuse_second(home: Path) -> None:
    """Nothing, unless a ``recap up`` runs for the store ``home``; creates nothing.

    Raises:
        ServerError: If one runs.
    """
    if (home / _NAME).exists():
        with only_up(home):
            pass


@contextmanager
def only_up(home: Path) -> Generator[None]:
    """Be the store's ``recap up`` inside the block; the kernel ends it with the process.

    Raises:
        ServerError: If another process is.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / _NAME).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise ServerError(
                f"recap up runs already for {home} ({lock.read().strip() or 'it is starting'}). It "
                "takes runs as they are submitted; to change what it serves, end it with Ctrl-C "
                "and start it again"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        yield
