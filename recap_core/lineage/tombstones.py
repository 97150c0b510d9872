"""What is left of a removed artifact: its manifest.

Lineage, differences between rounds and the question why something ran again are answered from
manifests, so they can still be answered when the content is gone.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from recap_core.errors import ArtifactError
from recap_core.lineage.artifacts import KINDS, Artifact
from recap_core.lineage.files import replace_file
from recap_core.lineage.layout import ID_PREFIX, Layout
from recap_core.lineage.manifest import Manifest, read_manifest

_log = logging.getLogger(__name__)


class Tombstone(BaseModel):
    """A removed artifact."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    manifest: Manifest
    removed_at: AwareDatetime
    reason: str
    """Why it was removed, in a sentence."""

    def __str__(self) -> str:
        manifest = self.manifest
        return (
            f"{manifest.kind} {manifest.name}-{manifest.id[:8]} was removed on "
            f"{self.removed_at:%Y-%m-%d %H:%M %Z} ({self.reason})"
        )


def write_tombstone(layout: Layout, tombstone: Tombstone) -> None:
    """Remember an artifact that is about to be removed."""
    path = _path(layout, tombstone.manifest.id)
    replace_file(path, tombstone.model_dump_json() + "\n", temporary=layout.new_file())


def drop_tombstone(layout: Layout, artifact_id: str) -> None:
    """Forget that an artifact was removed; nothing happens if it was not."""
    _path(layout, artifact_id).unlink(missing_ok=True)


def read_tombstones(layout: Layout, prefix: str = "") -> Iterator[Tombstone]:
    """Removed artifacts whose id starts with ``prefix``; an unreadable one is logged and left out.

    One whose artifact was made again since is among them.
    """
    if not layout.removed.is_dir():
        return
    for path in sorted(layout.removed.glob(f"{prefix}*.json")):
        try:
            yield Tombstone.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            _log.warning("left out: %s is no record of a removed artifact: %s", path, error)


def find_tombstone(layout: Layout, reference: str) -> Tombstone | None:
    """What was removed under that id, unique id prefix, or ``<name>-<id8>``."""
    name, _, prefix = reference.rpartition("-")
    if not ID_PREFIX.fullmatch(prefix):
        return None
    stones = [s for s in read_tombstones(layout, prefix) if name in {"", s.manifest.name}]
    return stones[0] if len(stones) == 1 else None


def why_missing(layout: Layout, artifact: Artifact) -> str:
    """Why an artifact is not in the store, in a sentence."""
    stone = next(read_tombstones(layout, artifact.id), None)
    if stone is not None:
        return f"{stone}; run the stage that made it again"
    return (
        f"{artifact.kind} {artifact.name}-{artifact.id[:8]} is not in {layout.home}; "
        "it was removed, moved aside as damaged, or belongs to another store"
    )


def removed_artifacts(layout: Layout) -> list[Tombstone]:
    """What was removed and not made again, oldest first."""
    present = _present_places(layout)
    gone = [stone for stone in read_tombstones(layout) if not _is_present(stone.manifest, present)]
    return sorted(gone, key=lambda stone: (stone.manifest.finished_at, stone.manifest.id))


def removed_ids(layout: Layout) -> set[str]:
    """Ids of everything that was ever removed, whether or not it was made again."""
    return {path.stem for path in layout.removed.glob("*.json")}


def _present_places(layout: Layout) -> dict[tuple[str, str], list[Path]]:
    """Published directories by kind's directory and first 8 digits of the id."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in layout.artifacts.glob("[!.]*/*"):
        found.setdefault((path.parent.name, path.name[-8:]), []).append(path)
    return found


def _is_present(manifest: Manifest, places: dict[tuple[str, str], list[Path]]) -> bool:
    """Whether it was made again, perhaps under another name."""
    kind = KINDS.get(manifest.kind)
    directory = kind.directory if kind else manifest.kind
    for path in places.get((directory, manifest.id[:8]), ()):
        try:
            if read_manifest(path).id == manifest.id:
                return True
        except ArtifactError:
            continue
    return False


def _path(layout: Layout, artifact_id: str) -> Path:
    return layout.removed / f"{artifact_id}.json"
