"""Back from a policy to the recordings behind it, and forward from a recording to its uses.

Nothing is published, so this is no stage of its own. A recording is where experience enters: what
collected it is named, and not followed further, for else every policy came from every earlier one.
"""

import json
from collections.abc import Iterable
from typing import Any, Literal

from recap_core.config.labels import LabelConfig
from recap_core.errors import IncompatibleError, RecapError
from recap_core.lineage.artifacts import (
    Annotations,
    AnyDataset,
    Artifact,
    Evaluation,
    Labels,
    PolicyCheckpoint,
    Recording,
    ValueCheckpoint,
)
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.manifest import Manifest, Metric
from recap_core.lineage.snapshot import Snapshot
from recap_core.stages.label_origin import read_rule
from recap_core.stages.label_words import rule_in_words
from recap_core.stages.trace_content import (
    Named,
    Origin,
    Trace,
    TracedAnnotations,
    TracedEvaluation,
    TracedLabels,
    TracedPolicy,
    TracedRecording,
    TracedRound,
    TracedValueModel,
    Uses,
)

type Direction = Literal["back", "forward", "both"]

DIRECTIONS: dict[str, Direction] = {
    "recording": "forward",
    "annotations": "forward",
    "norm_stats": "forward",
    "policy_checkpoint": "back",
    "evaluation": "back",
    "report": "back",
    "iteration": "back",
}
"""Which way people want to go from an artifact of a kind; both ways from any other."""

IN_USE = ("current", "candidate", "start")
"""Refs that say that something is used now."""


def trace(snapshot: Snapshot, artifact: Artifact, direction: Direction | None = None) -> Trace:
    """What made ``artifact``, or what was made of it.

    Args:
        snapshot: The store.
        artifact: A round stands for its new policy, an evaluation for what it evaluated.
        direction: Which way; None: as its kind suggests.

    Raises:
        IncompatibleError: If a round has no policy, or an evaluation's is not in the store.
    """
    subject = _subject(snapshot, artifact)
    chosen = direction or DIRECTIONS.get(artifact.kind, "both")
    return Trace(
        subject=named(snapshot, subject.id),
        origin=_origin(snapshot, subject) if chosen != "forward" else None,
        uses=_uses(snapshot, subject) if chosen != "back" else None,
    )


def made_from(snapshot: Snapshot, artifact_id: str) -> list[Manifest]:
    """What an artifact learned from, itself first: the way back ends at recordings."""
    return _walk(snapshot, artifact_id, back=True)


def named(snapshot: Snapshot, artifact_id: str) -> Named:
    """An artifact by kind and name; also one that is not in the store."""
    manifest = snapshot.manifests.get(artifact_id)
    return Named(
        id=artifact_id,
        kind=manifest.kind if manifest else "removed",
        name=manifest.name if manifest else "",
        refs=snapshot.refs.get(artifact_id, ()),
    )


def recordings_behind(snapshot: Snapshot, artifact_id: str) -> list[TracedRecording]:
    """The recordings that an artifact learned from, oldest first."""
    behind = {manifest.id for manifest in made_from(snapshot, artifact_id)}
    return [
        _recording(snapshot, manifest, artifact)
        for manifest, artifact in _of_kind(snapshot.in_order(behind), Recording)
    ]


def evaluations_of(snapshot: Snapshot, policy_id: str) -> list[TracedEvaluation]:
    """Evaluations of a policy, oldest first."""
    found = _of_kind(snapshot.children(policy_id, "evaluation"), Evaluation)
    return [traced_evaluation(snapshot, evaluation) for _, evaluation in found]


def traced_evaluation(snapshot: Snapshot, evaluation: Evaluation) -> TracedEvaluation:
    """An evaluation with its success rate."""
    return TracedEvaluation(
        of=named(snapshot, evaluation.id),
        policy=snapshot.parent(evaluation.id, "policy"),
        num_episodes=evaluation.num_episodes,
        num_successes=evaluation.num_successes,
        success_rate=evaluation.num_successes / evaluation.num_episodes,
        success_low=evaluation.success_low,
        success_high=evaluation.success_high,
    )


