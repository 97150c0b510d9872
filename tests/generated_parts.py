"""Artifacts of the generated store, one function per kind."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.config.base import Config
from recap_core.config.flows import ProjectConfig
from recap_core.config.gate import GateDecision, TaskComparison, Verdict
from recap_core.config.stages import ReportConfig, TrainPolicyConfig
from recap_core.data.label_table import LABELS_FILE, read_label_table
from recap_core.data.synthetic import (
    write_synthetic_recording,
)
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.statistics import summarize
from recap_core.labels.adv_ind import NAMES
from recap_core.lineage.artifacts import (
    Annotations,
    Artifact,
    Dataset,
    DatasetCopy,
    Evaluation,
    Iteration,
    Labels,
    NormStats,
    PolicyCheckpoint,
    Recording,
    RelabeledDataset,
    Report,
    ValueCheckpoint,
    Values,
)
from recap_core.lineage.keys import Inputs
from recap_core.lineage.links import link_tree
from recap_core.lineage.new_files import new_bytes
from recap_core.lineage.store import Build, Built, Store
from recap_core.reports.round_content import TaskChange
from recap_core.stages import registry
from recap_core.stages.annotate import annotate_episodes
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.judge import success_difference
from recap_core.stages.label import label_dataset
from recap_core.stages.report_numbers import ReportNumbers, write_numbers
from recap_core.valuation.values import write_values
from tests.generated_datasets import DATA_FILE, MACHINE, TASKS, Part, episodes_like, write_dataset

NUM_EVALUATED = 40
_NUM_PARAMS = 1500
_NUM_LIKENESSES = 4


@dataclass
class Project:
    """One project while its rounds are made, and what it consists of at last."""

    store: Store
    project: str
    robot: str
    seed: int
    settings: ProjectConfig
    records: list[Iteration] = field(default_factory=list)
    policies: list[PolicyCheckpoint] = field(default_factory=list)
    """The new policy of every round."""
    recordings: list[Recording] = field(default_factory=list)
    """Of the rounds; not the demonstrations."""
    rollouts: list[Dataset] = field(default_factory=list)
    parts: dict[str, list[Part]] = field(default_factory=dict)
    """What every dataset is made of, by id."""

    @property
    def name(self) -> str:
        """``project/robot``."""
        return f"{self.project}/{self.robot}"

    def point(self, ref: str, artifact: Artifact) -> None:
        """Set one of the project's refs."""
        self.store.set_ref(f"{self.name}/{ref}", artifact)

    def find(self, ref: str) -> Any:  # noqa: ANN401 - of the kind that the ref is meant for
        """What one of the project's refs points to."""
        return self.store.get_ref(f"{self.name}/{ref}")


def made_recording(made: Project, k: int, number: int, collector: PolicyCheckpoint) -> Recording:
    config = made.settings.iteration.collect.model_copy(
        update={"round_index": k, "seed": made.seed, "num_episodes": 20 + number}
    )
    name = f"round-{k}" if number == 0 else f"round-{k}-evening"
    recording = produced_recording(made, config, collector, name, "rollout", k)
    made.point(f"recording-{recording.id[:8]}", recording)
    return recording


def produced_recording(  # noqa: PLR0917 - what a recording says of itself
    made: Project,
    config: Config,
    policy: PolicyCheckpoint | None,
    name: str,
    mode: str,
    k: int,
) -> Recording:
    episodes = episodes_like(
        likeness_of(made, k, len(name)), demonstrations=mode == "demonstration"
    )
    lengths = [episode.length for episode in episodes]
    by_hand = [e.length if e.demonstration else len(e.interventions) for e in episodes]

    def build(area: Build) -> Built:
        write_synthetic_recording(area.output, episodes, MACHINE)
        for path in area.output.glob("*/metadata.json"):
            said = {"robot": "toy-arm", "operator": "ada" if k % 2 == 0 else "ben"}
            path.write_text(json.dumps(json.loads(path.read_text()) | said))
        # Every session is one of its own.
        (area.output / "session.json").write_text(json.dumps({"key": f"{made.name} {name}"}))
        details = {
            "num_episodes": len(episodes),
            "num_frames": sum(lengths),
            "num_successes": sum(episode.success for episode in episodes),
            "num_intervention_frames": sum(by_hand),
            "fps": MACHINE.fps,
            "task": TASKS[0],
            "mode": mode,
            "round_index": k,
            "cameras": (),
        }
        return Built(details, {"num_intervention_episodes": sum(n > 0 for n in by_hand)})

    return made.store.produce(registry.COLLECT, config, {"policy": policy}, name=name, build=build)


