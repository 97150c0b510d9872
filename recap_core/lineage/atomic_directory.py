"""Directories outside a store that appear whole or not at all: exports, copies, reports."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from recap_core.errors import ArtifactError, DataError
from recap_core.lineage.files import remove_plain_tree, sync, sync_all, walk
from recap_core.lineage.locks import claim


@contextmanager
def atomic_directory(target: Path) -> Generator[Path]:
    """Build ``target`` in a hidden directory beside it, which a rename puts in place at the end.

    On an error nothing is left behind. What a killed process left is removed by the next one that
    builds the same target.

    Args:
        target: A path that does not exist, or an empty directory.

    Yields:
        The empty directory to fill, in the target's file system.

    Raises:
        DataError: If ``target`` holds something, or its parent cannot be written.
        StageLockedError: If another process builds it now.
        ArtifactError: If the disk is full, or the result holds symbolic links.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists and is not empty. Choose a new directory.")
    draft = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with claim(draft.with_suffix(".lock"), timeout_s=0, subject=str(target)):
            remove_plain_tree(draft)
            draft.mkdir()
            try:
                yield draft
                _put_in_place(draft, target)
            finally:
                remove_plain_tree(draft)
    except OSError as error:
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise DataError(
                f"{target} cannot be written ({error}). Choose a directory that you may write to."
            ) from error
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise ArtifactError(
            f"no space left while {target} was written ({error}). The unfinished output was "
            "removed; free space and run it again."
        ) from error


def _put_in_place(draft: Path, target: Path) -> None:
    tree = walk(draft)
    sync_all([file.path for file in tree.files])
    for directory in tree.directories:
        sync(directory)
    draft.rename(target)  # also onto an empty directory
    sync(target.parent)
