"""Single files outside the store that appear whole or not at all: pages, recordings, exports."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from recap_core.errors import ArtifactError, DataError
from recap_core.lineage.files import sync
from recap_core.lineage.locks import claim


@contextmanager
def atomic_file(target: Path, *, overwrite: bool = False) -> Generator[Path]:
    """Write ``target`` under a hidden name beside it, which a rename puts in place at the end.

    On an error nothing is left behind. What a killed process left is removed by the next one that
    writes the same target.

    Args:
        target: The file; its directory is made if it does not exist.
        overwrite: Replace a file that exists.

    Yields:
        Path to write to, in the target's file system; nothing is there yet.

    Raises:
        DataError: If ``target`` exists and may not be replaced, or cannot be written.
        StageLockedError: If another process writes it now.
        ArtifactError: If the disk is full.
    """
    target = target.absolute()
    _refuse_existing(target, overwrite=overwrite)
    draft = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with claim(draft.with_suffix(".lock"), timeout_s=0, subject=str(target)):
            draft.unlink(missing_ok=True)
            try:
                yield draft
                sync(draft)
                _refuse_existing(target, overwrite=overwrite)  # it may have come meanwhile
                draft.replace(target)
                sync(target.parent)
            finally:
                draft.unlink(missing_ok=True)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise DataError(
            f"{target} cannot be written ({error}). Choose a place that you may write to."
        ) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise ArtifactError(
            f"no space left while {target} was written ({error}). The unfinished output was "
            "removed; free space and run it again."
        ) from error


def _refuse_existing(target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise DataError(f"{target} is a directory. Choose a file name.")
    if target.exists() and not overwrite:
        raise DataError(f"{target} exists. Choose another name, or replace it with --force.")