def made_rollouts(made: Project, recording: Recording, k: int, number: int) -> Dataset:
    part = Part(recording.id, k, likeness_of(made, k, len(recording.name)))

    def build(area: Build) -> Built:
        return Built(write_dataset(area.output, [part]), {"success_share": 0.5})

    name = f"round-{k}" if number == 0 else f"round-{k}-evening"
    inputs: Inputs = {"recording": recording, "annotations": None}
    dataset = made.store.produce(
        registry.CONVERT, made.settings.iteration.convert, inputs, name=name, build=build
    )
    made.parts[dataset.id] = [part]
    return dataset


def made_merge(
    made: Project, datasets: Sequence[Dataset], annotations: Annotations | None, name: str
) -> Dataset:
    parts = [part for dataset in datasets for part in made.parts[dataset.id]]

    def build(area: Build) -> Built:
        return Built(write_dataset(area.output, parts))

    inputs: Inputs = {"datasets": datasets, "annotations": annotations}
    dataset = made.store.produce(
        registry.MERGE, made.settings.iteration.merge, inputs, name=f"{name}-merged", build=build
    )
    made.parts[dataset.id] = parts
    return dataset


def made_labels(
    made: Project,
    merged: Dataset,
    value_model: ValueCheckpoint,
    settings: ProjectConfig,
    k: int,
) -> dict[str, Artifact]:
    """Values, labels, copy and relabelled dataset of a round, by role."""
    store, name = made.store, f"round-{k}"

    def infer(area: Build) -> Built:
        rng = np.random.default_rng([made.seed, k])
        drawn = -rng.integers(0, 101, merged.num_frames) / 100
        write_values(area.output, drawn.astype(np.float32))
        return Built(
            {"num_frames": merged.num_frames, "frames": "all", "num_missing": 0},
            {"mean": float(drawn.mean()), "min": float(drawn.min()), "max": float(drawn.max())},
        )

    inputs: Inputs = {"dataset": merged, "value_model": value_model}
    infer_config = settings.iteration.infer.for_labels(settings.iteration.label)
    values: Values = store.produce(
        registry.INFER_VALUES, infer_config, inputs, name=name, build=infer
    )
    labels = label_dataset(merged, values, settings.iteration.label, name=name, store=store)
    copied = copy_dataset(merged, name=f"{name}-copy", store=store)
    relabeled = _relabeled(made, copied, labels, name)
    return {"values": values, "labels": labels, "copy": copied, "relabeled": relabeled}


def _relabeled(made: Project, copied: DatasetCopy, labels: Labels, name: str) -> RelabeledDataset:
    def build(area: Build) -> Built:
        source = made.store.path(copied)
        link_tree(
            source, area.output, digests=made.store.digests,
            include=lambda relative: relative != DATA_FILE.as_posix(),
        )  # fmt: skip
        table = pq.read_table(source / DATA_FILE)
        codes = read_label_table(made.store.path(labels) / LABELS_FILE).adv_ind
        written = pa.array(np.array(NAMES)[codes].tolist(), pa.string())
        place = table.column_names.index("adv_ind")
        table = table.set_column(place, table.schema.field("adv_ind"), written)
        path = area.output / DATA_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return Built(copied.details(), {"new_bytes": path.stat().st_size})

    return made.store.produce(
        registry.RELABEL, registry.NoSettings(), {"copy": copied, "labels": labels},
        name=f"{name}-relabeled", build=build,
    )  # fmt: skip


def made_norm_stats(made: Project, dataset: Dataset) -> NormStats:
    def build(area: Build) -> Built:
        (area.output / "norm_stats.json").write_text(_statistics(made) + "\n")
        return Built({"num_frames": dataset.num_frames}, {"narrow_dimensions": 0.0})

    return made.store.produce(
        registry.NORM_STATS, made.settings.bootstrap.norm_stats, {"dataset": dataset},
        name="demonstrations", build=build,
    )  # fmt: skip


def made_policy(
    made: Project, config: TrainPolicyConfig, inputs: Mapping[str, Artifact], name: str
) -> PolicyCheckpoint:
    def build(area: Build) -> Built:
        _write_params(area.output / "params", f"{made.name} {name}")
        _write_assets(area.output, made)
        (area.output / "policy.json").write_text(config.policy.model_dump_json(indent=1))
        metrics = _write_metrics(area.output, config.train.num_steps)
        return Built({"num_steps": config.train.num_steps, "num_params": _NUM_PARAMS}, metrics)

    return made.store.produce(registry.TRAIN_POLICY, config, inputs, name=name, build=build)


