"""A store at one moment, read once for all pages: manifests, refs, rounds."""

import logging
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

from recap_core.config.iteration import RecordIterationConfig
from recap_core.errors import ArtifactError
from recap_core.lineage.iterations import IterationRecord, records_among
from recap_core.lineage.layout import Layout
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.refs import RefChange
from recap_core.lineage.store import Store

_log = logging.getLogger(__name__)

SHOWN_REFS = ("current", "candidate")
"""Names of the refs whose history pages show."""


class Snapshot(NamedTuple):
    """What all pages are made from."""

    store: Store
    manifests: Mapping[str, Manifest]
    """By id, oldest first."""
    refs: Mapping[str, str]
    """Artifact id by ref."""
    histories: Mapping[str, list[RefChange]]
    """Moves of the refs that are called like :data:`SHOWN_REFS`."""
    records: Mapping[tuple[str, str], list[IterationRecord]]
    """Rounds by project and robot, in their order; of a round done anew, the last."""
    settings: Mapping[str, RecordIterationConfig | None]
    """Settings and decision by id of the round; None: they cannot be read."""
    children: Mapping[str, list[tuple[str, str]]]
    """(role, id) of everything that was made from an artifact, by its id."""
    removed: Mapping[str, Manifest] = {}
    """Of artifacts that are no longer there, by id."""

    def label(self, artifact_id: str) -> str:
        """``<name>-<id8>``; the short id alone if nothing is known of the artifact."""
        manifest = self.manifests.get(artifact_id) or self.removed.get(artifact_id)
        return f"{manifest.name}-{artifact_id[:8]}" if manifest else artifact_id[:8]

    def projects(self) -> list[tuple[str, str]]:
        """Every project and robot that has a round, or a policy in use."""
        of_refs = {tuple(ref.split("/")[:2]) for ref in self.histories}
        return sorted({*self.records, *((p, r) for p, r in of_refs)})

    def refs_to(self, artifact_id: str) -> tuple[str, ...]:
        """Every ref that points to an artifact."""
        return tuple(ref for ref, id_ in self.refs.items() if id_ == artifact_id)


def read_snapshot(store: Store) -> Snapshot:
    """Read a store; what cannot be read is left out and logged."""
    manifests = {manifest.id: manifest for manifest in store.artifacts()}
    refs = store.refs()
    histories = {ref: _history(store, ref) for ref in refs if ref.split("/")[2] in SHOWN_REFS}
    records = _last_of_every_round(_records(manifests.values()))
    settings = {
        record.artifact.id: _settings(store, record)
        for rounds in records.values()
        for record in rounds
    }
    children: dict[str, list[tuple[str, str]]] = {}
    for manifest in manifests.values():
        for parent in manifest.parents:
            children.setdefault(parent.id, []).append((parent.role, manifest.id))
    removed = {stone.manifest.id: stone.manifest for stone in store.removed()}
    return Snapshot(store, manifests, refs, histories, records, settings, children, removed)


def state_of(store: Store) -> Hashable:
    """Something that differs whenever artifacts or refs were added, moved or removed."""
    layout = Layout(store.home)
    found: list[tuple[str, int, int]] = []
    if layout.artifacts.is_dir():
        found += [
            (kind.name, kind.stat().st_mtime_ns, 0) for kind in sorted(layout.artifacts.iterdir())
        ]
    if layout.refs.is_dir():
        for path in sorted(layout.refs.glob("*/*/*")):
            status = path.stat()
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)


def num_unreadable(snapshot: Snapshot) -> int:
    """Published directories whose manifest could not be read."""
    layout = Layout(snapshot.store.home)
    if not layout.artifacts.is_dir():
        return 0
    kinds = [kind for kind in layout.artifacts.iterdir() if not kind.name.startswith(".")]
    places = sum(1 for kind in kinds if kind.is_dir() for _ in kind.iterdir())
    return max(places - len(snapshot.manifests), 0)


def _records(manifests: Iterable[Manifest]) -> list[IterationRecord]:
    found: list[IterationRecord] = []
    for manifest in manifests:
        try:
            found += records_among([manifest])
        except ArtifactError as error:
            _log.warning("left out: %s", error)
    return found


def _last_of_every_round(
    records: Iterable[IterationRecord],
) -> dict[tuple[str, str], list[IterationRecord]]:
    last: dict[tuple[str, str], dict[int, IterationRecord]] = {}
    for record in sorted(records, key=lambda record: record.manifest.finished_at):
        artifact = record.artifact
        rounds = last.setdefault((artifact.project, artifact.robot), {})
        rounds[artifact.round_index] = record
    return {name: [rounds[k] for k in sorted(rounds)] for name, rounds in sorted(last.items())}


def _settings(store: Store, record: IterationRecord) -> RecordIterationConfig | None:
    try:
        return record.record(store)
    except (ArtifactError, OSError, ValueError) as error:
        _log.warning("settings of round %s cannot be read: %s", record.artifact.id[:8], error)
        return None


def _history(store: Store, ref: str) -> list[RefChange]:
    try:
        return store.ref_history(ref)
    except ArtifactError as error:
        _log.warning("%s", error)
        return []
