"""Sharing files between artifacts by hard link, and removing trees that share.

Linking and unlinking change the ctime of every name of a file, and with it the key of its cached
digest. The functions here carry the digest over, so that a source is not read again.
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.files import WRITE_BITS, File, remove_plain_tree, walk
from recap_core.lineage.layout import MANIFEST_FILE

_CANNOT_LINK = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP}
"""Other file system, too many links, somebody else's file, or no hard links here: copy."""


def link_tree(
    source: Path,
    target: Path,
    *,
    digests: DigestCache | None,
    include: Callable[[str], bool] | None = None,
) -> int:
    """Fill ``target`` with hard links to the files of ``source``, or copies across file systems.

    The manifest of the source and empty directories are left out. Never write into a linked file:
    it is the source's file too. Write a new one and rename it over the link.

    Args:
        source: A directory.
        target: A directory, made if it does not exist; files of the same path must not exist.
        digests: The store's digest cache, so that neither side has to be read again.
        include: Which relative paths to take; all if None.

    Returns:
        New bytes on the disk: 0 for links, the size of each copy.

    Raises:
        ArtifactError: If the source holds symbolic links or special files.
        FileExistsError: If a file exists in the target.
    """
    files = [
        file
        for file in walk(source).files
        if file.relative != MANIFEST_FILE and (include is None or include(file.relative))
    ]
    known = digests.get([file.stat for file in files]) if digests else [None] * len(files)
    target.mkdir(parents=True, exist_ok=True)
    new_bytes = 0
    carried: list[tuple[os.stat_result, str]] = []
    for file, digest in zip(files, known, strict=True):
        path = target / file.relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if _link(file.path, path):
            carried += _carry(file.stat, path.stat(), digest)
        else:
            new_bytes += file.stat.st_size
    if digests:
        digests.put(carried)
    return new_bytes


def link_file(source: Path, target: Path, *, digests: DigestCache | None) -> int:
    """Hard-link one file, or copy it across file systems.

    Args:
        source: A regular file.
        target: Path that does not exist; its directory is made if necessary.
        digests: The store's digest cache.

    Returns:
        New bytes on the disk: 0 for a link, the size of a copy.
    """
    before = source.stat()
    known = digests.get([before])[0] if digests else None
    target.parent.mkdir(parents=True, exist_ok=True)
    if not _link(source, target):
        return before.st_size
    if digests:
        digests.put(_carry(before, target.stat(), known))
    return 0


def remove_tree(root: Path, *, digests: DigestCache) -> None:
    """Remove a tree, read-only parts included, keeping the digests of files linked elsewhere.

    Nothing happens if there is no such tree.
    """
    if not root.is_dir():
        return
    for directory, _, _ in os.walk(root):
        Path(directory).chmod(0o700)
    shared = [file for file in _regular_files(root) if file.stat.st_nlink > 1]
    known = digests.get([file.stat for file in shared])
    carried: list[tuple[os.stat_result, str]] = []
    for file, digest in zip(shared, known, strict=True):
        if digest is not None:
            with file.path.open("rb") as stream:
                file.path.unlink()
                carried += _carry(file.stat, os.fstat(stream.fileno()), digest)
    digests.put(carried)
    remove_plain_tree(root)


def _regular_files(root: Path) -> list[File]:
    """Regular files of a tree that may hold anything."""
    paths = [Path(directory) / name for directory, _, names in os.walk(root) for name in names]
    return [File(str(p), p, p.lstat()) for p in paths if p.is_file() and not p.is_symlink()]


def _link(source: Path, target: Path) -> bool:
    """Hard-link and return True, or copy and return False."""
    try:
        _refuse_to_share(source)
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        with source.open("rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
        return False
    return True


def _refuse_to_share(source: Path) -> None:
    """Raise PermissionError for a file that somebody else may go on writing to."""
    status = source.stat()
    if status.st_mode & WRITE_BITS and status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "belongs to another user", str(source))


def _carry(
    before: os.stat_result, after: os.stat_result, digest: str | None
) -> list[tuple[os.stat_result, str]]:
    """The cache entry of a file after an operation that changed nothing but its ctime."""
    unchanged = (before.st_ino, before.st_size, before.st_mtime_ns) == (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    )
    return [(after, digest)] if digest is not None and unchanged else []