def traced_labels(snapshot: Snapshot, labels: Labels) -> TracedLabels:
    """Labels with their rule."""
    path = snapshot.store.path(labels)
    words, thresholds = "made by another tool, which knows the rule", {}
    try:
        found = read_rule(path)
        if found is not None:
            words = rule_in_words(LabelConfig.model_validate(found["rule"]))
            thresholds = dict(found["thresholds"])
    except (RecapError, ValueError) as error:
        words = f"unreadable ({error})"
    values = snapshot.parent(labels.id, "values")
    return TracedLabels(
        of=named(snapshot, labels.id),
        rule=words,
        thresholds=thresholds,
        num_positive=labels.num_positive,
        num_negative=labels.num_negative,
        num_none=labels.num_none,
        autonomous_positive_share=labels.autonomous_positive_share,
        values=values,
        value_model=snapshot.parent(values, "value_model"),
    )


def traced_value_model(snapshot: Snapshot, model: ValueCheckpoint) -> TracedValueModel:
    """A value model with what it showed on held-out episodes."""
    return TracedValueModel(
        of=named(snapshot, model.id),
        healthy=model.healthy,
        num_steps=model.num_steps,
        source=model.source,
        metrics=_held_out(snapshot.manifests[model.id].metrics),
    )


def _subject(snapshot: Snapshot, artifact: Artifact) -> Artifact:
    role = {"iteration": "policy", "evaluation": "policy", "report": "policy"}.get(artifact.kind)
    if role is None:
        return artifact
    parent = snapshot.parent(artifact.id, role)
    found = snapshot.artifact(parent)
    if found is None:
        what = f"policy {parent[:8]}, which is not in this store" if parent else "no policy"
        raise IncompatibleError(
            f"{artifact.kind} {artifact.name}-{artifact.id[:8]} has {what}: there is nothing to "
            "trace. Look at it with: recap lineage show"
        )
    return found


def _walk(snapshot: Snapshot, start: str, *, back: bool) -> list[Manifest]:
    """Manifests from ``start`` on, nearest first; neither way passes through a recording."""
    seen: dict[str, Manifest | None] = {}
    waiting = [start]
    while waiting:
        id_ = waiting.pop(0)
        if id_ in seen:
            continue
        manifest = seen[id_] = snapshot.manifests.get(id_)
        if manifest is None:
            continue
        if back:
            is_end = manifest.kind == "recording" and id_ != start
            waiting += [] if is_end else snapshot.parents(id_)
        else:
            next_ones = snapshot.children(id_)
            waiting += [m.id for m in next_ones if m.kind not in {"recording", "iteration"}]
    return [manifest for manifest in seen.values() if manifest is not None]


def _origin(snapshot: Snapshot, subject: Artifact) -> Origin:
    behind = made_from(snapshot, subject.id)
    ids = {manifest.id for manifest in behind}
    in_order = snapshot.in_order(ids)
    recordings = recordings_behind(snapshot, subject.id)
    missing = {
        parent.id for m in behind if m.kind != "recording" for parent in m.parents
    } - set(snapshot.manifests)  # fmt: skip
    return Origin(
        policies=tuple(_policy(snapshot, m, a) for m, a in _of_kind(behind, PolicyCheckpoint)),
        recordings=tuple(recordings),
        annotations=tuple(
            TracedAnnotations(
                of=named(snapshot, a.id), num_changed=a.num_changed, num_excluded=a.num_excluded
            )
            for _, a in _of_kind(in_order, Annotations)
        ),
        labels=tuple(traced_labels(snapshot, a) for _, a in _of_kind(in_order, Labels)),
        value_models=tuple(
            traced_value_model(snapshot, a) for _, a in _of_kind(in_order, ValueCheckpoint)
        ),
        evaluations=tuple(evaluations_of(snapshot, subject.id)),
        rounds=_rounds(snapshot, subject.id),
        missing=tuple(sorted(missing)),
        code_versions=tuple(dict.fromkeys(m.code_version for m in in_order)),
    )


