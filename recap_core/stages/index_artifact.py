"""From a snapshot to the page of one round and the page of one artifact."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from recap_core.errors import ArtifactError, ArtifactNotFoundError
from recap_core.lineage.files import walk
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.layout import Layout
from recap_core.lineage.manifest import Manifest
from recap_core.reports.content import (
    Fact,
    Note,
    SuccessBar,
)
from recap_core.reports.numbers import count, duration
from recap_core.reports.site_content import (
    Addresses,
    ArtifactPage,
    ArtifactRow,
    FileRow,
    IterationPage,
)
from recap_core.stages.index_project import artifact_row
from recap_core.stages.index_rounds import INPUT_ROLES, Rounds, moment, part, rate_of
from recap_core.stages.index_snapshot import Snapshot
from recap_core.stages.report_change import decision_part
from recap_core.stages.report_lineage import round_graph

MAX_FILES = 200
"""Files that a page lists; of more, the largest."""
_BARS = (
    ("before", "starting policy", "baseline", "where fine-tuning started"),
    ("current", "policy in use", "earlier", "when the round began"),
    ("control", "control", "control", "same extra steps, demonstrations only"),
    ("after", "new policy", "candidate", "fine-tuned in this round"),
)


def iteration_page(
    snapshot: Snapshot, rounds: Rounds, artifact_id: str, addresses: Addresses
) -> IterationPage:
    """The page of a round.

    Raises:
        ArtifactNotFoundError: If no round has that id.
    """
    record = _record(snapshot, artifact_id)
    artifact = record.artifact
    rows = rounds.of(artifact.project, artifact.robot)
    at = next(i for i, row in enumerate(rows) if row.id == record.artifact.id)
    settings = snapshot.settings.get(record.artifact.id)
    small = round_graph(
        snapshot.manifests,
        {p.id for p in record.manifest.parents if p.role not in INPUT_ROLES},
        highlight=record.id("policy"),
        address=addresses.artifact,
    )
    return IterationPage(
        project=artifact.project,
        robot=artifact.robot,
        row=rows[at],
        bars=_bars(snapshot, record),
        decision=decision_part(settings.decision) if settings else None,
        parts=tuple(_relatives(snapshot, [(p.role, p.id) for p in record.manifest.parents])),
        graph=small.graph,
        num_left_out=small.num_left_out,
        settings=json.dumps(settings.settings, indent=2) if settings else "",
        refs=snapshot.refs_to(artifact.id),
        earlier=rows[at - 1] if at else None,
        later=rows[at + 1] if at + 1 < len(rows) else None,
        notes=_iteration_notes(snapshot, record, has_settings=settings is not None),
    )


def artifact_page(snapshot: Snapshot, rounds: Rounds, artifact_id: str) -> ArtifactPage:
    """The page of an artifact.

    Raises:
        ArtifactNotFoundError: If the store has none of that id, or its manifest cannot be read.
    """
    manifest = snapshot.manifests.get(artifact_id)
    if manifest is None:
        raise ArtifactNotFoundError(
            f"there is no readable artifact {artifact_id} in {snapshot.store.home}"
        )
    files, notes = _files(snapshot, manifest)
    largest = sorted(files, key=lambda file: -file.size_bytes)[:MAX_FILES]
    return ArtifactPage(
        id=manifest.id,
        kind=manifest.kind,
        name=manifest.name,
        facts=_facts(manifest, files),
        details=_plain_facts(manifest.details),
        metrics=_plain_facts(manifest.metrics),
        settings=json.dumps(manifest.config, indent=2) if manifest.config else "",
        parents=tuple(_relatives(snapshot, [(p.role, p.id) for p in manifest.parents])),
        children=tuple(_relatives(snapshot, snapshot.children.get(manifest.id, []))),
        refs=snapshot.refs_to(manifest.id),
        rounds=tuple(rounds.with_part(manifest.id)),
        files=tuple(sorted(largest, key=lambda file: file.path)),
        num_files=len(files),
        size_bytes=sum(file.size_bytes for file in files),
        own_bytes=sum(file.size_bytes for file in files if not file.is_shared),
        notes=notes,
        libraries=manifest.libraries,
    )


def _record(snapshot: Snapshot, artifact_id: str) -> IterationRecord:
    for records in snapshot.records.values():
        for record in records:
            if record.artifact.id == artifact_id:
                return record
    raise ArtifactNotFoundError(
        f"there is no round {artifact_id} in {snapshot.store.home}; of a round done anew, only the "
        "last one has a page"
    )


def _bars(snapshot: Snapshot, record: IterationRecord) -> tuple[SuccessBar, ...]:
    bars, seen = [], set()
    for role, name, kind, note in _BARS:
        manifest = part(snapshot, record, role)
        rate = rate_of(manifest)
        if manifest is None or rate is None or manifest.id in seen:
            continue
        seen.add(manifest.id)
        bars.append(
            SuccessBar(
                name=name,
                successes=rate.successes,
                episodes=rate.episodes,
                low=rate.low,
                high=rate.high,
                per_1000_frames=manifest.details.get("successes_per_1000_frames", 0.0),
                role=kind,  # pyright: ignore[reportArgumentType] - one of the literals above
                note=note,
            )
        )
    return tuple(bars)


def _relatives(snapshot: Snapshot, ids: Sequence[tuple[str, str]]) -> list[ArtifactRow]:
    return [
        artifact_row(snapshot.manifests[id_], role)
        if id_ in snapshot.manifests
        else _absent_row(id_, role, snapshot.removed.get(id_))
        for role, id_ in ids
    ]


def _absent_row(id_: str, role: str, removed: Manifest | None) -> ArtifactRow:
    """Something that is not in the store: removed, or never brought here."""
    if removed is None:
        return ArtifactRow(id=id_, kind="removed", name="", finished="", role=role, in_store=False)
    return replace(artifact_row(removed, role), in_store=False)


def _iteration_notes(
    snapshot: Snapshot, record: IterationRecord, *, has_settings: bool
) -> tuple[Note, ...]:
    notes = []
    if not has_settings:
        notes.append(Note(text="Its settings and decision cannot be read.", severity="warning"))
    gone = [p.role for p in record.manifest.parents if p.id not in snapshot.manifests]
    if gone:
        notes.append(Note(text=f"No longer in the store: {', '.join(sorted(set(gone)))}."))
    model = part(snapshot, record, "value_model")
    if model is not None and not model.details.get("healthy"):
        notes.append(
            Note(text="The value model was not healthy, or never judged.", severity="warning")
        )
    return tuple(notes)


def _files(snapshot: Snapshot, manifest: Manifest) -> tuple[list[FileRow], tuple[Note, ...]]:
    try:
        artifact = manifest.artifact()
        place = Layout(snapshot.store.home).artifact(artifact.directory, manifest.name, manifest.id)
        tree = walk(place)
    except (ArtifactError, OSError) as error:
        text = f"Its files cannot be listed: {error}"
        return [], (Note(text=text, severity="warning"),)
    return [
        FileRow(path=file.relative, size_bytes=file.stat.st_size, is_shared=file.stat.st_nlink > 1)
        for file in tree.files
    ], ()


def _facts(manifest: Manifest, files: Sequence[FileRow]) -> tuple[Fact, ...]:
    took = (manifest.finished_at - manifest.started_at).total_seconds()
    return (
        Fact(label="id", value=manifest.id),
        Fact(label="made by", value=f"{manifest.stage} version {manifest.stage_version}"),
        Fact(label="finished", value=f"{moment(manifest.finished_at)} UTC"),
        Fact(label="took", value=duration(took), note=f"on {manifest.host}"),
        Fact(label="code", value=manifest.code_version),
        Fact(label="stage key", value=manifest.stage_key),
        Fact(label="content digest", value=manifest.digest),
        Fact(label="files", value=count(len(files))),
    )


def _plain_facts(values: Mapping[str, object]) -> tuple[Fact, ...]:
    return tuple(
        Fact(label=name.replace("_", " "), value=_words(value)) for name, value in values.items()
    )


def _words(value: object) -> str:
    match value:
        case None:
            text = "none"
        case bool():
            text = "yes" if value else "no"
        case int():
            text = count(value)
        case float():
            text = f"{value:.6g}"
        case list() | tuple():
            text = ", ".join(_words(item) for item in value) or "none"
        case dict():
            items = [f"{name}: {_words(item)}" for name, item in value.items()]
            text = ", ".join(items) or "none"
        case _:
            text = str(value)
    return text
