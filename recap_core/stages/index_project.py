"""From a snapshot to the page of all projects and the page over all rounds of one."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from recap_core.config.stages import HealthConfig
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.manifest import Manifest
from recap_core.reports.content import Fact, Note
from recap_core.reports.numbers import bytes_text, count, duration, percent, percent_range, points
from recap_core.reports.site_content import (
    ArtifactRow,
    HomePage,
    ProjectPage,
    ProjectRow,
    Rate,
    RefMove,
    RefRow,
    RoundGraph,
    RoundNode,
    RoundRow,
)
from recap_core.stages.index_rounds import Rounds, moment, part, rate_of
from recap_core.stages.index_snapshot import SHOWN_REFS, Snapshot, num_unreadable

NUM_LATEST = 40
LANES = ("recordings", "all data", "value model", "labels", "new policy", "its evaluation")
_LANE_ROLES: tuple[tuple[str, ...], ...] = (
    ("recordings", "rollouts"), ("merged",), ("value_model",), ("labels",), ("policy",),
    ("after", "offline"),
)  # fmt: skip
_START_ROLES = (("demonstrations", 1), ("start", 4), ("before", 5))
_CHAIN = ((0, 1), (1, 2), (2, 3), (3, 4), (1, 4), (4, 5))


def home_page(snapshot: Snapshot) -> HomePage:
    """All projects of a store, and what was made last."""
    latest = sorted(snapshot.manifests.values(), key=_finished, reverse=True)[:NUM_LATEST]
    return HomePage(
        home=str(snapshot.store.home),
        projects=tuple(_project_row(snapshot, *name) for name in snapshot.projects()),
        latest=tuple(artifact_row(manifest) for manifest in latest),
        num_artifacts=len(snapshot.manifests),
        num_unreadable=num_unreadable(snapshot),
    )


def project_page(snapshot: Snapshot, rounds: Rounds, project: str, robot: str) -> ProjectPage:
    """All rounds of a project on a robot."""
    records = snapshot.records.get((project, robot), [])
    rows = rounds.of(project, robot)
    start = rate_of(part(snapshot, records[-1], "before")) if records else None
    finished = [record.manifest.finished_at for record in records]
    return ProjectPage(
        project=project,
        robot=robot,
        updated=f"last round finished {moment(max(finished))} UTC" if finished else "",
        facts=_facts(snapshot, project, robot, rows, start),
        rounds=rows,
        start=start,
        spearman_bar=_spearman_bar(snapshot, records),
        refs=tuple(_refs(snapshot, project, robot)),
        graph=_graph(snapshot, records),
        notes=_notes(rows),
    )


def artifact_row(manifest: Manifest, role: str = "") -> ArtifactRow:
    """An artifact in a table."""
    return ArtifactRow(
        id=manifest.id,
        kind=manifest.kind,
        name=manifest.name,
        finished=moment(manifest.finished_at),
        role=role,
        seconds=(manifest.finished_at - manifest.started_at).total_seconds(),
    )


def _finished(manifest: Manifest) -> tuple[datetime, str]:
    return (manifest.finished_at, manifest.id)


def _project_row(snapshot: Snapshot, project: str, robot: str) -> ProjectRow:
    records = snapshot.records.get((project, robot), [])
    current = snapshot.refs.get(f"{project}/{robot}/current")
    last = records[-1] if records else None
    return ProjectRow(
        project=project,
        robot=robot,
        num_rounds=len(records),
        last_finished=moment(last.manifest.finished_at) if last else "",
        last_verdict=last.artifact.verdict if last else "",
        rates=tuple(rate_of(part(snapshot, record, "after")) for record in records),
        current_id=current,
        current_label=snapshot.label(current) if current else "",
    )


def _facts(
    snapshot: Snapshot,
    project: str,
    robot: str,
    rows: Sequence[RoundRow],
    start: Rate | None,
) -> tuple[Fact, ...]:
    current = snapshot.refs.get(f"{project}/{robot}/current")
    policy = snapshot.manifests.get(current) if current else None
    facts = [
        Fact(
            label="policy in use",
            value=policy.name if policy else "none yet",
            note=current[:8] if current else "",
        ),
        Fact(
            label="rounds",
            value=count(len(rows)),
            note=", ".join(f"{count(number)} {word}" for word, number in _verdicts(rows) if number),
        ),
    ]
    in_use = next((row.new for row in reversed(rows) if row.policy_id == current and row.new), None)
    if in_use is None and current and rows:
        in_use = next((row.current for row in reversed(rows) if row.current), None)
    if in_use is not None:
        note = f"{percent_range(in_use.low, in_use.high)}"
        if start is not None:
            note += f"; {points(in_use.rate - start.rate)} points since the start"
        facts.append(Fact(label="success in use", value=percent(in_use.rate), note=note))
    episodes = sum(row.num_new_episodes for row in rows)
    facts += [
        Fact(label="episodes recorded", value=count(episodes), note="in all rounds"),
        Fact(label="computing", value=duration(sum(row.seconds for row in rows)), note="in all"),
    ]
    sizes = [row.new_bytes for row in rows if row.new_bytes is not None]
    if sizes:
        all_of_them = len(sizes) == len(rows)
        note = "in all rounds" if all_of_them else f"in {count(len(sizes))} of the rounds"
        facts.append(Fact(label="added to the disk", value=bytes_text(sum(sizes)), note=note))
    return tuple(facts)


def _verdicts(rows: Sequence[RoundRow]) -> list[tuple[str, int]]:
    words = {"promoted": "promoted", "candidate": "candidates", "kept": "not taken"}
    return [(word, sum(row.verdict == key for row in rows)) for key, word in words.items()]


def _notes(rows: Sequence[RoundRow]) -> tuple[Note, ...]:
    unreadable = [row.round_index for row in rows if not row.has_settings]
    if not unreadable:
        return ()
    names = ", ".join(str(k) for k in unreadable)
    text = f"Settings and decision of round {names} cannot be read; what changed is not shown."
    return (Note(text=text, severity="warning"),)


def _spearman_bar(snapshot: Snapshot, records: Sequence[IterationRecord]) -> float:
    for record in reversed(records):
        model = part(snapshot, record, "value_model")
        if model is not None:
            health = model.config.get("health", {})
            return float(health.get("min_spearman", HealthConfig().min_spearman))
    return HealthConfig().min_spearman


def _refs(snapshot: Snapshot, project: str, robot: str) -> Iterator[RefRow]:
    for name in SHOWN_REFS:
        ref = f"{project}/{robot}/{name}"
        moves = snapshot.histories.get(ref)
        if moves:
            yield RefRow(
                name=ref,
                moves=tuple(
                    RefMove(artifact_id=move.id, label=snapshot.label(move.id), at=moment(move.at))
                    for move in reversed(moves)
                ),
            )


def _graph(snapshot: Snapshot, records: Sequence[IterationRecord]) -> RoundGraph:
    """Rounds as columns; what existed before the first one stands in column 0."""
    nodes: dict[str, RoundNode] = {}
    edges: list[tuple[str, str]] = []
    for record in records:
        for role, lane in _START_ROLES:
            manifest = part(snapshot, record, role)
            if manifest is not None and manifest.id not in nodes:
                nodes[manifest.id] = _node(snapshot, manifest, 0, lane, record)
        column = _column(snapshot, record, nodes)
        edges += [
            (column[a], column[b])
            for a, b in _CHAIN
            if a in column and b in column and ((a, b) != (1, 4) or 3 not in column)
        ]
        collector = record.id("collector")
        if collector in nodes and 0 in column:
            edges.append((collector, column[0]))
        if record is records[0]:
            edges += _from_the_start(record, column, nodes)
    return RoundGraph(lanes=LANES, nodes=tuple(nodes.values()), edges=tuple(dict.fromkeys(edges)))


def _column(
    snapshot: Snapshot, record: IterationRecord, nodes: dict[str, RoundNode]
) -> dict[int, str]:
    """Add a round's nodes; their ids by lane. What an earlier round made too is not repeated."""
    column: dict[int, str] = {}
    for lane, roles in enumerate(_LANE_ROLES):
        found = (part(snapshot, record, role) for role in roles)
        manifest = next((m for m in found if m is not None), None)
        if manifest is None or manifest.id in nodes:
            continue
        k = record.artifact.round_index
        nodes[manifest.id] = _node(snapshot, manifest, k, lane, record)
        column[lane] = manifest.id
    return column


def _node(
    snapshot: Snapshot, manifest: Manifest, column: int, lane: int, record: IterationRecord
) -> RoundNode:
    artifact = record.artifact
    is_kept = column > 0 and artifact.verdict == "kept" and lane == LANES.index("new policy")
    current = snapshot.refs.get(f"{artifact.project}/{artifact.robot}/current")
    return RoundNode(
        id=manifest.id,
        kind=manifest.kind,
        name=manifest.name,
        round_index=column,
        lane=lane,
        highlight=manifest.id == current,
        faded=is_kept,
    )


def _from_the_start(
    record: IterationRecord, column: dict[int, str], nodes: dict[str, RoundNode]
) -> Iterator[tuple[str, str]]:
    """Edges from what existed before the first round, into it."""
    start, data, before = (record.id(role) for role in ("start", "demonstrations", "before"))
    if data in nodes and 1 in column:
        yield data, column[1]
    if data in nodes and start in nodes:
        yield data, start
    if start in nodes and before in nodes:
        yield start, before
