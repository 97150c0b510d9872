"""Content digests: of files, of trees, and of the logical columns of parquet files.

xxh3-128 is fast and guards against accidents, not against adversaries.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import xxhash

from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.files import File, walk
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.lineage.parquet_digests import parquet_column_digests

__all__ = ["content_digests", "files_digest", "parquet_column_digests", "tree_digest"]

_BLOCK = 1 << 20


def tree_digest(root: Path, cache: DigestCache | None, *, trust_cache: bool = True) -> str:
    """xxh3-128, in hexadecimal, over the sorted (relative path, file digest) of a tree.

    The manifest (``artifact.json`` at the root), empty directories, permissions and times do not
    count.

    Args:
        root: The tree.
        cache: Digests of unchanged files; None reads every file.
        trust_cache: If False every file is read, and the cache is only brought up to date.

    Raises:
        ArtifactError: If the tree holds symbolic links or special files.
    """
    files = [file for file in walk(root).files if file.relative != MANIFEST_FILE]
    return files_digest(files, cache, trust_cache=trust_cache)


def files_digest(
    files: Sequence[File], cache: DigestCache | None, *, trust_cache: bool = True
) -> str:
    """The same over files that are already listed, in their order; see :func:`tree_digest`."""
    tree = xxhash.xxh3_128()
    for file, digest in zip(files, _digests(files, cache, trust_cache=trust_cache), strict=True):
        tree.update(os.fsencode(file.relative) + b"\0" + digest.encode("ascii") + b"\n")
    return tree.hexdigest()


def content_digests(paths: Sequence[Path], cache: DigestCache | None) -> list[str]:
    """xxh3-128, in hexadecimal, of the content of each file.

    Args:
        paths: Regular files.
        cache: Digests of unchanged files; None reads every file.
    """
    return _digests([File(str(path), path, path.stat()) for path in paths], cache)


def _digests(
    files: Sequence[File], cache: DigestCache | None, *, trust_cache: bool = True
) -> list[str]:
    known: list[str | None] = [None] * len(files)
    if cache is not None and trust_cache:
        known = cache.get([file.stat for file in files])
    digests: list[str] = []
    fresh: list[tuple[os.stat_result, str]] = []
    for file, cached in zip(files, known, strict=True):
        digest = cached
        if digest is None:
            digest, is_stable = _read_digest(file)
            if is_stable:
                fresh.append((file.stat, digest))
        digests.append(digest)
    if cache is not None:
        cache.put(fresh)
    return digests


def _read_digest(file: File) -> tuple[str, bool]:
    """Digest of the content, and whether the file stayed as it was listed."""
    content = xxhash.xxh3_128()
    with file.path.open("rb", buffering=0) as stream:
        buffer = bytearray(_BLOCK)
        view = memoryview(buffer)
        while size := stream.readinto(buffer):
            content.update(view[:size])
        after = os.fstat(stream.fileno())
    is_stable = _times(after) == _times(file.stat)
    return content.hexdigest(), is_stable


def _times(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
