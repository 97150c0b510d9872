"""From artifacts to what a report says of the decision, offline checks, and the round before."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recap_core.config.changes import setting_changes
from recap_core.config.gate import GateConfig, GateDecision
from recap_core.config.stages import ReportConfig
from recap_core.errors import ArtifactError, RecapError
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    Evaluation,
    Iteration,
    Labels,
    ValueCheckpoint,
)
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store
from recap_core.reports.content import Note
from recap_core.reports.label_content import TaskChange
from recap_core.reports.numbers import count, decimal, percent
from recap_core.reports.round_content import (
    ClassRow,
    DecisionPart,
    Moved,
    OfflinePart,
    RoundChange,
    TaskRate,
)

OFFLINE_FILE = "offline.json"

type Metrics = dict[str, float]


class ChangePart(NamedTuple):
    """What changed, numbers of it for the report's manifest, and remarks."""

    change: RoundChange | None
    metrics: Metrics
    notes: tuple[Note, ...]


NOTHING = ChangePart(None, {}, ())


def decision_part(decision: GateDecision | None) -> DecisionPart | None:
    """What the gate decided."""
    if decision is None:
        return None
    return DecisionPart(
        verdict=decision.verdict,
        reasons=decision.reasons,
        tasks=tuple(
            TaskRate(
                task=task.task,
                num_episodes=task.num_episodes,
                current=task.current_rate,
                new=task.new_rate,
                low=task.low,
                high=task.high,
            )
            for task in decision.tasks
        ),
    )


def gate_confidence(settings: Mapping[str, Any]) -> float:
    """Confidence of the gate's intervals under a project's settings; its default without any."""
    gate = settings.get("iteration", {}).get("gate", {})
    return float(gate.get("confidence", GateConfig().confidence))


def offline_part(store: Store, check: Artifact | None) -> OfflinePart | None:
    """What an offline check found; None without one."""
    if check is None:
        return None
    content = json.loads((store.path(check) / OFFLINE_FILE).read_text(encoding="utf-8"))
    details = check.details()
    return OfflinePart(
        num_episodes=details["num_episodes"],
        num_frames=details["num_frames"],
        rows=tuple(
            ClassRow(row["frame_class"], row["num_frames"], row["error"], row.get("current_error"))
            for row in content["errors"]
        ),
        failed=tuple(details["failed"]),
        warnings=tuple(details["warnings"]),
        seen_in_training=details["seen_in_training"],
    )


def change_part(  # noqa: PLR0913 - what this round has, by name
    store: Store,
    previous: Iteration | None,
    *,
    dataset: AnyDataset,
    labels: Labels | None,
    value_model: ValueCheckpoint,
    after: Evaluation | None,
    new: Sequence[Manifest],
    config: ReportConfig,
) -> ChangePart:
    """This round against the one before.

    Args:
        store: Where everything is.
        previous: The round before; None: this is the first one.
        dataset: What the policy was trained on.
        labels: Of this round.
        value_model: Likewise.
        after: Evaluation of the new policy.
        new: Everything that this round made.
        config: Its settings among others.
    """
    if previous is None:
        return NOTHING
    record = IterationRecord(previous, store.manifest(previous))
    before = {role: _part(store, record, role) for role in ("labels", "value_model", "after")}
    recordings = [manifest.details for manifest in new if manifest.kind == "recording"]
    tasks, notes = _label_changes(store, record, dataset, labels)
    moved = [
        *_moved_success(before["after"], after),
        *_moved_metrics(store, before["value_model"], value_model),
        *_moved_positive(before["labels"], labels),
    ]
    change = RoundChange(
        round_index=previous.round_index,
        moved=tuple(moved),
        labels=tasks,
        settings=tuple(setting_changes(record.record(store).settings, config.settings))
        if config.settings
        else (),
        num_new_episodes=sum(details["num_episodes"] for details in recordings),
        num_new_frames=sum(details["num_frames"] for details in recordings),
    )
    return ChangePart(change, _flips(tasks), notes)


def _part(store: Store, record: IterationRecord, role: str) -> Artifact | None:
    id_ = record.id(role)
    try:
        return None if id_ is None else store.get(id_)
    except ArtifactError:
        return None  # removed since


def _label_changes(
    store: Store, record: IterationRecord, dataset: AnyDataset, labels: Labels | None
) -> tuple[tuple[TaskChange, ...], tuple[Note, ...]]:
    """Changes by task on shared episodes; a remark where labels cannot be compared."""
    from recap_core.stages.label_diff import diff_labels
    from recap_core.stages.label_references import Labelled

    earlier = _part(store, record, "labels")
    was = _part(store, record, "relabeled") or _part(store, record, "merged")
    if labels is None or not isinstance(earlier, Labels) or not isinstance(was, AnyDataset):
        return (), ()
    try:
        diff = diff_labels(Labelled(was, earlier), Labelled(dataset, labels), store=store)
    except RecapError as error:
        text = f"Labels cannot be compared with those of the round before: {error}"
        return (), (Note(text=text),)
    return diff.tasks(), ()


def _flips(tasks: Sequence[TaskChange]) -> Metrics:
    """Numbers that pages over many rounds show without reading labels again."""
    frames = sum(task.num_frames for task in tasks)
    if not frames:
        return {}
    changed = sum(task.gained + task.lost + task.other for task in tasks)
    return {
        "label_flips": changed / frames,
        "label_gained": float(sum(task.gained for task in tasks)),
        "label_lost": float(sum(task.lost for task in tasks)),
        "label_frames_compared": float(frames),
    }


def _moved_success(before: Artifact | None, after: Evaluation | None) -> list[Moved]:
    if not isinstance(before, Evaluation) or after is None:
        return []
    old, new = (e.num_successes / e.num_episodes for e in (before, after))
    return [Moved(label="success of the new policy", before=percent(old), after=percent(new))]


def _moved_metrics(
    store: Store, before: Artifact | None, value_model: ValueCheckpoint
) -> list[Moved]:
    if before is None:
        return []
    old, new = store.manifest(before).metrics, store.manifest(value_model).metrics
    names = {
        "held_out_spearman": "rank correlation of V",
        "held_out_separation": "separation of V",
        "held_out_cross_entropy": "cross-entropy, nats",
    }
    return [
        Moved(label=label, before=_number(old.get(name)), after=_number(new.get(name)))
        for name, label in names.items()
        if name in old or name in new
    ]


def _moved_positive(before: Artifact | None, labels: Labels | None) -> list[Moved]:
    if not isinstance(before, Labels) or labels is None:
        return []
    old, new = (x.autonomous_positive_share for x in (before, labels))
    note = f"{count(before.num_positive)} \N{RIGHTWARDS ARROW} {count(labels.num_positive)} frames"
    return [Moved(label="positive in the pool", before=percent(old), after=percent(new), note=note)]


def _number(value: float | None) -> str:
    return decimal(math.nan if value is None else value, 2)
