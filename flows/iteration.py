"""One round of RECAP."""

from collections.abc import Sequence
from typing import Annotated, Literal

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.bootstrap import bootstrap
from flows.references import ProjectRefs, pretrained_value_model
from flows.results import Experience, IterationResult, Judgement, Learning, Relabeling, RoundInputs
from flows.stage3 import stage3
from flows.timeline import record_round, warn_of_unhealthy_value_model
from flows.values import values_of
from recap_core.config.flows import ProjectConfig
from recap_core.config.gate import GateDecision
from recap_core.config.iteration import RecordIterationConfig
from recap_core.config.presets import tiny_project
from recap_core.config.stages import ReportConfig
from recap_core.errors import UnhealthyValueModelError
from recap_core.lineage.artifacts import (
    Artifact,
    Dataset,
    PolicyCheckpoint,
    Report,
    ValueCheckpoint,
)
from tasks.collection import collect
from tasks.datasets import annotations_of, convert, copy, merge
from tasks.evaluation import evaluate
from tasks.iterations import record_iteration
from tasks.labelling import label, relabel
from tasks.reporting import report
from tasks.store import open_store
from tasks.summaries import health_reasons
from tasks.training import train_policy, train_value


def _run_name() -> str:
    parameters = flow_run.parameters
    round_index = parameters.get("round_index")
    return f"{parameters['config'].project}-round-{round_index or 'next'}"


@flow(name="recap-iteration", flow_run_name=_run_name)
def recap_iteration(
    config: ProjectConfig = tiny_project(),
    round_index: Annotated[int, Field(ge=1)] | None = None,
    inputs: RoundInputs | None = None,
) -> IterationResult:
    """Collect with the current policy, learn what was good, and improve the starting policy.

    A round that failed or was killed changes no ref; running it again goes on where it stopped.

    Args:
        config: The project. Without a starting policy yet, its bootstrap runs first.
        round_index: Number of the round; left out, the first one that is not finished.
        inputs: What exists before the round; left out, what the project's refs say.
    """
    refs = ProjectRefs(open_store(), config)
    if inputs is None and not refs.is_bootstrapped():
        pretrained_value_model(open_store(), config)  # found before anything is recorded
        bootstrap(config)
    k = round_index or refs.next_round()
    inputs = inputs or refs.round_inputs(k)

    experience = _gain_experience(config, inputs, k)
    learning = _learn(config, inputs, experience, k)
    judgement = _judge(config, inputs, learning.policy, k)

    page = _report(experience, learning, judgement, k)

    is_promoted = passes_gate(judgement, config.iteration.promote)
    current = learning.policy if is_promoted else inputs.collector
    record = record_iteration(
        _parts(inputs, experience, learning, judgement, page),
        RecordIterationConfig(
            project=config.project,
            robot=config.robot,
            round_index=k,
            decision=GateDecision(verdict="promoted" if is_promoted else "kept"),
            settings=config.model_dump(mode="json", exclude={"runtime"}),
        ),
        name=f"round-{k}",
    )
    result = IterationResult(
        project=config.project,
        robot=config.robot,
        round_index=k,
        inputs=inputs,
        experience=experience,
        learning=learning,
        judgement=judgement,
        is_promoted=is_promoted,
        current=current,
        report=page,
        record=record,
    )
    # A round that is only looked up again adds nothing to the time line.
    if not refs.knows_round(k, learning.policy):
        record_round(result)
    refs.keep_round(k, learning.policy, current)
    refs.set(f"round-{k}", record)
    return result


def _parts(
    inputs: RoundInputs,
    experience: Experience,
    learning: Learning,
    judgement: Judgement,
    page: Report,
) -> dict[str, Artifact | Sequence[Artifact] | None]:
    """Everything of a round, by role."""
    relabeling = learning.relabeling
    return {
        "start": inputs.start,
        "collector": inputs.collector,
        "demonstrations": inputs.demonstrations,
        "norm_stats": inputs.norm_stats,
        "annotations": inputs.annotations,
        "earlier": inputs.earlier,
        "recordings": (experience.recording,),
        "rollouts": (experience.rollouts,),
        "merged": experience.merged,
        "value_model": learning.value_model,
        "values": relabeling and relabeling.values,
        "labels": relabeling and relabeling.labels,
        "copy": relabeling and relabeling.copy_of_merged,
        "relabeled": relabeling and relabeling.dataset,
        "policy": learning.policy,
        "before": judgement.before,
        "current": judgement.collector,
        "after": judgement.after,
        "control_policy": judgement.control_policy,
        "control": judgement.control,
        "report": page,
    }


