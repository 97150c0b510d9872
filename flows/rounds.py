"""One round of RECAP, from settings that are complete and inputs that are artifacts."""

from collections.abc import Sequence

from prefect import flow

from flows.gate import decide
from flows.people import settled, wait_for_approval
from flows.references import ProjectRefs
from flows.relabeling import relabeled
from flows.results import Experience, IterationResult, Judgement, Learning, RoundInputs
from flows.stage3 import run_stage3
from flows.timeline import record_round, warn_of_unhealthy_value_model
from recap_core.config.flows import ProjectConfig
from recap_core.config.gate import GateDecision
from recap_core.config.iteration import RecordIterationConfig
from recap_core.config.stages import ReportConfig
from recap_core.errors import DataError, UnhealthyValueModelError
from recap_core.lineage.artifacts import (
    Annotations,
    AnyDataset,
    Artifact,
    Dataset,
    Iteration,
    OfflineCheck,
    PolicyCheckpoint,
    Recording,
    Report,
    ValueCheckpoint,
)
from recap_core.lineage.project_files import project_name
from recap_core.lineage.standing import Standing, held_back
from tasks.collection import collect
from tasks.datasets import annotations_of, convert, merge
from tasks.evaluation import evaluate
from tasks.iterations import record_iteration
from tasks.judging import check_policy
from tasks.reporting import report
from tasks.store import open_store
from tasks.summaries import health_reasons
from tasks.training import train_policy, train_value


@flow(name="recap-round", flow_run_name="round-{round_index}")
def recap_round(
    config: ProjectConfig, round_index: int, inputs: RoundInputs, last_round: int
) -> IterationResult:
    """One round inside a loop: a page of its own below the loop's."""
    return run_round(config, round_index, inputs, last_round=last_round)


def run_round(
    config: ProjectConfig,
    round_index: int,
    inputs: RoundInputs,
    *,
    last_round: int | None = None,
) -> IterationResult:
    """Gain experience, learn what was good, improve the starting policy, and judge the result.

    A round that failed or was killed changes no ref; running it again goes on where it stopped. One
    that is only looked up again moves none either, and keeps what was decided. One that is made
    anew promotes nothing over later rounds.

    Args:
        config: Complete settings of the project.
        round_index: Number of the round, from 1.
        inputs: Everything that exists before it.
        last_round: The run makes every round up to this one, so it may replace what they have put
            in use; None: it makes this round only.
    """
    k = round_index
    refs = ProjectRefs(open_store(), config)
    experience = _gain_experience(config, inputs, k)
    learning = _learn(config, inputs, experience, k)
    judgement = _judge(config, inputs, experience, learning, k)
    at = refs.standing(k, learning.policy, compared=inputs.collector, last_round=last_round)
    known = refs.recorded_decision(k, _parts(inputs, experience, learning, judgement, None))
    decision = known or _decided(config, learning.policy, judgement, at)
    settings = config.model_dump(mode="json", exclude={"runtime"})
    shown = ReportConfig(title=f"Round {k}", decision=decision, settings=settings)
    page = _report(experience, learning, judgement, shown, refs.finished_round(k - 1))
    whose = {"project": config.project, "robot": config.robot, "round_index": k}
    record = record_iteration(
        _parts(inputs, experience, learning, judgement, page),
        RecordIterationConfig(**whose, decision=decision, settings=settings),
        name=f"round-{k}",
    )
    result = IterationResult(
        **whose,
        inputs=inputs,
        experience=experience,
        learning=learning,
        judgement=judgement,
        decision=decision,
        current=learning.policy if decision.verdict == "promoted" else inputs.collector,
        report=page,
        record=record,
    )
    if known is None:
        record_round(result)
        refs.settle(learning.policy, decision.verdict, at)
    refs.keep_round(record, learning.policy)
    return result


def _parts(
    inputs: RoundInputs,
    experience: Experience,
    learning: Learning,
    judgement: Judgement,
    page: Report | None,
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
        "recordings": experience.recordings,
        "rollouts": experience.rollouts,
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
        "offline": judgement.offline,
        "report": page,
    }


def _gain_experience(config: ProjectConfig, inputs: RoundInputs, k: int) -> Experience:
    """Add what the current policy went through to all data so far."""
    settings, name = config.iteration, f"round-{k}"
    if settings.episodes == "simulation":
        session = settings.collect.model_copy(update={"round_index": k})
        recording = collect(inputs.collector, session, config.runtime.collect, name=name)
        recordings = (recording,)
        rollouts = (_convert(recording, config, inputs.annotations, name=name),)
        ProjectRefs(open_store(), config).set(f"{name}-dataset", rollouts[0])
    else:
        recordings = _given(inputs, config, k)
        rollouts = tuple(
            _convert(one, config, inputs.annotations, name=f"{name}-{one.id[:8]}")
            for one in recordings
        )
    datasets = (inputs.demonstrations, *inputs.earlier, *rollouts)
    merged = merge(datasets, settings.merge, annotations=inputs.annotations, name=f"{name}-merged")
    return Experience(recordings=recordings, rollouts=rollouts, merged=merged)


