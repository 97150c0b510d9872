"""Trees of files: walking, making durable and read-only, replacing and removing."""

import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from recap_core.errors import ArtifactError

WRITE_BITS = 0o222


class File(NamedTuple):
    """One regular file of a tree."""

    relative: str
    """Path from the root of the tree, with ``/``."""
    path: Path
    stat: os.stat_result


class Tree(NamedTuple):
    """A directory's regular files, and its directories."""

    files: list[File]
    """In the order of their relative paths as bytes."""
    directories: list[Path]
    """Children before parents, the root last."""


def walk(root: Path) -> Tree:
    """List a tree.

    Raises:
        ArtifactError: If the tree holds a symbolic link, a socket or another special file, which
            cannot be copied, linked or digested by content.
    """
    files: list[File] = []
    directories: list[Path] = []
    _walk(root, "", files, directories)
    files.sort(key=lambda file: os.fsencode(file.relative))
    return Tree(files, directories)


def _walk(directory: Path, prefix: str, files: list[File], directories: list[Path]) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                _walk(Path(entry.path), f"{prefix}{entry.name}/", files, directories)
            elif stat.S_ISREG(status.st_mode):
                files.append(File(prefix + entry.name, Path(entry.path), status))
            else:
                what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a special file"
                raise ArtifactError(
                    f"{entry.path} is {what}; an artifact holds regular files and directories "
                    "only. Copy or hard-link the content instead."
                )
    directories.append(directory)


def sync(path: Path) -> None:
    """Force a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: list[Path]) -> None:
    """Force many files to the disk; side by side, because journals commit them together."""
    if len(paths) < 8:
        for path in paths:
            sync(path)
        return
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(sync, paths):
            pass


def make_read_only(path: Path, mode: int) -> None:
    """Clear the write bits of ``mode``; a path without them is not touched, nor is its ctime."""
    if mode & WRITE_BITS:
        path.chmod(stat.S_IMODE(mode) & ~WRITE_BITS)


def replace_file(path: Path, text: str, *, temporary: Path) -> None:
    """Write a small file so that readers, and a crash, see the old content or the new.

    Args:
        path: The file; its directory is made if it does not exist.
        text: The whole new content.
        temporary: An unused path in the same file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def remove_plain_tree(root: Path) -> None:
    """Remove a tree, read-only directories included; nothing happens if there is none."""
    if not root.is_dir():
        root.unlink(missing_ok=True)
        return
    for directory, _, _ in os.walk(root):
        Path(directory).chmod(0o700)
    shutil.rmtree(root)