def made_value_model(
    made: Project, merged: Dataset, stats: NormStats, k: int, *, is_healthy: bool
) -> ValueCheckpoint:
    config = made.settings.iteration.value
    spearman = (0.5 + 0.3 * math.sin(k), 0.3, 0.8) if is_healthy else (0.1, -0.2, 0.3)
    reasons = [] if is_healthy else ["rank correlation 0.10 [-0.20, 0.30] is below 0.2"]
    health = {
        "healthy": is_healthy, "reasons": reasons, "num_success_episodes": 5,
        "num_failure_episodes": 4, "num_frames": 90, "cross_entropy": 1.9 + 0.1 * math.cos(k),
        "top1": 0.6, "top5": 0.8, "spearman": spearman, "spearman_time_to_go": 0.8,
        "separation": (0.4, 0.2, 0.5), "max_bin_share": 0.4,
    }  # fmt: skip

    def build(area: Build) -> Built:
        for part in ("params", "ema_params"):
            _write_params(area.output / part, f"{made.name} value {part} {k}")
        _write_assets(area.output, made)
        (area.output / "value.json").write_text(config.value.model_dump_json(indent=1))
        (area.output / "targets.json").write_text(config.targets.model_dump_json(indent=1))
        (area.output / "health.json").write_text(json.dumps(health, indent=2) + "\n")
        metrics = _write_metrics(area.output, config.train.num_steps)
        metrics |= {
            "held_out_cross_entropy": health["cross_entropy"],
            "held_out_spearman": spearman[0],
            "held_out_spearman_low": spearman[1],
            "held_out_spearman_high": spearman[2],
            "held_out_separation": 0.4,
            "held_out_top1": 0.6,
        }
        details = {
            "num_steps": config.train.num_steps, "num_params": _NUM_PARAMS, "healthy": is_healthy
        }  # fmt: skip
        return Built(details, metrics)

    inputs: Inputs = {"dataset": merged, "norm_stats": stats, "start": None}
    return made.store.produce(
        registry.TRAIN_VALUE, config, inputs, name=f"round-{k}", build=build
    )  # fmt: skip


def made_evaluation(
    made: Project, policy: PolicyCheckpoint, name: str, rate: float | None
) -> Evaluation:
    """Of ``policy`` at a success rate; None: it has been evaluated before."""
    config = made.settings.iteration.evaluation.model_copy(update={"num_episodes": NUM_EVALUATED})

    def build(area: Build) -> Built:
        assert rate is not None, f"{policy.name} has no evaluation yet"
        hardness = np.random.default_rng(made.seed).permutation(NUM_EVALUATED) / NUM_EVALUATED
        outcomes = [
            EpisodeOutcome(
                seed=config.first_seed + i, success=bool(hard < rate),
                num_frames=int(20 + 40 * hard), best_stage=4 if hard < rate else 1,
            )
            for i, hard in enumerate(hardness)
        ]  # fmt: skip
        rows = [outcome.model_dump(mode="json") for outcome in outcomes]
        (area.output / "episodes.json").write_text(json.dumps(rows, indent=1) + "\n")
        summary = summarize(outcomes, confidence=config.confidence)
        details = {
            "num_episodes": summary.num_episodes,
            "num_successes": summary.num_successes,
            "success_low": summary.success_rate_low,
            "success_high": summary.success_rate_high,
            "successes_per_1000_frames": summary.successes_per_1000_frames,
        }
        return Built(details, {"success_rate": summary.success_rate})

    return made.store.produce(registry.EVALUATE, config, {"policy": policy}, name=name, build=build)


def made_report(
    made: Project, name: str, k: int, *, new: Sequence[Artifact], **parts: Artifact | None
) -> Report:
    """Of a round that made ``new``: real sizes, and flips as :func:`_flips_of` has them."""

    def build(area: Build) -> Built:
        page = f"<!doctype html><title>Round {k}</title><h1>Round {k} of {made.name}</h1>\n"
        (area.output / "index.html").write_text(page)
        numbers = ReportNumbers(new_bytes=_new_bytes_of(made, new), label_flips=flips)
        write_numbers(numbers, area.output)
        return Built({}, metrics | {"new_bytes": float(numbers.total_bytes)})

    is_compared = parts["labels"] is not None and parts["previous"] is not None
    flips = tuple(_flips_of(k, task) for task in TASKS) if is_compared else ()
    frames = sum(each.num_frames for each in flips)
    metrics = (
        {"label_flips": sum(each.gained + each.lost for each in flips) / frames} if flips else {}
    )
    config = ReportConfig(title=f"Round {k}")
    return made.store.produce(registry.REPORT, config, parts, name=name, build=build)


