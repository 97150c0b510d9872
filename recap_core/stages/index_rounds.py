"""From the records of finished rounds to what pages say of each, by their manifests alone."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from recap_core.config.changes import setting_changes
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.manifest import Manifest
from recap_core.reports.families import family_of
from recap_core.reports.site_content import (
    LabelCounts,
    Rate,
    RoundRow,
    StageCost,
    ValueNumbers,
)
from recap_core.stages.index_snapshot import Snapshot
from recap_core.stages.report_numbers import ReportNumbers, read_numbers

INPUT_ROLES = frozenset(
    {"start", "collector", "demonstrations", "norm_stats", "annotations", "earlier"}
)
"""Roles of what a round was given; the rest it made."""

LABEL_FLIPS = "label_flips"
"""Metric of a report: share of the frames in two rounds whose label changed."""


class Rounds:
    """Rows of every project's rounds, made once when first asked for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rows: dict[tuple[str, str], tuple[RoundRow, ...]] = {}

    def of(self, project: str, robot: str) -> tuple[RoundRow, ...]:
        """Every round of a project, oldest first."""
        if (project, robot) not in self._rows:
            self._rows[project, robot] = round_rows(self._snapshot, project, robot)
        return self._rows[project, robot]

    def with_part(self, artifact_id: str) -> list[RoundRow]:
        """Rounds that an artifact is a part of, or the record of."""
        concerned = {id_ for _, id_ in self._snapshot.children.get(artifact_id, [])}
        concerned.add(artifact_id)
        return [
            row for name in self._snapshot.records for row in self.of(*name) if row.id in concerned
        ]


def round_rows(snapshot: Snapshot, project: str, robot: str) -> tuple[RoundRow, ...]:
    """Every round of a project, oldest first."""
    records = snapshot.records.get((project, robot), [])
    seen: set[str] = set()
    rows: list[RoundRow] = []
    for i, record in enumerate(records):
        new = [m for m in made_by(snapshot, record) if m.id not in seen]
        rows.append(_row(snapshot, record, new, records[i - 1] if i else None))
        seen.update(parent.id for parent in record.manifest.parents)
    return tuple(rows)


def made_by(snapshot: Snapshot, record: IterationRecord) -> list[Manifest]:
    """What a round made, in the order in which it was finished; parts that are gone left out."""
    ids = dict.fromkeys(p.id for p in record.manifest.parents if p.role not in INPUT_ROLES)
    found = [snapshot.manifests[id_] for id_ in ids if id_ in snapshot.manifests]
    return sorted(found, key=lambda manifest: (manifest.finished_at, manifest.id))


def part(snapshot: Snapshot, record: IterationRecord, role: str) -> Manifest | None:
    """The one part in a role, None if there is none or it is gone."""
    id_ = record.id(role)
    return None if id_ is None else snapshot.manifests.get(id_)


def rate_of(manifest: Manifest | None) -> Rate | None:
    """What an evaluation found; None for anything else."""
    if manifest is None or manifest.kind != "evaluation":
        return None
    details = manifest.details
    return Rate(
        successes=details["num_successes"],
        episodes=details["num_episodes"],
        low=details["success_low"],
        high=details["success_high"],
    )


def moment(at: datetime) -> str:
    """A time in words."""
    return f"{at:%Y-%m-%d %H:%M}"


def _cost(manifest: Manifest, new_bytes: int | None) -> StageCost:
    """What making an artifact took."""
    frames = manifest.details.get("num_frames")
    return StageCost(
        stage=manifest.stage,
        family=family_of(manifest.kind),
        artifact_id=manifest.id,
        name=manifest.name,
        seconds=(manifest.finished_at - manifest.started_at).total_seconds(),
        frames=frames if isinstance(frames, int) else None,
        new_bytes=new_bytes,
    )


def _row(
    snapshot: Snapshot,
    record: IterationRecord,
    new: Sequence[Manifest],
    previous: IterationRecord | None,
) -> RoundRow:
    artifact = record.artifact
    settings = snapshot.settings[artifact.id]
    earlier = None if previous is None else snapshot.settings[previous.artifact.id]
    policy, report = record.id("policy"), part(snapshot, record, "report")
    current, candidate = (
        snapshot.refs.get(f"{artifact.project}/{artifact.robot}/{name}")
        for name in ("current", "candidate")
    )
    changes = setting_changes(earlier.settings, settings.settings) if earlier and settings else ()
    numbers = read_numbers(snapshot.store, report) if report else ReportNumbers()
    return RoundRow(
        id=artifact.id,
        round_index=artifact.round_index,
        finished=moment(record.manifest.finished_at),
        verdict=artifact.verdict,
        reasons=artifact.reasons,
        policy_id=policy,
        report_id=report.id if report else None,
        new=rate_of(part(snapshot, record, "after")),
        current=rate_of(part(snapshot, record, "current") or part(snapshot, record, "before")),
        is_current=policy is not None and policy == current,
        is_candidate=policy is not None and policy == candidate,
        num_new_episodes=sum(_episodes(new)),
        labels=_labels(part(snapshot, record, "labels")),
        flipped=report.metrics.get(LABEL_FLIPS) if report else None,
        flips=numbers.label_flips,
        value=_value(part(snapshot, record, "value_model")),
        costs=tuple(_cost(made, numbers.new_bytes.get(made.id)) for made in new),
        changes=tuple(changes),
        has_settings=settings is not None,
    )


def _episodes(new: Sequence[Manifest]) -> Iterator[int]:
    for manifest in new:
        if manifest.kind == "recording":
            yield int(manifest.details.get("num_episodes", 0))


def _labels(manifest: Manifest | None) -> LabelCounts | None:
    if manifest is None:
        return None
    names = ("num_positive", "num_negative", "num_none")
    positive, negative, none = (int(manifest.details.get(name, 0)) for name in names)
    return LabelCounts(positive=positive, negative=negative, none=none)


def _value(manifest: Manifest | None) -> ValueNumbers | None:
    if manifest is None:
        return None

    def number(name: str) -> float:
        value = manifest.metrics.get(f"held_out_{name}")
        return math.nan if value is None else value

    def interval(name: str) -> tuple[float, float, float]:
        return number(name), number(f"{name}_low"), number(f"{name}_high")

    return ValueNumbers(
        healthy=bool(manifest.details.get("healthy")),
        imported=manifest.details.get("source") is not None,
        spearman=interval("spearman"),
        separation=interval("separation"),
        cross_entropy=number("cross_entropy"),
    )
