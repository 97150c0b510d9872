"""From artifacts to the parts of a report that no dataset has to be read for."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recap_core.config.stages import TrainValueConfig
from recap_core.errors import IncompatibleError
from recap_core.evaluation.gate_words import STOPPED_EARLY
from recap_core.lineage.ancestry import ancestors
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    Evaluation,
    Iteration,
    PolicyCheckpoint,
    ValueCheckpoint,
)
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.new_files import new_bytes
from recap_core.lineage.store import Store
from recap_core.progress import read_metrics
from recap_core.reports.content import (
    Comparison,
    Fact,
    HealthSummary,
    Interval,
    Note,
    Reproduction,
    StageRow,
    SuccessBar,
    TrainingCurve,
)
from recap_core.reports.numbers import bytes_text, duration
from recap_core.stages.evaluate import is_stopped_early
from recap_core.stages.judge import success_difference
from recap_core.stages.report_lineage import SmallGraph, round_graph
from recap_core.stages.train_policy import METRICS_FILE
from recap_core.stages.train_value import HEALTH_FILE

VALIDATION_LOSS = "val_loss"
NEW, START, CONTROL = "new policy", "starting policy", "control"
CURRENT = "policy in use"


class Evaluations(NamedTuple):
    """Of the policies that a report compares; None where one was not evaluated."""

    before: Evaluation | None
    """Of the policy that fine-tuning started from."""
    current: Evaluation | None
    """Of the policy in use when the round began."""
    control: Evaluation | None
    after: Evaluation | None
    """Of the new policy."""

    def named(self) -> list[tuple[str, Evaluation, str, str]]:
        """Name, evaluation, role and remark of each once, in reading order."""
        rows = [
            (START, self.before, "baseline", "where fine-tuning started"),
            (CURRENT, self.current, "earlier", "in use when the round began"),
            (CONTROL, self.control, "control", "same extra steps, demonstrations only"),
            (NEW, self.after, "candidate", "fine-tuned on the relabelled data"),
        ]
        found: dict[str, tuple[str, Evaluation, str, str]] = {}
        for name, evaluation, role, note in rows:
            if evaluation is not None:
                found.setdefault(evaluation.id, (name, evaluation, role, note))
        return list(found.values())


def success_bars(evaluations: Evaluations) -> tuple[SuccessBar, ...]:
    """Start, current, control, new: in reading order."""
    return tuple(_bar(*row) for row in evaluations.named())


def _bar(name: str, evaluation: Evaluation, role: str, note: str) -> SuccessBar:
    return SuccessBar(
        name=name,
        successes=evaluation.num_successes,
        episodes=evaluation.num_episodes,
        low=evaluation.success_low,
        high=evaluation.success_high,
        per_1000_frames=evaluation.successes_per_1000_frames,
        role=role,  # pyright: ignore[reportArgumentType] - one of the literals above
        note=note,
    )


def comparisons(
    store: Store, evaluations: Evaluations, *, confidence: float
) -> tuple[tuple[Comparison, ...], tuple[Note, ...]]:
    """The new policy against the one in use, the starting one and the control, and remarks.

    Differences and intervals are the gate's.
    """
    after = evaluations.after
    if after is None:
        return (), ()
    found, notes, rests_on = [], [], dict[str, Evaluation]()
    others = [row for row in evaluations.named() if row[1] != after]
    # The policy in use first: the decision is about it.
    for name, evaluation, *_ in sorted(others, key=lambda row: row[0] != CURRENT):
        try:
            result = success_difference(evaluation, after, store=store, confidence=confidence)
        except IncompatibleError as error:
            notes.append(Note(text=f"No difference to the {name} is computed. {error}"))
            continue
        found.append(
            Comparison(
                candidate=NEW,
                baseline=name,
                difference=result.difference,
                low=result.low,
                high=result.high,
                confidence=confidence,
                outcome=result.outcome,
                method=result.rests_on,
            )
        )
        rests_on |= {evaluation.id: evaluation, after.id: after}
    if any(is_stopped_early(each, store) for each in rests_on.values()):
        notes.append(Note(text=STOPPED_EARLY))
    return tuple(found), tuple(notes)


def history(store: Store, artifacts: Sequence[Artifact]) -> list[Manifest]:
    """``artifacts`` and everything they were made from, each once, oldest first."""
    found: dict[str, Manifest] = {}
    for artifact in artifacts:
        for manifest in (*ancestors(store, artifact), store.manifest(artifact)):
            found[manifest.id] = manifest
    return sorted(found.values(), key=lambda manifest: (manifest.started_at, manifest.id))


class Made(NamedTuple):
    """What a report is about, oldest first."""

    new: list[Manifest]
    """Everything that this round made; without an earlier round, everything there is."""
    earlier: list[Manifest]
    """What it was made from, of earlier rounds."""


def made_since(store: Store, shown: Sequence[Artifact], previous: Iteration | None) -> Made:
    """``shown`` and everything behind it, divided by whether the round before had it already."""
    manifests = history(store, shown)
    if previous is None:
        return Made(manifests, [])
    known = {manifest.id for manifest in ancestors(store, previous)}
    return Made(
        [manifest for manifest in manifests if manifest.id not in known],
        [manifest for manifest in manifests if manifest.id in known],
    )


def sizes(store: Store, made: Made) -> dict[str, int]:
    """Bytes that everything this round made added to the disk, by id; unreadable ones left out."""
    known = {manifest.id: manifest for manifest in (*made.earlier, *made.new)}
    found = {manifest.id: new_bytes(store, manifest, known) for manifest in made.new}
    return {id_: size for id_, size in found.items() if size is not None}


def costs(made: Made, dataset: AnyDataset, *, num_bytes: int) -> tuple[Fact, ...]:
    """What the policy cost: time, robot frames, operator frames, ``num_bytes`` of disk."""
    recordings = [m.details for m in made.new if m.kind == "recording"]
    frames = sum(details["num_frames"] for details in recordings)
    by_hand = sum(details["num_intervention_frames"] for details in recordings)
    seconds = sum(_seconds(manifest) for manifest in made.new)
    return (
        Fact(
            label="computing",
            value=duration(seconds),
            note="this round's stages" if made.earlier else "all stages, evaluations too",
        ),
        Fact(
            label="robot time",
            value=duration(frames / dataset.fps),
            note=f"{frames:,} frames recorded",
        ),
        Fact(
            label="driven by hand",
            value=f"{by_hand / max(frames, 1):.0%}",
            note=f"{by_hand:,} frames of demonstrations and corrections",
        ),
        Fact(label="new on disk", value=bytes_text(num_bytes), note="beside what is shared"),
    )


def health_summary(store: Store, value_model: ValueCheckpoint) -> HealthSummary | None:
    """What the value model showed on held-out episodes; None if it comes from elsewhere.

    Numbers are NaN where too few episodes of an outcome were held out.
    """
    path = store.path(value_model) / HEALTH_FILE
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    config = TrainValueConfig.model_validate(store.manifest(value_model).config).health

    def interval(name: str, bar: float) -> Interval:
        value, low, high = (math.nan if x is None else x for x in content[name])
        return Interval(value=value, low=low, high=high, bar=bar)

    return HealthSummary(
        healthy=value_model.healthy,
        spearman=interval("spearman", config.min_spearman),
        separation=interval("separation", config.min_separation),
        largest_bin_share=content["max_bin_share"],
        largest_bin_limit=config.max_bin_share,
        cross_entropy=content["cross_entropy"],
        top1=content["top1"],
        top5=content["top5"],
        held_out_episodes=content["num_success_episodes"] + content["num_failure_episodes"],
        reasons=tuple(content["reasons"]),
    )


def health_notes(health: HealthSummary | None) -> tuple[Note, ...]:
    """What became of a round whose value model could not be trusted; nothing if it could."""
    if health is None or health.healthy:
        return ()
    text = (
        f"The value model was not healthy ({'; '.join(health.reasons)}): the policy was trained on "
        "the collector's own labels (stage 3)."
    )
    return (Note(text=text, severity="warning"),)


def training_curves(
    store: Store, policy: PolicyCheckpoint, value_model: ValueCheckpoint
) -> tuple[TrainingCurve, ...]:
    """Loss over steps of the policy's last training and of the value model's."""
    curves = (
        _training_curve(store, policy, "policy", "flow-matching loss"),
        value_training_curve(store, value_model),
    )
    return tuple(curve for curve in curves if curve is not None)


def value_training_curve(store: Store, value_model: ValueCheckpoint) -> TrainingCurve | None:
    """Cross-entropy over steps, on validation episodes too where it was measured."""
    return _training_curve(store, value_model, "value model", "cross-entropy, nats")


def _training_curve(
    store: Store, artifact: Artifact, name: str, loss_name: str
) -> TrainingCurve | None:
    rows = read_metrics(store.path(artifact) / METRICS_FILE)
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    if not losses:
        return None
    measured = [(row["step"], row[VALIDATION_LOSS]) for row in rows if VALIDATION_LOSS in row]
    steps, loss = np.array(losses, dtype=np.float64).T
    held_out = np.array(measured, dtype=np.float64).T if measured else (None, None)
    return TrainingCurve(
        name=name,
        steps=steps,
        loss=loss,
        held_out_steps=held_out[0],
        held_out_loss=held_out[1],
        loss_name=loss_name,
    )


def stage_rows(made: Made, sizes_by_id: Mapping[str, int]) -> tuple[StageRow, ...]:
    """Every stage of the round, in the order in which they ran."""
    return tuple(
        StageRow(
            stage=manifest.stage,
            artifact_name=manifest.name,
            artifact_id=manifest.id,
            seconds=_seconds(manifest),
            frames=manifest.details.get("num_frames"),
            new_bytes=sizes_by_id.get(manifest.id),
        )
        for manifest in made.new
    )


def _seconds(manifest: Manifest) -> float:
    return (manifest.finished_at - manifest.started_at).total_seconds()


def lineage_graph_of(made: Made, *, highlight: Artifact) -> SmallGraph:
    """What the round made, and of earlier rounds only what that was made from directly."""
    return round_graph(
        {manifest.id: manifest for manifest in (*made.earlier, *made.new)},
        {manifest.id for manifest in made.new},
        highlight=highlight.id,
        address=lambda id_: f"#artifact-{id_}",
    )


def reproduction(store: Store, policy: PolicyCheckpoint) -> Reproduction:
    """Code, libraries and settings of the new policy."""
    manifest = store.manifest(policy)
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    return Reproduction(
        facts=(
            Fact(label="code", value=manifest.code_version),
            Fact(label="libraries", value=libraries),
            Fact(label="host", value=manifest.host),
            Fact(label="policy", value=f"{policy.name}-{policy.id[:8]}"),
        ),
        commands=(f"recap lineage show {policy.id[:8]}",),
        config=json.dumps(manifest.config, indent=2),
    )
