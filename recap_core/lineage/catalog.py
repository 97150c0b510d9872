"""Finding published artifacts: by stage key, id, name, or all of them."""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from recap_core.errors import ArtifactError, ArtifactNotFoundError
from recap_core.lineage.files import replace_file
from recap_core.lineage.layout import ID_PREFIX, NAME, Layout
from recap_core.lineage.manifest import Manifest, read_manifest
from recap_core.lineage.tombstones import find_tombstone

_log = logging.getLogger(__name__)

_DIRECTORY = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]{0,63})-(?P<id8>[0-9a-f]{8})")


class Catalog:
    """What a store has published.

    The index of stage keys is a directory with one file per key. An entry is written before its
    artifact is renamed into place, so no published artifact lacks one; an entry whose artifact
    never came is taken for none. If the whole directory is missing, it is rebuilt from the
    manifests.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def by_stage_key(self, key: str) -> Path | None:
        """Directory of the artifact of that key, None if there is none."""
        self.ensure_index()
        try:
            relative = (self._layout.index / key).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        kind, _, name = relative.partition("/")
        if not (NAME.fullmatch(kind) and _DIRECTORY.fullmatch(name)):
            _log.warning("index entry %s holds %r, no artifact's place; ignored", key, relative)
            return None
        directory = self._layout.artifacts / kind / name
        return directory if directory.is_dir() else None

    def record(self, key: str, directory: Path) -> None:
        """Let ``key`` lead to ``directory``, which may not exist yet."""
        self.ensure_index()
        _write_entry(self._layout, self._layout.index, key, directory)

    def touch(self, key: str) -> None:
        """Note that the artifact of ``key`` is being used now."""
        entry = self._layout.index / key
        with suppress(OSError):  # a store that may only be read, or the artifact is going
            try:
                os.utime(entry)  # by the clock of the file system, which all hosts share
            except PermissionError:  # another user's entry
                text = entry.read_text(encoding="utf-8")
                replace_file(entry, text, temporary=self._layout.new_file())

    def last_used_ns(self, key: str) -> int | None:
        """When the artifact of ``key`` was last asked for; None if nothing is known of it."""
        try:
            return (self._layout.index / key).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def forget(self, key: str) -> None:
        """Drop the entry of ``key``."""
        (self._layout.index / key).unlink(missing_ok=True)

    def ensure_index(self) -> None:
        """Rebuild the index if it is missing and anything has been published."""
        if not self._layout.index.is_dir() and self._layout.artifacts.is_dir():
            self.rebuild_index()

    def rebuild_index(self) -> None:
        """Read every manifest and write the index afresh.

        Older artifacts of a key give way to newer ones. If another process has put an index in
        place meanwhile, that one stays.
        """
        fresh = self._layout.new_file()
        fresh.mkdir(parents=True)
        for directory, manifest in sorted(self.readable(), key=lambda pair: _age(pair[1])):
            _write_entry(self._layout, fresh, manifest.stage_key, directory)
        self._layout.index.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.rename(self._layout.index)
        except OSError:  # not empty: somebody was faster
            shutil.rmtree(fresh)

    def manifests(self) -> list[Manifest]:
        """Every readable manifest, oldest first; unreadable ones are logged and left out."""
        return sorted((manifest for _, manifest in self.readable()), key=_age)

    def directories(self) -> Iterator[Path]:
        """Every published directory, in no particular order."""
        if not self._layout.artifacts.is_dir():
            return
        for kind in self._layout.artifacts.iterdir():
            if kind.is_dir() and not kind.name.startswith("."):
                yield from (path for path in kind.iterdir() if _DIRECTORY.fullmatch(path.name))

    def resolve(self, reference: str) -> Path:
        """Directory of the artifact with that id, id prefix (6 digits or more) or ``<name>-<id8>``.

        Raises:
            ArtifactNotFoundError: If there is none.
            ArtifactError: If there are several.
        """
        found = [path for path in self.directories() if path.name == reference]
        if not found and ID_PREFIX.fullmatch(reference):
            found = [path for path in self.directories() if _has_id_prefix(path, reference)]
        if not found:
            stone = find_tombstone(self._layout, reference)
            if stone is not None:
                raise ArtifactNotFoundError(f"{stone}; run the stage that made it again")
            raise ArtifactNotFoundError(
                f"no artifact {reference!r} in {self._layout.home}: give an id, at least 6 digits "
                "of one, '<name>-<id8>', or a ref like 'project/robot/current'"
            )
        if len(found) > 1:
            names = ", ".join(sorted(f"{path.parent.name}/{path.name}" for path in found))
            raise ArtifactError(f"{reference!r} fits {len(found)} artifacts ({names}); say more")
        return found[0]

    def readable(self) -> Iterator[tuple[Path, Manifest]]:
        """Directory and manifest of every artifact; unreadable ones are logged and left out."""
        for directory in self.directories():
            try:
                yield directory, read_manifest(directory)
            except ArtifactError as error:
                _log.warning("left out: %s", error)


def _age(manifest: Manifest) -> tuple[object, str]:
    return (manifest.finished_at, manifest.id)


def _has_id_prefix(directory: Path, prefix: str) -> bool:
    if not directory.name[-8:].startswith(prefix[:8]):
        return False
    return len(prefix) <= 8 or read_manifest(directory).id.startswith(prefix)


def _write_entry(layout: Layout, index: Path, key: str, directory: Path) -> None:
    relative = directory.relative_to(layout.artifacts).as_posix()
    replace_file(index / key, relative + "\n", temporary=layout.new_file())
