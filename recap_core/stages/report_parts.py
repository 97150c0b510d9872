"""From artifacts to the parts of a report that no dataset has to be read for."""

import json
from collections.abc import Sequence

import numpy as np

from recap_core.config.stages import TrainValueConfig
from recap_core.evaluation.comparison import NUM_RESAMPLES, compare
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.lineage.ancestry import ancestors
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    Evaluation,
    PolicyCheckpoint,
    ValueCheckpoint,
)
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store
from recap_core.progress import read_metrics
from recap_core.reports.content import (
    Comparison,
    Fact,
    HealthSummary,
    Interval,
    LineageEdge,
    LineageGraph,
    LineageNode,
    Reproduction,
    StageRow,
    SuccessBar,
    TrainingCurve,
)
from recap_core.stages.evaluate import EPISODES_FILE
from recap_core.stages.train_policy import METRICS_FILE
from recap_core.stages.train_value import HEALTH_FILE

NEW, START, CONTROL = "new policy", "starting policy", "control"


def success_bars(
    before: Evaluation, after: Evaluation, control: Evaluation | None
) -> tuple[SuccessBar, ...]:
    """Start, control, new: in reading order."""
    bars = [_bar(START, before, "baseline", "where fine-tuning started")]
    if control is not None:
        bars.append(_bar(CONTROL, control, "control", "same extra steps, demonstrations only"))
    return (*bars, _bar(NEW, after, "candidate", "fine-tuned on the relabelled data"))


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
    store: Store, before: Evaluation, after: Evaluation, control: Evaluation | None
) -> tuple[Comparison, ...]:
    """The new policy against the starting one, and against the control."""
    others = [(START, before)] + ([(CONTROL, control)] if control is not None else [])
    new = read_outcomes(store, after)
    found = []
    for name, evaluation in others:
        result = compare(new, read_outcomes(store, evaluation))
        found.append(
            Comparison(
                candidate=NEW,
                baseline=name,
                difference=result.difference,
                low=result.low,
                high=result.high,
                outcome=result.verdict,
                method=f"paired bootstrap over {len(new)} seeds, {NUM_RESAMPLES:,} resamples",
            )
        )
    return tuple(found)


def read_outcomes(store: Store, evaluation: Evaluation) -> list[EpisodeOutcome]:
    """Per-episode outcomes of an evaluation, in order of their seeds."""
    rows = json.loads((store.path(evaluation) / EPISODES_FILE).read_text())
    return [EpisodeOutcome.model_validate(row) for row in rows]


def history(store: Store, artifacts: Sequence[Artifact]) -> list[Manifest]:
    """``artifacts`` and everything they were made from, each once, oldest first."""
    found: dict[str, Manifest] = {}
    for artifact in artifacts:
        for manifest in (*ancestors(store, artifact), store.manifest(artifact)):
            found[manifest.id] = manifest
    return sorted(found.values(), key=lambda manifest: (manifest.started_at, manifest.id))


def costs(store: Store, shown: Sequence[Artifact], dataset: AnyDataset) -> tuple[Fact, ...]:
    """What the policy cost: time, robot frames, operator frames."""
    manifests = history(store, shown)
    recordings = [m.details for m in manifests if m.kind == "recording"]
    frames = sum(details["num_frames"] for details in recordings)
    by_hand = sum(details["num_intervention_frames"] for details in recordings)
    seconds = sum(_seconds(manifest) for manifest in manifests)
    return (
        Fact(
            label="computing", value=f"{seconds / 60:.1f} min", note="all stages, evaluations too"
        ),
        Fact(
            label="robot time",
            value=f"{frames / dataset.fps / 60:.1f} min",
            note=f"{frames:,} frames recorded",
        ),
        Fact(
            label="driven by hand",
            value=f"{by_hand / max(frames, 1):.0%}",
            note=f"{by_hand:,} frames of demonstrations and corrections",
        ),
    )


def health_summary(store: Store, value_model: ValueCheckpoint) -> HealthSummary | None:
    """What the value model showed on held-out episodes; None if it could not be judged."""
    if value_model.source is not None:
        return None
    content = json.loads((store.path(value_model) / HEALTH_FILE).read_text())
    if content["spearman"][0] is None:
        return None
    config = TrainValueConfig.model_validate(store.manifest(value_model).config).health
    return HealthSummary(
        healthy=value_model.healthy,
        spearman=Interval(
            **dict(zip(("value", "low", "high"), content["spearman"], strict=True)),
            bar=config.min_spearman,
        ),
        separation=Interval(
            **dict(zip(("value", "low", "high"), content["separation"], strict=True)),
            bar=config.min_separation,
        ),
        largest_bin_share=content["max_bin_share"],
        largest_bin_limit=config.max_bin_share,
        cross_entropy=content["cross_entropy"],
        top1=content["top1"],
        top5=content["top5"],
        held_out_episodes=content["num_success_episodes"] + content["num_failure_episodes"],
        reasons=tuple(content["reasons"]),
    )


def training_curves(
    store: Store, policy: PolicyCheckpoint, value_model: ValueCheckpoint
) -> tuple[TrainingCurve, ...]:
    """Loss over steps of the policy's last training and of the value model's."""
    curves = []
    for name, artifact, loss_name in (
        ("policy", policy, "flow-matching loss"),
        ("value model", value_model, "cross-entropy, nats"),
    ):
        rows = read_metrics(store.path(artifact) / METRICS_FILE)
        if rows:
            curves.append(
                TrainingCurve(
                    name=name,
                    steps=np.array([row["step"] for row in rows]),
                    loss=np.array([row["loss"] for row in rows], dtype=np.float64),
                    loss_name=loss_name,
                )
            )
    return tuple(curves)


def stage_rows(store: Store, shown: Sequence[Artifact]) -> tuple[StageRow, ...]:
    """Every stage behind ``shown``, in the order in which they ran."""
    return tuple(
        StageRow(
            stage=manifest.stage,
            artifact_name=manifest.name,
            artifact_id=manifest.id,
            seconds=_seconds(manifest),
            frames=manifest.details.get("num_frames"),
        )
        for manifest in history(store, shown)
    )


def _seconds(manifest: Manifest) -> float:
    return (manifest.finished_at - manifest.started_at).total_seconds()


def lineage_graph_of(
    store: Store, shown: Sequence[Artifact], *, highlight: Artifact
) -> LineageGraph:
    """``shown``, everything behind it, and what was made from what."""
    manifests = history(store, shown)
    return LineageGraph(
        nodes=tuple(
            LineageNode(id=m.id, kind=m.kind, name=m.name, highlight=m.id == highlight.id)
            for m in manifests
        ),
        edges=tuple(
            LineageEdge(source=parent.id, target=m.id, role=parent.role)
            for m in manifests
            for parent in m.parents
        ),
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
