"""Two rounds, policies, datasets or label sets beside each other.

Nothing is published, so this is no stage of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recap_core.config.gate import GateDecision
from recap_core.errors import ArtifactError, IncompatibleError, RecapError
from recap_core.evaluation.gate_words import STOPPED_EARLY, SuccessDifference
from recap_core.lineage.artifacts import (
    Annotations,
    AnyDataset,
    Artifact,
    Evaluation,
    Iteration,
    Labels,
    PolicyCheckpoint,
    Recording,
    ValueCheckpoint,
    Values,
)
from recap_core.lineage.changes import changes
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.snapshot import Snapshot
from recap_core.stages.diff_content import (
    FlipExample,
    Flips,
    LineageDiff,
    Pair,
    TaskFlips,
)
from recap_core.stages.evaluate import is_stopped_early
from recap_core.stages.judge import success_difference
from recap_core.stages.trace import (
    made_from,
    named,
    recordings_behind,
    traced_evaluation,
    traced_labels,
    traced_value_model,
)
from recap_core.stages.trace_content import (
    Named,
    TracedAnnotations,
    TracedEvaluation,
    TracedLabels,
    TracedValueModel,
)

if TYPE_CHECKING:
    from recap_core.stages.label_diff import LabelDiff

MAX_EXAMPLES = 5
"""Episodes with flipped labels that are shown."""
MAX_FRAMES = 3


@dataclass(kw_only=True)
class _Side:
    """What belongs to one of two artifacts; ids, None where there is none."""

    subject: Artifact
    data: str | None = None
    """Dataset, labels or policy: where the way back to recordings begins."""
    labels: str | None = None
    value_model: str | None = None
    policy: str | None = None
    evaluation: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    decision: GateDecision | None = None


def diff_lineage(
    snapshot: Snapshot, old: Artifact, new: Artifact, *, with_labels: bool = True
) -> LineageDiff:
    """Everything that differs between two artifacts of one kind.

    Args:
        snapshot: Their store.
        old: A round, policy, dataset, labels, value model, evaluation or recording.
        new: Another one.
        with_labels: Also compare labels frame by frame, for which both datasets are read.

    Raises:
        IncompatibleError: If they are of different kinds, or of one that cannot be compared.
    """
    if _family(old) != _family(new):
        raise IncompatibleError(
            f"{old.name}-{old.id[:8]} is of kind {old.kind.replace('_', ' ')} and "
            f"{new.name}-{new.id[:8]} of kind {new.kind.replace('_', ' ')}: "
            "compare two rounds, two policies, two datasets or two label sets"
        )
    sides = _side(snapshot, old), _side(snapshot, new)
    notes: list[str] = []
    recordings = [
        {r.of.id: r for r in recordings_behind(snapshot, side.data or side.subject.id)}
        for side in sides
    ]
    added = [r for id_, r in recordings[1].items() if id_ not in recordings[0]]
    removed = [r for id_, r in recordings[0].items() if id_ not in recordings[1]]
    labels, models = [s.labels for s in sides], [s.value_model for s in sides]
    policies, evaluations = [s.policy for s in sides], [s.evaluation for s in sides]
    made = [snapshot.manifests[side.policy or side.subject.id] for side in sides]
    return LineageDiff(
        old=named(snapshot, old.id),
        new=named(snapshot, new.id),
        recordings_added=tuple(added),
        recordings_removed=tuple(removed),
        num_recordings_in_both=len(recordings[1]) - len(added),
        annotations=_annotations(snapshot, sides),
        labels=Pair[TracedLabels](**_pair(snapshot, labels, Labels, traced_labels)),
        flips=_flips(snapshot, sides, notes) if with_labels else None,
        value_model=Pair[TracedValueModel](
            **_pair(snapshot, models, ValueCheckpoint, traced_value_model)
        ),
        policy=Pair[Named](**_pair(snapshot, policies, PolicyCheckpoint, _named)),
        evaluation=Pair[TracedEvaluation](
            **_pair(snapshot, evaluations, Evaluation, traced_evaluation)
        ),
        difference=_difference(snapshot, sides, notes),
        settings=changes(sides[0].settings, sides[1].settings),
        code_version=Pair[str](old=made[0].code_version, new=made[1].code_version),
        libraries=changes(made[0].libraries, made[1].libraries),
        decision=Pair[GateDecision](old=sides[0].decision, new=sides[1].decision),
        notes=tuple(notes),
    )


def _family(artifact: Artifact) -> str:
    return "dataset" if isinstance(artifact, AnyDataset) else artifact.kind


def _side(snapshot: Snapshot, artifact: Artifact) -> _Side:
    match artifact:
        case Iteration():
            return _round_side(snapshot, artifact)
        case PolicyCheckpoint():
            side = _data_side(snapshot, artifact, snapshot.parent(artifact.id, "dataset"))
            side.policy = artifact.id
        case Evaluation():
            policy = snapshot.parent(artifact.id, "policy")
            side = _data_side(snapshot, artifact, snapshot.parent(policy, "dataset"))
            side.policy, side.evaluation = policy, artifact.id
        case Labels() | Values():
            side = _data_side(snapshot, artifact, snapshot.parent(artifact.id, "dataset"))
            side.labels = artifact.id if isinstance(artifact, Labels) else None
            values = snapshot.parent(artifact.id, "values") or artifact.id
            side.value_model = snapshot.parent(values, "value_model")
        case ValueCheckpoint():
            side = _data_side(snapshot, artifact, snapshot.parent(artifact.id, "dataset"))
            side.value_model = artifact.id
        case AnyDataset() | Recording():
            side = _data_side(snapshot, artifact, artifact.id)
        case _:
            raise IncompatibleError(
                f"{artifact.name}-{artifact.id[:8]} is {artifact.kind}; rounds, policies, "
                "datasets, labels, value models and evaluations can be compared"
            )
    if side.policy is not None and side.evaluation is None:
        evaluations = snapshot.children(side.policy, "evaluation")
        side.evaluation = evaluations[-1].id if evaluations else None
    if side.policy is not None and side.policy not in snapshot.manifests:
        side.policy = None
    side.settings = _settings(snapshot, side)
    return side


def _data_side(snapshot: Snapshot, subject: Artifact, dataset: str | None) -> _Side:
    """What a dataset knows of its labels and the value model behind them."""
    labels = snapshot.parent(dataset, "labels")
    values = snapshot.parent(labels, "values")
    return _Side(
        subject=subject,
        data=dataset if dataset in snapshot.manifests else None,
        labels=labels,
        value_model=snapshot.parent(values, "value_model"),
    )


def _round_side(snapshot: Snapshot, artifact: Iteration) -> _Side:
    record = IterationRecord(artifact, snapshot.manifests[artifact.id])
    said = record.record(snapshot.store)
    policy = record.id("policy")
    data = record.id("relabeled") or record.id("merged")
    return _Side(
        subject=artifact,
        data=data if data in snapshot.manifests else policy,
        labels=record.id("labels"),
        value_model=record.id("value_model"),
        policy=policy if policy in snapshot.manifests else None,
        evaluation=record.id("after"),
        settings=said.settings,
        decision=said.decision,
    )


def _settings(snapshot: Snapshot, side: _Side) -> dict[str, Any]:
    """Settings of the stages behind an artifact that is no round, by stage."""
    ids = [side.data, side.value_model, side.labels, side.policy, side.subject.id]
    manifests = [snapshot.manifests[id_] for id_ in ids if id_ in snapshot.manifests]
    return {m.stage: {"version": m.stage_version, **m.config} for m in manifests}


def _pair[A: Artifact, T](
    snapshot: Snapshot, ids: list[str | None], kind: type[A], describe: Callable[[Snapshot, A], T]
) -> dict[str, T | None]:
    """What ``describe`` says of either side, where it has such an artifact."""
    found = [snapshot.artifact(id_) for id_ in ids]
    told = [describe(snapshot, a) if isinstance(a, kind) else None for a in found]
    return {"old": told[0], "new": told[1]}


def _named(snapshot: Snapshot, artifact: Artifact) -> Named:
    return named(snapshot, artifact.id)


def _annotations(snapshot: Snapshot, sides: tuple[_Side, _Side]) -> Pair[TracedAnnotations]:
    found: list[TracedAnnotations | None] = []
    for side in sides:
        behind = made_from(snapshot, side.data or side.subject.id)
        ids = {manifest.id for manifest in behind if manifest.kind == "annotations"}
        newest = [manifest.artifact() for manifest in snapshot.in_order(ids)][-1:]
        found += [
            TracedAnnotations(
                of=named(snapshot, a.id), num_changed=a.num_changed, num_excluded=a.num_excluded
            )
            if isinstance(a, Annotations)
            else None
            for a in newest or [None]
        ]
    return Pair[TracedAnnotations](old=found[0], new=found[1])


def _difference(
    snapshot: Snapshot, sides: tuple[_Side, _Side], notes: list[str]
) -> SuccessDifference | None:
    old, new = (snapshot.artifact(side.evaluation) for side in sides)
    if not (isinstance(old, Evaluation) and isinstance(new, Evaluation)):
        return None
    try:
        if any(is_stopped_early(each, snapshot.store) for each in (old, new)):
            notes.append(STOPPED_EARLY)
        return success_difference(old, new, store=snapshot.store)
    except (RecapError, OSError, ValueError) as error:
        notes.append(f"evaluations not compared: {error}")
        return None


def _flips(snapshot: Snapshot, sides: tuple[_Side, _Side], notes: list[str]) -> Flips | None:
    from recap_core.stages.label_diff import diff_labels
    from recap_core.stages.label_references import labelled

    found = [snapshot.artifact(side.labels) for side in sides]
    if any(artifact is None for artifact in found):
        missing = [
            side for side, artifact in zip(("old", "new"), found, strict=True) if not artifact
        ]
        if any(side.labels or side.value_model for side in sides):
            notes.append(f"labels not compared: none on the {' and '.join(missing)} side")
        return None
    if sides[0].labels == sides[1].labels:
        return None
    try:
        pair = [labelled(snapshot.store, artifact) for artifact in found if artifact]
        return _told(snapshot, diff_labels(pair[0], pair[1], store=snapshot.store))
    except (ArtifactError, RecapError) as error:
        notes.append(f"labels not compared: {error}")
        return None


def _told(snapshot: Snapshot, diff: "LabelDiff") -> Flips:
    plain = diff.plain()
    table = diff.after.table
    rows = table.meta.episodes
    names = rows.column("raw_episode").to_pylist() if "raw_episode" in rows.column_names else []
    examples = [
        FlipExample(
            episode=(names[one["after"]] if names else None) or f"episode {one['after']}",
            recording=named(snapshot, table.sources[one["after"]]),
            index=one["after"],
            transitions=one["transitions"],
            frames=_changed_frames(diff, one["before"], one["after"]),
        )
        for one in plain["changed_episodes"][:MAX_EXAMPLES]
    ]
    return Flips(
        num_episodes=plain["episodes"],
        num_frames=plain["frames"],
        num_changed_episodes=len(plain["changed_episodes"]),
        only_before=plain["only_before"],
        only_after=plain["only_after"],
        resized=plain["resized"],
        tasks=tuple(TaskFlips.model_validate(task) for task in plain["tasks"]),
        examples=tuple(examples),
    )


def _changed_frames(diff: "LabelDiff", before: int, after: int) -> tuple[int, ...]:
    """The middle of each of an episode's longest stretches of changed labels."""
    marks = [
        side.marks.adv_ind[side.table.episode_starts[e] : side.table.episode_ends[e]]
        for side, e in ((diff.before, before), (diff.after, after))
    ]
    changed = np.concatenate([[False], marks[0] != marks[1], [False]])
    edges = np.flatnonzero(changed[1:] != changed[:-1])
    stretches = sorted(zip(edges[::2], edges[1::2], strict=True), key=lambda s: s[0] - s[1])
    return tuple(sorted(int(start + stop - 1) // 2 for start, stop in stretches[:MAX_FRAMES]))