def made_decision(made: Project, current: Evaluation, after: Evaluation) -> GateDecision:
    """The new policy is promoted unless it succeeds less often; the numbers are the gate's."""
    found = success_difference(current, after, store=made.store)
    rates = [e.num_successes / e.num_episodes for e in (current, after)]
    verdict: Verdict = "promoted" if rates[1] >= rates[0] else "kept"
    said = "is not worse" if verdict == "promoted" else "is worse"
    return GateDecision(
        verdict=verdict,
        reasons=(f"the new policy {said}: {rates[1]:.0%} against {rates[0]:.0%}",),
        tasks=(
            TaskComparison(
                task=TASKS[0], num_episodes=NUM_EVALUATED, current_rate=rates[0],
                new_rate=rates[1], low=found.low, high=found.high,
            ),
        ),
    )  # fmt: skip


def annotate(made: Project, recording: Recording) -> None:
    """Correct one outcome of a recording, and exclude another episode."""
    names = sorted(path.name for path in made.store.path(recording).glob("episode_*"))
    config = AnnotateConfig(
        episodes=(
            EpisodeAnnotation(episode=names[0], outcome="failure", note="it slipped"),
            EpisodeAnnotation(episode=names[1], excluded=True, note="camera moved"),
        )
    )
    earlier = made.find("annotations")
    annotations = annotate_episodes(
        recording, config, earlier=earlier, name="annotations", store=made.store
    )
    made.point("annotations", annotations)


def _new_bytes_of(made: Project, new: Sequence[Artifact]) -> dict[str, int]:
    manifests = {artifact.id: made.store.manifest(artifact) for artifact in new}
    given = {p.id for manifest in manifests.values() for p in manifest.parents} - set(manifests)
    known = manifests | {id_: made.store.manifest(made.store.get(id_)) for id_ in given}
    found = {id_: new_bytes(made.store, manifest, known) for id_, manifest in manifests.items()}
    return {id_: size for id_, size in found.items() if size is not None}


def _flips_of(k: int, task: str) -> TaskChange:
    """Labels of a task that changed in round ``k``: fewer and fewer, with ups and downs."""
    is_rare = task != TASKS[0]
    phase = 2.0 if is_rare else 0.0
    share = (0.02 + 0.2 * math.exp(-k / 10) + 0.01 * math.sin(2 * k + phase)) * (1 + is_rare / 2)
    num_frames = (100 if is_rare else 300) * k
    changed = round(share * num_frames)
    gained = changed * 3 // 5
    return TaskChange(
        task=task, num_frames=num_frames, gained=gained, lost=changed - gained, other=0,
        before=0.4, after=0.4 + (2 * gained - changed) / num_frames,
    )  # fmt: skip


def rate_of(k: int) -> float:
    """Success rate of round ``k``'s policy: it rises, with ups and downs."""
    return 0.3 + 0.6 * (1 - math.exp(-k / 12)) + 0.04 * math.sin(k)


def likeness_of(made: Project, k: int, salt: int) -> int:
    return (made.seed + k + salt) % _NUM_LIKENESSES


def _statistics(made: Project) -> str:
    return json.dumps({"norm_stats": {"state": {"mean": [0.0], "std": [1.0 + made.seed]}}})


def _write_params(directory: Path, text: str) -> None:
    """A few kilobytes that differ from model to model."""
    (directory / "d").mkdir(parents=True)
    seed = int.from_bytes(text.encode()[-8:], "big")
    (directory / "d" / "0").write_bytes(np.random.default_rng(seed).bytes(2000) + text.encode())
    (directory / "_METADATA").write_text("{}")


def _write_assets(output: Path, made: Project) -> None:
    path = output / "assets" / made.robot / "norm_stats.json"
    path.parent.mkdir(parents=True)
    path.write_text(_statistics(made) + "\n")


def _write_metrics(output: Path, num_steps: int) -> dict[str, float]:
    rows = [{"step": s, "loss": 1 / (1 + s / 100)} for s in range(100, num_steps + 1, 100)]
    (output / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"loss": rows[-1]["loss"] if rows else 1.0, "steps_per_s": 12.5}