def _gain_experience(config: ProjectConfig, inputs: RoundInputs, k: int) -> Experience:
    """Roll out the current policy under supervision, and add the episodes to all data so far."""
    settings, name = config.iteration, f"round-{k}"
    session = settings.collect.model_copy(update={"round_index": k})
    recording = collect(inputs.collector, session, config.runtime.collect, name=name)
    concerned = annotations_of(recording, inputs.annotations)
    rollouts = convert(recording, settings.convert, annotations=concerned, name=name)
    ProjectRefs(open_store(), config).set(f"{name}-dataset", rollouts)
    datasets = (inputs.demonstrations, *inputs.earlier, rollouts)
    merged = merge(datasets, settings.merge, annotations=inputs.annotations, name=f"{name}-merged")
    return Experience(recording=recording, rollouts=rollouts, merged=merged)


def _learn(config: ProjectConfig, inputs: RoundInputs, experience: Experience, k: int) -> Learning:
    """Train a value model (stage 4), label with it (5), and fine-tune on the labels (6)."""
    settings, training, name = config.iteration, config.runtime.train, f"round-{k}"
    merged, stats = experience.merged, inputs.norm_stats
    value_model = train_value(
        merged, stats, settings.value, training, start=inputs.value_start, name=name
    )
    if not value_model.healthy:
        policy = _fall_back(config, inputs, experience, value_model)
        return Learning(value_model=value_model, relabeling=None, policy=policy)
    relabeling = _relabel(merged, value_model, config, name=name)
    ProjectRefs(open_store(), config).set(f"{name}-relabeled", relabeling.dataset)
    policy = train_policy(
        relabeling.dataset, stats, inputs.start, settings.finetune, training, name=name
    )
    return Learning(value_model=value_model, relabeling=relabeling, policy=policy)


def _judge(
    config: ProjectConfig, inputs: RoundInputs, policy: PolicyCheckpoint, k: int
) -> Judgement:
    """Evaluate the policy before, the new one, and the control, all on the same seeds."""
    settings, robots = config.iteration, config.runtime.collect
    before = evaluate(inputs.start, settings.evaluation, robots, name="start")
    collector = before
    if inputs.collector != inputs.start:
        name = f"round-{k}-collector"
        collector = evaluate(inputs.collector, settings.evaluation, robots, name=name)
    after = evaluate(policy, settings.evaluation, robots, name=f"round-{k}")
    judgement = Judgement(before=before, collector=collector, after=after)
    if settings.control is None:
        return judgement
    control_policy = train_policy(
        inputs.demonstrations, inputs.norm_stats, inputs.start, settings.control,
        config.runtime.train, name="control",
    )  # fmt: skip
    control = evaluate(control_policy, settings.evaluation, robots, name="control")
    return judgement.model_copy(update={"control_policy": control_policy, "control": control})


def _report(experience: Experience, learning: Learning, judgement: Judgement, k: int) -> Report:
    relabeling = learning.relabeling
    return report(
        judgement.before,
        judgement.after,
        control=judgement.control,
        policy=learning.policy,
        dataset=relabeling.dataset if relabeling else experience.merged,
        value_model=learning.value_model,
        values=relabeling and relabeling.values,
        labels=relabeling and relabeling.labels,
        config=ReportConfig(title=f"Round {k}"),
        name=f"round-{k}",
    )


def _relabel(
    merged: Dataset, value_model: ValueCheckpoint, config: ProjectConfig, *, name: str
) -> Relabeling:
    """Stage 5: the source stays as it is, a copy of it gets the labels."""
    settings, inference = config.iteration, config.runtime.infer
    needed = settings.infer.for_labels(settings.label)
    values = values_of(merged, value_model, needed, inference, name=name)
    labels = label(merged, values, settings.label, name=name)
    copied = copy(merged, name=f"{name}-copy")
    dataset = relabel(copied, labels, name=f"{name}-relabeled")
    return Relabeling(values=values, labels=labels, copy_of_merged=copied, dataset=dataset)


def _fall_back(
    config: ProjectConfig, inputs: RoundInputs, experience: Experience, value_model: ValueCheckpoint
) -> PolicyCheckpoint:
    """Train on the collector's labels, because the value model's cannot be trusted."""
    warn_of_unhealthy_value_model(value_model, config.iteration.on_unhealthy_value_model)
    if config.iteration.on_unhealthy_value_model == "stop":
        raise UnhealthyValueModelError(
            f"value model {value_model.name}-{value_model.id[:8]} did not pass its health gate: "
            f"{'; '.join(health_reasons(value_model))}. Collect more episodes, or set "
            "iteration.on_unhealthy_value_model=stage3"
        )
    earlier = (*inputs.earlier, experience.rollouts)
    return stage3(config, inputs.model_copy(update={"earlier": earlier})).policy


def passes_gate(judgement: Judgement, promote: Literal["if_not_worse", "always", "never"]) -> bool:
    """Whether the new policy replaces the current one; ``if_not_worse`` compares success rates."""
    if promote != "if_not_worse":
        return promote == "always"
    new, current = judgement.after, judgement.collector
    return new.num_successes * current.num_episodes >= current.num_successes * new.num_episodes
