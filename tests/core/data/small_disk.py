"""Small file systems for tests: full after some kilobytes, or read-only."""

import gc
import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(directory: Path, *, size_kb: int) -> Generator[Path]:
    """A tmpfs of ``size_kb`` kilobytes on a new directory.

    Raises:
        OSError: If this process may not mount one.
    """
    directory.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(directory))
    try:
        yield directory
    finally:
        gc.collect()  # what an exception still holds open keeps the disk busy
        _run("umount", str(directory))


def set_read_only(directory: Path, *, is_read_only: bool) -> None:
    """Make a mounted disk read-only, or writable again."""
    _run("mount", "-o", "remount," + ("ro" if is_read_only else "rw"), str(directory))


def why_no_disk(directory: Path) -> str | None:
    """Why no disk can be mounted here; None if one can."""
    if os.geteuid() != 0:
        return "mounting a tmpfs needs root"
    try:
        with small_disk(directory, size_kb=16):
            return None
    except OSError as error:
        return f"mounting a tmpfs is not allowed here ({error})"


def _run(name: str, *arguments: str) -> None:
    command = [shutil.which(name) or name, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - ours
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
