"""The gate: what becomes of a new policy, from evaluations and offline checks in the store.

Reports and diffs take differences from here too (:func:`success_difference`), so that one
comparison has one interval everywhere.

No artifact: a decision costs milliseconds, and the round's record holds it.
"""

import json

from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.gate import GateConfig, GateDecision, OfflineCheckName, Verdict
from recap_core.errors import IncompatibleError
from recap_core.evaluation.gate import Ruling, Samples, compare_on_tasks, rule_on
from recap_core.evaluation.gate_words import (
    STOPPED_EARLY,
    SuccessDifference,
    numbers_sentences,
    ruling_sentence,
    success_difference_of,
    task_comparison,
)
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.lineage.artifacts import Evaluation, OfflineCheck
from recap_core.lineage.store import Store
from recap_core.stages.evaluate import EPISODES_FILE, is_stopped_early
from recap_core.stages.registry import EVALUATE

_MAY_DIFFER = {"num_episodes", "first_seed", "confidence"}
"""Settings of an evaluation that make it no harder or easier."""

_ROBOT_MAY_DIFFER = {"cameras", "image_px", "task", "instruction"}
"""What is only rendered for a policy that looks; and tasks, which are compared one by one."""


def judge(
    current: Evaluation | None,
    new: Evaluation | None,
    config: GateConfig,
    *,
    offline: OfflineCheck | None,
    store: Store,
) -> GateDecision:
    """Decide whether a new policy is promoted, becomes a candidate, or the old one is kept.

    A policy that fails a required offline check is kept back whatever its evaluation. Without
    both evaluations nothing but ``rule: always`` promotes.

    Where an evaluation was stopped early, a reason says what that does to the numbers.

    Args:
        current: Evaluation of the policy in use; None: it was not evaluated.
        new: Evaluation of the new policy; None: it was not evaluated.
        config: The rule.
        offline: Check of the new policy without a robot; None: there was none.
        store: Where both are.

    Raises:
        ArtifactNotFoundError: If an evaluation is not in the store.
    """
    samples, doubt = _samples(current, new, config, store)
    numbers = numbers_sentences(samples, config) if samples else []
    if samples and any(each and is_stopped_early(each, store) for each in (current, new)):
        numbers.append(STOPPED_EARLY)
    notes = [*numbers, *_unchecked(offline), *_warnings(offline)]
    failed = _failed(offline, config)
    if failed:
        reason = f"The new policy failed {_and(failed)} of its offline checks."
        return _decision("kept", [reason, *notes], samples, None)
    if config.rule == "always":
        reason = "gate.rule is always: every new policy is promoted."
        return _passed([reason, *notes], samples, config)
    if config.rule == "never":
        reason = "gate.rule is never: only a person promotes."
        return _decision("candidate", [reason, *notes], samples, None)
    if samples is None:
        return _decision("candidate", [doubt, *notes], None, None)
    ruling = rule_on(samples, config)
    reasons = [ruling_sentence(ruling, samples, config), *notes]
    if ruling.standing == "holds":
        return _passed(reasons, samples, config)
    verdict: Verdict = "kept" if ruling.standing == "fails" else "candidate"
    return _decision(verdict, reasons, samples, ruling)


def success_difference(
    current: Evaluation, new: Evaluation, *, store: Store, confidence: float = 0.95
) -> SuccessDifference:
    """Success of one policy against another's on all tasks together, new minus current.

    Args:
        current: Evaluation of one policy.
        new: Of the other.
        store: Where both are.
        confidence: Of the interval and the test.

    Raises:
        IncompatibleError: If one evaluation is harder than the other, or they share no task.
        ArtifactNotFoundError: If one is not in the store.
    """
    overall = _compared(current, new, store=store, confidence=confidence).overall
    if overall is None:
        raise IncompatibleError(
            f"{current.name}-{current.id[:8]} and {new.name}-{new.id[:8]} have no task in common. "
            "Evaluate both on the same tasks."
        )
    return success_difference_of(overall)


