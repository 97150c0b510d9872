"""Evaluations in simulation: policies on the same seeds, perhaps filmed, perhaps recorded."""

from collections.abc import Sequence
from typing import NamedTuple

from deployments.cli.evaluation_facts import Compared, Tried, compare, label, question_of
from deployments.cli.promotion_facts import newest_check, policy_named
from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import (
    RECORDED_SEED,
    EvaluationConfig,
    RecordEvaluationConfig,
    recorded_first_seed,
)
from recap_core.config.flows import ProjectConfig
from recap_core.config.gate import GateConfig
from recap_core.errors import ConfigError
from recap_core.evaluation.checkpoint_row import checkpoint_row
from recap_core.evaluation.sequential import is_at_least
from recap_core.lineage.artifacts import Evaluation, PolicyCheckpoint, Recording
from recap_core.lineage.decisions import CANDIDATE, CURRENT
from recap_core.lineage.iterations import iteration_records
from recap_core.lineage.project_files import list_projects, load_project
from recap_core.lineage.store import Store
from recap_core.progress import Terminal
from recap_core.stages.evaluate import evaluate_policy, publish_outcomes
from recap_core.stages.evaluate_until import BlockEvaluator
from recap_core.stages.judge import episodes_of
from recap_core.stages.registry import EVALUATE


class Wanted(NamedTuple):
    """What a person asked for."""

    project: str
    policies: tuple[str, ...]
    against: str | None
    num_episodes: int | None
    first_seed: int | None
    settings: tuple[str, ...]
    is_stopped_early: bool
    is_recorded: bool
    target: float | None


class Chosen(NamedTuple):
    """A policy, and what it was called."""

    name: str
    policy: PolicyCheckpoint


class Simulated(NamedTuple):
    """Everything that came of it."""

    config: EvaluationConfig
    tried: tuple[Tried, ...]
    """The reference last."""
    comparisons: tuple[Compared, ...]
    recordings: tuple[Recording, ...]
    notes: tuple[str, ...]


_SETTINGS_USED = (
    "iteration.evaluation",
    "iteration.gate",
    "iteration.judge",
    "iteration.collect.robot",
    "runtime.collect",
)


def chosen_policies(
    store: Store, project: str, names: Sequence[str], against: str | None
) -> tuple[list[Chosen], Chosen | None]:
    """The policies in question, and the one that they are compared with.

    Unless named: the candidate against the current policy; where there is no candidate, the current
    policy against the one that the project started from.

    Raises:
        ArtifactNotFoundError: If there is none of a name.
        ConfigError: If nothing is named and the project has no policy in use.
    """
    refs = store.refs()

    def has(name: str) -> bool:
        return f"{project}/{name}" in refs

    asked = list(names)
    if not asked:
        asked = [name for name in (CANDIDATE, CURRENT) if has(name)][:1]
    if not asked:
        raise ConfigError(f"{project} has neither a candidate nor a current policy; name a policy")
    default = CURRENT if asked != [CURRENT] else "start"
    other = against or (default if has(default) else None)
    found = {name: policy_named(store, project, name) for name in dict.fromkeys(asked)}
    reference = None if other is None else Chosen(other, policy_named(store, project, other))
    news = [
        Chosen(name, policy)
        for name, policy in found.items()
        if reference is None or policy != reference.policy
    ]
    if reference is None and len(news) > 1:
        reference, news = news[0], news[1:]
    return news, reference