def _uses(snapshot: Snapshot, subject: Artifact) -> Uses:
    found = [m for m in _walk(snapshot, subject.id, back=False) if m.id != subject.id]
    found = snapshot.in_order({m.id for m in found})
    policies = [manifest for manifest, _ in _of_kind(found, PolicyCheckpoint)]
    later = {
        child.id for policy in policies for child in snapshot.children(policy.id, "recording")
    }  # fmt: skip
    by_kind = {
        kind: tuple(named(snapshot, m.id) for m in found if m.kind == kind)
        for kind in dict.fromkeys(m.kind for m in found)
        if kind not in {"policy_checkpoint", "evaluation"}
    }
    refs = {ref: m.id for m in (*found, snapshot.manifests[subject.id])
            for ref in snapshot.refs.get(m.id, ())}  # fmt: skip
    return Uses(
        by_kind=by_kind,
        policies=tuple(
            (named(snapshot, policy.id), tuple(evaluations_of(snapshot, policy.id)))
            for policy in policies
        ),
        in_use={r: id_ for r, id_ in sorted(refs.items()) if r.rpartition("/")[2] in IN_USE},
        rounds=_rounds(snapshot, subject.id),
        num_later_recordings=len(later),
    )


def _policy(snapshot: Snapshot, manifest: Manifest, policy: PolicyCheckpoint) -> TracedPolicy:
    dataset = snapshot.parent(policy.id, "dataset")
    held = snapshot.artifact(dataset)
    return TracedPolicy(
        of=named(snapshot, policy.id),
        stage=manifest.stage,
        dataset=named(snapshot, dataset) if dataset else None,
        num_episodes=held.num_episodes if isinstance(held, AnyDataset) else None,
        num_frames=held.num_frames if isinstance(held, AnyDataset) else None,
        start=snapshot.parent(policy.id, "start"),
        source=policy.source,
        num_steps=policy.num_steps,
        host=manifest.host,
        code_version=manifest.code_version,
        finished_at=manifest.finished_at,
        seconds=(manifest.finished_at - manifest.started_at).total_seconds(),
    )


def _recording(snapshot: Snapshot, manifest: Manifest, recording: Recording) -> TracedRecording:
    said = _said(snapshot, recording)
    collector = snapshot.parent(recording.id, "policy")
    is_real = said.get("clock") != "simulated"
    began = said.get("start_time") if is_real else None
    return TracedRecording(
        of=named(snapshot, recording.id),
        mode=recording.mode,
        task=recording.task,
        round_index=recording.round_index,
        num_episodes=recording.num_episodes,
        num_successes=recording.num_successes,
        num_frames=recording.num_frames,
        num_intervention_frames=recording.num_intervention_frames,
        collector=named(snapshot, collector) if collector else None,
        robot=_first(said, "robot", "robot_id", "robot_type"),
        operator=_first(said, "operator", "operator_id"),
        host=manifest.host,
        recorded_at=float(began) if isinstance(began, int | float) else None,
        published_at=manifest.finished_at,
    )


def _said(snapshot: Snapshot, recording: Recording) -> dict[str, Any]:
    """Metadata of the first episode; empty if there is none."""
    try:
        first = min(snapshot.store.path(recording).glob("episode_*/metadata.json"), default=None)
        content = json.loads(first.read_text(encoding="utf-8")) if first else {}
    except (OSError, ValueError, RecapError):
        return {}
    return content if isinstance(content, dict) else {}


def _first(said: dict[str, Any], *keys: str) -> str | None:
    return next((str(said[key]) for key in keys if said.get(key)), None)


def _rounds(snapshot: Snapshot, artifact_id: str) -> tuple[TracedRound, ...]:
    found = snapshot.rounds_by_part.get(artifact_id, [])
    return tuple(_round(record, role) for record, role in found)


def _round(record: IterationRecord, role: str) -> TracedRound:
    artifact = record.artifact
    return TracedRound(round=record.label, role=role, verdict=artifact.verdict, id=artifact.id)


def _of_kind[A: Artifact](manifests: Iterable[Manifest], kind: type[A]) -> list[tuple[Manifest, A]]:
    wanted = kind.model_fields["kind"].default
    pairs = [(m, m.artifact()) for m in manifests if m.kind == wanted]
    return [(manifest, artifact) for manifest, artifact in pairs if isinstance(artifact, kind)]


def _held_out(metrics: dict[str, Metric]) -> dict[str, Metric]:
    return {k.removeprefix("held_out_"): v for k, v in metrics.items() if k[:9] == "held_out_"}
