"""What lies in a store and is no artifact: unfinished work, damaged artifacts, caches."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from recap_core.config.retention import RetentionConfig
from recap_core.errors import ArtifactError
from recap_core.lineage.artifacts import KINDS
from recap_core.lineage.layout import Layout
from recap_core.lineage.locks import holder
from recap_core.lineage.manifest import read_manifest
from recap_core.lineage.retention import IMPORTS, ORIGINALS


class Leftover(NamedTuple):
    """A file or directory that is no artifact, and can go."""

    path: Path
    what: str
    key: str | None = None
    """Stage key whose lock protects it."""


def leftovers(layout: Layout, config: RetentionConfig) -> Iterator[Leftover]:
    """What is old enough to go, and what it is."""
    yield from _unfinished(layout, timedelta(days=config.work_days))
    for path in _children(layout.corrupt):
        age = timedelta(seconds=time.time() - path.lstat().st_ctime)  # since it was moved there
        is_original = config.originals and _is_original(path)  # perhaps not all of it is lost
        if age >= timedelta(days=config.corrupt_days) and not is_original:
            yield Leftover(path, f"damaged artifact, moved aside {_days(age)} ago")
    yield from _caches(layout, timedelta(days=config.cache_days))


def _is_original(damaged: Path) -> bool:
    """Whether it was something that no stage can make again."""
    directories = {KINDS[kind].directory for kind in ORIGINALS}
    if any(damaged.name.startswith(f"{directory}-") for directory in directories):
        return True
    try:
        return read_manifest(damaged).stage in IMPORTS
    except ArtifactError:
        return False


def _unfinished(layout: Layout, least: timedelta) -> Iterator[Leftover]:
    """Partial work, and drafts of hosts that are gone: every host sweeps its own."""
    found = [(path.name, path, "work") for path in _children(layout.works)]
    found += [(key, path, "artifact") for key, path in layout.drafts()]
    for key, path, what in found:
        if (age := age_of(path)) >= least and holder(layout.lock(key)) is None:
            yield Leftover(path, f"unfinished {what}, untouched for {_days(age)}", key)


def _caches(layout: Layout, least: timedelta) -> Iterator[Leftover]:
    for path in sorted(layout.home.glob("digests-*.sqlite")):
        if (age := age_of(path)) >= least:
            yield Leftover(path, f"digests of a host, unused for {_days(age)}")
    for cache in _children(layout.caches):
        for path in _children(cache):
            if (age := age_of(path)) >= least:
                yield Leftover(path, f"cache of {cache.name}, unused for {_days(age)}")


def files_below(root: Path) -> Iterator[os.stat_result]:
    """Of every file of a tree, or of the one that ``root`` is; what vanishes meanwhile is none."""
    with suppress(FileNotFoundError):
        if not root.is_dir():
            yield root.lstat()
            return
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from files_below(Path(entry.path))
                else:
                    with suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False)


def _children(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def age_of(root: Path) -> timedelta:
    """Since anything below ``root`` was last written or read."""
    newest = max((max(f.st_mtime, f.st_atime) for f in files_below(root)), default=0.0)
    try:
        newest = max(newest, root.lstat().st_mtime)
    except FileNotFoundError:  # it has just been finished, or cleared
        return timedelta(0)
    return timedelta(seconds=time.time() - newest)


def _days(age: timedelta) -> str:
    return f"{age / timedelta(days=1):.0f} days"
