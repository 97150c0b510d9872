"""Trees outside the store, read through their symbolic links.

Caches of downloaded datasets are often made of links to content that lies elsewhere. What counts is
the content behind a link, wherever it is.
"""

import stat
from collections.abc import Sequence
from pathlib import Path

from recap_core.errors import DataError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import files_digest
from recap_core.lineage.files import File


def files_behind_links(root: Path, directories: Sequence[str]) -> list[File]:
    """Regular files below some directories of ``root``, links followed, in the order of their path.

    Args:
        root: A directory.
        directories: Names directly below ``root``; those that do not exist are skipped.

    Raises:
        DataError: If a link leads nowhere or into a directory that holds it, or something is
            neither a file nor a directory.
    """
    files: list[File] = []
    for name in sorted(directories):
        if (root / name).is_dir():
            _collect(root / name, f"{name}/", (), files)
    files.sort(key=lambda file: file.relative)
    return files


def outside_digest(root: Path, directories: Sequence[str], cache: DigestCache | None) -> str:
    """Digest of :func:`files_behind_links`: what ``tree_digest`` gives for a copy of them.

    Args:
        root: A directory.
        directories: Names directly below ``root``.
        cache: Digests of unchanged files; None reads every file.

    Raises:
        DataError: As :func:`files_behind_links`, or if a file cannot be read.
    """
    try:
        return files_digest(files_behind_links(root, directories), cache)
    except OSError as error:
        raise DataError(
            f"{root} cannot be read ({error}). Correct its permissions, or copy it first."
        ) from error


def _collect(directory: Path, prefix: str, above: tuple[Path, ...], files: list[File]) -> None:
    here = directory.resolve()
    if here in above:
        raise DataError(
            f"{directory} is a link to a directory that holds it. Remove the link, or copy what "
            "was meant."
        )
    for path in sorted(directory.iterdir()):
        try:
            real = path.resolve(strict=True)
            status = real.stat()
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{path} is a link that leads nowhere ({error}). Download or copy the file again."
            ) from error
        if stat.S_ISDIR(status.st_mode):
            _collect(path, f"{prefix}{path.name}/", (*above, here), files)
        elif stat.S_ISREG(status.st_mode):
            files.append(File(prefix + path.name, real, status))
        else:
            raise DataError(
                f"{path} is neither a file nor a directory. Remove it from the dataset."
            )