def _convert(
    recording: Recording, config: ProjectConfig, annotations: Annotations | None, *, name: str
) -> Dataset:
    """A validated dataset; only corrections of this recording's episodes matter to it."""
    concerned = annotations_of(recording, annotations)
    return convert(recording, config.iteration.convert, annotations=concerned, name=name)


def _given(inputs: RoundInputs, config: ProjectConfig, k: int) -> tuple[Recording, ...]:
    if not inputs.recordings:
        raise DataError(
            f"round {k} of {config.project}/{config.robot} learns from recordings, but is given "
            "none. Ingest some with the flow 'ingest', or set iteration.episodes=simulation"
        )
    return inputs.recordings


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
    relabeling = relabeled(merged, value_model, config, name=name)
    ProjectRefs(open_store(), config).set(f"{name}-relabeled", relabeling.dataset)
    policy = train_policy(
        relabeling.dataset, stats, inputs.start, settings.finetune, training, name=name
    )
    return Learning(value_model=value_model, relabeling=relabeling, policy=policy)


def _judge(
    config: ProjectConfig, inputs: RoundInputs, experience: Experience, learning: Learning, k: int
) -> Judgement:
    """Evaluate the policy before, the new one, and the control, all on the same seeds.

    Where an operator judges, the new policy is only checked without a robot.
    """
    settings, robots = config.iteration, config.runtime.collect
    offline = _check(config, inputs, experience, learning, k) if settings.checks_offline else None
    if settings.judge == "operator":
        return Judgement(offline=offline)
    before = evaluate(inputs.start, settings.evaluation, robots, name="start")
    collector = before
    if inputs.collector != inputs.start:
        name = f"round-{k}-collector"
        collector = evaluate(inputs.collector, settings.evaluation, robots, name=name)
    after = evaluate(learning.policy, settings.evaluation, robots, name=f"round-{k}")
    judgement = Judgement(before=before, collector=collector, after=after, offline=offline)
    if settings.control is None:
        return judgement
    control_policy = train_policy(
        inputs.demonstrations, inputs.norm_stats, inputs.start, settings.control,
        config.runtime.train, name="control",
    )  # fmt: skip
    control = evaluate(control_policy, settings.evaluation, robots, name="control")
    return judgement.model_copy(update={"control_policy": control_policy, "control": control})


def _check(
    config: ProjectConfig, inputs: RoundInputs, experience: Experience, learning: Learning, k: int
) -> OfflineCheck:
    """The new policy on held-out frames, beside the one in use."""
    return check_policy(
        _learned_from(experience, learning), learning.policy, inputs.collector,
        config.iteration.check, name=f"round-{k}", runtime=config.runtime.infer,
    )  # fmt: skip


def _learned_from(experience: Experience, learning: Learning) -> AnyDataset:
    relabeling = learning.relabeling
    return relabeling.dataset if relabeling else experience.merged


def _decided(
    config: ProjectConfig, policy: PolicyCheckpoint, judgement: Judgement, at: Standing
) -> GateDecision:
    """What becomes of the policy; a person is asked about a candidate where the project says so."""
    decision = held_back(decide(judgement, config.iteration), policy, at)
    if decision.verdict != "candidate" or not config.iteration.wait_for_approval:
        return decision
    ProjectRefs(open_store(), config).offer(policy)  # what is waited for has a name
    return settled(decision, wait_for_approval(project_name(config), policy, decision))


def _report(
    experience: Experience,
    learning: Learning,
    judgement: Judgement,
    config: ReportConfig,
    previous: Iteration | None,
) -> Report:
    relabeling = learning.relabeling
    return report(
        judgement.before,
        judgement.after,
        control=judgement.control,
        policy=learning.policy,
        dataset=_learned_from(experience, learning),
        value_model=learning.value_model,
        values=relabeling and relabeling.values,
        labels=relabeling and relabeling.labels,
        current=judgement.collector,
        offline=judgement.offline,
        previous=previous,
        config=config,
        name=config.title.lower().replace(" ", "-"),
    )


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
    earlier = (*inputs.earlier, *experience.rollouts)
    return run_stage3(config, inputs.model_copy(update={"earlier": earlier})).policy