def episodes_of(evaluation: Evaluation, store: Store) -> list[EpisodeOutcome]:
    """Its episodes, each with its task."""
    path = store.path(evaluation) / EPISODES_FILE
    rows = json.loads(path.read_text(encoding="utf-8"))
    task = _settings(evaluation, store).robot.instruction
    outcomes = [EpisodeOutcome.model_validate(row) for row in rows]
    return [
        outcome if outcome.task else outcome.model_copy(update={"task": task})
        for outcome in outcomes
    ]


def conditions_of(evaluation: Evaluation, store: Store) -> dict[str, object]:
    """What makes an evaluation harder or easier than another one: who evaluated, and settings."""
    manifest = store.manifest(evaluation)
    who: dict[str, object] = {"stage": manifest.stage}
    if manifest.stage != EVALUATE.id:
        plain = dict(sorted(manifest.config.items()))
        return who | {key: value for key, value in plain.items() if key not in _MAY_DIFFER}
    settings = _settings(evaluation, store).model_dump(exclude=_MAY_DIFFER)
    robot = {
        f"robot.{key}": value
        for key, value in settings.pop("robot").items()
        if key not in _ROBOT_MAY_DIFFER
    }
    return who | settings | robot


def _settings(evaluation: Evaluation, store: Store) -> EvaluationConfig:
    manifest = store.manifest(evaluation)
    # Other stages than the simulator's have other settings; their episodes name their task.
    known = manifest.config if manifest.stage == EVALUATE.id else {}
    return EvaluationConfig.model_validate(known)


def _samples(
    current: Evaluation | None, new: Evaluation | None, config: GateConfig, store: Store
) -> tuple[Samples | None, str]:
    """What to compare, or why nothing can be."""
    if new is None:
        return None, "The new policy was not evaluated; a person decides."
    if current is None:
        return None, "The current policy was not evaluated: there is nothing to compare with."
    try:
        samples = _compared(current, new, store=store, confidence=config.confidence)
    except IncompatibleError as error:
        return None, str(error)
    return samples, ""


def _compared(current: Evaluation, new: Evaluation, *, store: Store, confidence: float) -> Samples:
    differing = _differing(current, new, store)
    if differing:
        raise IncompatibleError(
            f"The two evaluations cannot be compared, they differ in {_and(differing)}. "
            "Evaluate both with the same settings."
        )
    outcomes = [episodes_of(each, store) for each in (current, new)]
    return compare_on_tasks(outcomes[0], outcomes[1], confidence=confidence)


def _differing(current: Evaluation, new: Evaluation, store: Store) -> list[str]:
    """Settings that make one evaluation harder than the other."""
    made = [store.manifest(each).stage for each in (current, new)]
    if made[0] != made[1]:
        return [f"who evaluated ({made[0]}, {made[1]})"]
    one, other = (conditions_of(each, store) for each in (current, new))
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def _unchecked(offline: OfflineCheck | None) -> list[str]:
    if offline is None or not offline.seen_in_training:
        return []
    sentence = (
        "The offline checks used episodes that the policy was trained on: they find what is "
        "broken, not what is better."
    )
    return [sentence]


def _warnings(offline: OfflineCheck | None) -> list[str]:
    return [] if offline is None else list(offline.warnings)


def _failed(offline: OfflineCheck | None, config: GateConfig) -> list[OfflineCheckName]:
    if offline is None:
        return []
    return [check for check in config.required_checks if check in offline.failed]


def _passed(reasons: list[str], samples: Samples | None, config: GateConfig) -> GateDecision:
    if config.approval == "automatic":
        return _decision("promoted", reasons, samples, None)
    waits = "gate.approval is person: it waits for a person's word."
    return _decision("candidate", [reasons[0], waits, *reasons[1:]], samples, None)


def _decision(
    verdict: Verdict, reasons: list[str], samples: Samples | None, ruling: Ruling | None
) -> GateDecision:
    overall = samples.overall if samples else None
    return GateDecision(
        verdict=verdict,
        reasons=tuple(reasons),
        tasks=tuple(task_comparison(task) for task in samples.tasks) if samples else (),
        overall=task_comparison(overall) if overall else None,
        num_more_episodes=ruling.num_more_episodes if ruling else None,
    )


def _and(words: list[str] | list[OfflineCheckName]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
