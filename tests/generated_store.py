"""A store with many finished rounds, made in seconds: real manifests, keys, refs and files.

Every artifact is published by ``Store.produce`` under the stage, settings and parents that a real
round has. What is costly is tiny: episodes of a dozen frames without cameras, parameters of a few
kilobytes, values drawn at random. Labels are made by the real stage.

    python -m tests.generated_store HOME [ROUNDS]
"""

import sys
from pathlib import Path
from typing import NamedTuple

from recap_core.config.flows import ProjectConfig
from recap_core.config.iteration import RecordIterationConfig
from recap_core.config.presets import tiny_project
from recap_core.lineage.artifacts import (
    Artifact,
    Iteration,
)
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages import registry
from recap_core.stages.record_iteration import record_iteration
from tests.generated_datasets import Part, write_dataset
from tests.generated_parts import (
    Project,
    annotate,
    likeness_of,
    made_decision,
    made_evaluation,
    made_labels,
    made_merge,
    made_norm_stats,
    made_policy,
    made_recording,
    made_report,
    made_rollouts,
    made_value_model,
    produced_recording,
    rate_of,
)

PROJECT, ROBOT = "handover", "aloha"
OTHER_PROJECT, OTHER_ROBOT = "pegs", "arm"
NUM_OTHER_ROUNDS = 5
UNHEALTHY_ROUND = 7
"""Its value model may not label: no values, labels, copy or relabelled dataset."""


class GeneratedStore(NamedTuple):
    """A store, and its two projects."""

    store: Store
    main: Project
    other: Project


def generate_store(
    home: Path, *, num_iterations: int = 50, num_other: int = NUM_OTHER_ROUNDS
) -> GeneratedStore:
    """Fill ``home`` with two projects, the first of ``num_iterations`` rounds.

    Also left behind, as by a killed training: ``work`` of a key that was never published.
    """
    store = Store(home)
    projects = [
        generate_project(store, project, robot, seed=seed, num_iterations=number)
        for seed, (project, robot, number) in enumerate(
            ((PROJECT, ROBOT, num_iterations), (OTHER_PROJECT, OTHER_ROBOT, num_other))
        )
    ]
    unfinished = home / "work" / ("0" * 32) / "training" / "step-100"
    unfinished.mkdir(parents=True)
    (unfinished / "train_state").write_bytes(bytes(5000))
    return GeneratedStore(store, *projects)


def generate_project(
    store: Store, project: str, robot: str, *, seed: int, num_iterations: int
) -> Project:
    """Bootstrap a project and run its rounds."""
    settings = tiny_project(cameras=False).model_copy(update={"project": project, "robot": robot})
    made = Project(store, project, robot, seed, settings)
    _bootstrap(made)
    for k in range(1, num_iterations + 1):
        make_round(made, k)
    return made


def make_round(made: Project, k: int) -> Iteration:
    """Add one round; they come in order, from 1."""
    name, settings = f"round-{k}", round_settings(made, k)
    start, collector = made.find("start"), made.find("current")
    demonstrations, stats = made.find("demonstrations"), made.find("norm-stats")
    annotations, earlier = made.find("annotations"), tuple(made.rollouts)
    recordings = [made_recording(made, k, i, collector) for i in range(2 if k % 4 == 0 else 1)]
    rollouts = [made_rollouts(made, recording, k, i) for i, recording in enumerate(recordings)]
    made.point(f"{name}-dataset", rollouts[0])
    merged = made_merge(made, (demonstrations, *earlier, *rollouts), annotations, name)
    is_healthy = k != UNHEALTHY_ROUND
    value_model = made_value_model(made, merged, stats, k, is_healthy=is_healthy)
    labelled: dict[str, Artifact] = {}
    if is_healthy:
        labelled = made_labels(made, merged, value_model, settings, k)
        made.point(f"{name}-relabeled", labelled["relabeled"])
    data = labelled.get("relabeled", merged)
    training = settings.iteration.finetune if is_healthy else settings.iteration.stage3
    policy = made_policy(
        made, training, {"dataset": data, "norm_stats": stats, "start": start}, name
    )
    before = made_evaluation(made, start, "start", rate_of(0))
    current = before if collector == start else made_evaluation(made, collector, name, None)
    after = made_evaluation(made, policy, name, rate_of(k))
    decision = made_decision(made, current, after)
    new = (*recordings, *rollouts, merged, value_model, *labelled.values(), policy, after)
    report = made_report(made, name, k, new=new, before=before, after=after, policy=policy,
                     dataset=data, value_model=value_model, values=labelled.get("values"),
                     labels=labelled.get("labels"),
                     previous=made.records[-1] if made.records else None)  # fmt: skip
    record = record_iteration(
        {
            "start": start, "collector": collector, "demonstrations": demonstrations,
            "norm_stats": stats, "annotations": annotations, "earlier": earlier,
            "recordings": recordings, "rollouts": rollouts, "merged": merged,
            "value_model": value_model, **labelled, "policy": policy, "before": before,
            "current": current, "after": after, "report": report,
        },
        RecordIterationConfig(
            project=made.project,
            robot=made.robot,
            round_index=k,
            decision=decision,
            settings=settings.model_dump(mode="json", exclude={"runtime"}),
        ),
        name=name,
        store=made.store,
    )  # fmt: skip
    made.point(f"{name}-policy", policy)
    made.point("candidate", policy)
    if decision.verdict == "promoted":
        made.point("current", policy)
    made.point(name, record)
    if k % 8 == 2:
        annotate(made, recordings[0])
    made.rollouts += rollouts
    made.recordings += recordings
    made.policies.append(policy)
    made.records.append(record)
    return record


def round_settings(made: Project, k: int) -> ProjectConfig:
    """The settings of round ``k``: every fourth labels fewer, every 25th trains longer."""
    content = made.settings.model_dump(mode="json")
    content["iteration"]["collect"]["round_index"] = k
    content["iteration"]["collect"]["seed"] = made.seed
    content["iteration"]["label"]["positive_share"] = round(0.4 - 0.02 * (k // 4), 2)
    content["iteration"]["finetune"]["train"]["num_steps"] = 1500 + 500 * (k // 25)
    return ProjectConfig.model_validate(content)


def _bootstrap(made: Project) -> None:
    settings = made.settings.bootstrap
    demonstrations = settings.demonstrations.model_copy(update={"seed": made.seed})
    recording = produced_recording(made, demonstrations, None, "demonstrations", "demonstration", 0)
    part = Part(recording.id, 0, likeness_of(made, 0, 0))

    def build(area: Build) -> Built:
        return Built(write_dataset(area.output, [part], demonstrations=True))

    dataset = made.store.produce(
        registry.CONVERT, settings.convert, {"recording": recording}, name="demonstrations",
        build=build,
    )  # fmt: skip
    made.parts[dataset.id] = [part]
    stats = made_norm_stats(made, dataset)
    policy = made_policy(made, settings.sft, {"dataset": dataset, "norm_stats": stats}, "sft")
    made_evaluation(made, policy, "start", rate_of(0))
    for ref, artifact in (
        ("start", policy), ("demonstrations", dataset), ("norm-stats", stats),
        ("current", policy), ("candidate", policy),
    ):  # fmt: skip
        made.point(ref, artifact)


if __name__ == "__main__":
    generate_store(Path(sys.argv[1]), num_iterations=int(sys.argv[2]) if sys.argv[2:] else 50)