def evaluate_all(
    store: Store, wanted: Wanted, project: ProjectConfig, gate: GateConfig
) -> Simulated:
    """Try policies on the same seeds.

    Args:
        store: Where policies and evaluations are.
        wanted: What is asked.
        project: From :func:`project_settings`.
        gate: What is said of the policies, and when stopping early is allowed.

    Raises:
        ConfigError: If a setting is wrong, or nothing is there to decide.
    """
    round_index = 1 + len(iteration_records(store, *wanted.project.split("/")))
    config = _config(project.iteration.evaluation, wanted, round_index)
    runtime = project.runtime.collect
    news, reference = chosen_policies(store, wanted.project, wanted.policies, wanted.against)
    if wanted.is_stopped_early and wanted.target is None and (reference is None or not news):
        raise ConfigError(_nothing_to_decide(reference))
    notes, recordings = [], ()
    if wanted.is_recorded:
        everybody = [*news, *([reference] if reference else [])]
        held_out = held_out_seeds(store, project.iteration.evaluation, config.num_episodes)
        recordings = _record(store, everybody, config, project, round_index)
        notes = [_seed_note(config, held_out, recordings)]
    if wanted.is_stopped_early:
        tried, comparisons = _until_decided(store, news, reference, config, runtime, gate, wanted)
        return Simulated(config, tried, comparisons, recordings, tuple(notes))
    tried = tuple(
        _tried(store, one, _evaluation(store, one, config, runtime), config)
        for one in (*news, *([reference] if reference else []))
    )
    comparisons = ()
    if reference is not None:
        comparisons = tuple(
            compare(
                one,
                tried[-1],
                gate=gate,
                offline=newest_check(store, one.policy),
                store=store,
            )
            for one in tried[:-1]
        )
    return Simulated(config, tried, comparisons, recordings, tuple(notes))


def held_out_seeds(store: Store, saved: EvaluationConfig, num_asked: int) -> list[range]:
    """Seeds that nobody may train on, for evaluations use them, or have used them.

    Seeds of evaluations that were recorded to train on are not among them.

    Args:
        store: Where evaluations are.
        saved: The project's.
        num_asked: Episodes of an evaluation by now.

    Returns:
        The project's first.
    """
    used = {saved.first_seed: max(saved.num_episodes, num_asked)}
    for manifest in store.artifacts():
        if manifest.stage != EVALUATE.id:
            continue
        config = EvaluationConfig.model_validate(manifest.config)
        if config.first_seed < RECORDED_SEED:
            known = used.get(config.first_seed, 0)
            used[config.first_seed] = max(known, config.num_episodes)
    return [range(first, first + num_seeds) for first, num_seeds in used.items()]


def project_settings(
    store: Store, project: str, overrides: Sequence[str], gate: GateConfig
) -> ProjectConfig:
    """A project's settings as they are saved, else the demo's, with ``overrides`` over them.

    Args:
        store: Where they are saved.
        project: ``project/robot``.
        overrides: ``KEY=VALUE``, of what an evaluation uses.
        gate: The project's, over which ``iteration.gate`` of the overrides is laid.

    Raises:
        ConfigError: If one is wrong or not used, or an operator judges the project's policies.
    """
    from deployments.cli.configuration import load_settings
    from recap_core.config.presets import tiny_project

    is_saved = project in list_projects(store.home)
    saved = load_project(store.home, project) if is_saved else tiny_project()
    saved = saved.model_copy(
        update={"iteration": saved.iteration.model_copy(update={"gate": gate})}
    )
    settings = load_settings(saved, file=None, overrides=overrides)
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not any(f"{key}.".startswith(f"{used}.") for used in _SETTINGS_USED):
            raise ConfigError(
                f"--set {key} would change nothing here: an evaluation uses settings of "
                f"{', '.join(_SETTINGS_USED)}. Leave it out"
            )
    if settings.iteration.judge == "operator":
        raise ConfigError(
            f"policies of {project} are judged by an operator (iteration.judge): record episodes "
            "of the policy on the robot, ingest them, and run: recap evaluate --recording NAME. To "
            "simulate all the same: --set iteration.judge=simulation"
        )
    return settings


def _config(saved: EvaluationConfig, wanted: Wanted, round_index: int) -> EvaluationConfig:
    num_episodes = wanted.num_episodes or saved.num_episodes
    first_seed = wanted.first_seed
    if first_seed is None and wanted.is_recorded:
        first_seed = recorded_first_seed(round_index, num_episodes)
    changes = {
        "num_episodes": num_episodes,
        "first_seed": saved.first_seed if first_seed is None else first_seed,
    }
    return saved.model_copy(update=changes)


def _evaluation(
    store: Store, one: Chosen, config: EvaluationConfig, runtime: CollectRuntime
) -> Evaluation:
    return evaluate_policy(
        one.policy,
        config,
        name=one.policy.name,
        store=store,
        runtime=runtime,
        progress=Terminal(),
    )


def _tried(store: Store, one: Chosen, evaluation: Evaluation, config: EvaluationConfig) -> Tried:
    outcomes = tuple(episodes_of(evaluation, store))
    shown = label(one.policy)
    name = shown if one.name in {shown, one.policy.id} else f"{one.name} ({shown})"
    row = checkpoint_row(
        name,
        outcomes,
        fps=config.robot.fps,
        max_frames=config.max_episode_frames,
        confidence=config.confidence,
    )
    return Tried(name, one.policy, evaluation, outcomes, row)


def _until_decided(  # noqa: PLR0913, PLR0917 - of one caller
    store: Store,
    news: Sequence[Chosen],
    reference: Chosen | None,
    config: EvaluationConfig,
    runtime: CollectRuntime,
    gate: GateConfig,
    wanted: Wanted,
) -> tuple[tuple[Tried, ...], tuple[Compared, ...]]:
    """Block by block, every policy by itself."""
    blocks = BlockEvaluator(
        config,
        min_episodes=gate.min_episodes,
        store=store,
        runtime=runtime,
        progress=Terminal(),
    )
    target = None
    if wanted.target is not None:
        target = is_at_least(wanted.target, confidence=gate.confidence)
    if target is not None and (reference is None or not news):
        alone = news or ([reference] if reference else [])
        found = [(one, blocks.reach(one.policy, target)[0]) for one in alone]
        return tuple(_tried(store, one, evaluation, config) for one, evaluation in found), ()
    assert reference is not None  # noqa: S101 - else there would be nothing to decide
    tried: list[Tried] = []
    comparisons: list[Compared] = []
    for one in news:
        question = question_of(gate)
        decided = blocks.compare(one.policy, reference.policy, question, of_each=target)
        new = _tried(store, one, decided.new, config)
        was = _tried(store, reference, decided.reference, config)
        tried.append(new)
        offline = newest_check(store, one.policy)
        comparisons.append(
            compare(new, was, gate=gate, offline=offline, store=store, test=decided.test)
        )
    longest = max((each.reference for each in comparisons), key=lambda one: len(one.outcomes))
    return (*tried, longest), tuple(comparisons)


def _nothing_to_decide(reference: Chosen | None) -> str:
    if reference is None:
        return (
            "--stop-early needs something to decide: compare with a policy (--against), or ask for "
            "a success rate (--at-least 0.8)"
        )
    return (
        f"--stop-early needs something to decide: {label(reference.policy)} would be compared with "
        f"itself ({reference.name}). Name another policy with --against, or ask for a success rate "
        "(--at-least 0.8)"
    )


def _record(
    store: Store,
    policies: Sequence[Chosen],
    config: EvaluationConfig,
    project: ProjectConfig,
    round_index: int,
) -> tuple[Recording, ...]:
    """Record every policy's episodes, and publish what they are as evaluations."""
    from recap_core.stages.record_evaluation import outcomes_of, record_evaluation

    collected = project.iteration.collect.robot
    robot = config.robot
    if not robot.cameras:
        seen = {"cameras": collected.cameras, "image_px": collected.image_px}
        robot = robot.model_copy(update=seen)
    recorded = RecordEvaluationConfig(
        evaluation=config.model_copy(update={"robot": robot}), round_index=round_index
    )
    found: list[Recording] = []
    for one in policies:
        recording = record_evaluation(
            one.policy,
            recorded,
            name=f"{one.policy.name}-evaluation"[:64],
            store=store,
            runtime=project.runtime.collect,
            progress=Terminal(),
        )
        outcomes = outcomes_of(recording, store)
        publish_outcomes(outcomes, one.policy, config, name=one.policy.name, store=store)
        found.append(recording)
    return tuple(found)


def _seed_note(
    config: EvaluationConfig, held_out: Sequence[range], recordings: Sequence[Recording]
) -> str:
    """What the seeds of a recording mean for later evaluations."""
    first, last = config.first_seed, config.first_seed + config.num_episodes - 1
    names = ", ".join(label(recording) for recording in recordings)
    if any(first <= seeds[-1] and last >= seeds[0] for seeds in held_out):
        return (
            f"{names} recorded held-out seeds, {first} to {last}: whoever trains on them spoils "
            "every later evaluation on these seeds, for a policy knows what it has seen. Leave "
            "--first-seed out, or train on none of it."
        )
    return (
        f"{names} recorded seeds {first} to {last}, apart from the held-out ones "
        f"({held_out[0][0]} to {held_out[0][-1]}): train on them as on any rollouts, and evaluate "
        "on the held-out ones."
    )
