"""A gate's ruling in sentences, with the numbers behind it."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from recap_core.config.gate import GateConfig, TaskComparison
from recap_core.evaluation.gate import Outcome, Ruling, Samples, TaskSample, rate
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.paired import PairCounts

STOPPED_EARLY = (
    "An evaluation was stopped early, not after a number of episodes that was fixed beforehand, so "
    "estimate and interval are somewhat too favourable to whoever leads (simulated with a true "
    "difference of 10 points: 9 % of 95 % intervals miss it where 300 seeds were allowed, 24 % "
    "where 150 were); the decision is hardly harmed."
)
"""Of one evaluation, or of a comparison; numbers by tests/peeking.py."""
_MAX_TASKS_NAMED = 5


class SuccessDifference(BaseModel):
    """Success of two policies, new minus old, as the gate compares them; shares in [-1, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    difference: float
    low: float
    high: float
    outcome: Outcome
    """Of the new policy: ``better`` or ``worse`` only where it is shown."""
    rests_on: str
    """``150 same seeds: 58 gained, 10 lost``."""

    def text(self) -> str:
        """``+32.0 points [+22.3, +41.3], better``."""
        return (
            f"{_signed(self.difference)} points [{_signed(self.low)}, {_signed(self.high)}], "
            f"{self.outcome}"
        )


def success_difference_of(task: TaskSample) -> SuccessDifference:
    """The numbers of a task, or of all, on which both policies were evaluated."""
    assert task.interval is not None  # noqa: S101 - compared tasks only
    assert task.outcome is not None  # noqa: S101 - likewise
    if isinstance(task.sample, PairCounts):
        counts = f"{task.sample.num_gained:.0f} gained, {task.sample.num_lost:.0f} lost"
        rests_on = f"{len(task.new)} same seeds: {counts}"
    else:
        how = "weighted over tasks" if task.sample is None else "not the same seeds"
        rests_on = f"{len(task.new)} and {len(task.current)} episodes, {how}"
    return SuccessDifference(
        difference=task.difference,
        low=task.interval.low,
        high=task.interval.high,
        outcome=task.outcome,
        rests_on=rests_on,
    )


def ruling_sentence(ruling: Ruling, samples: Samples, config: GateConfig) -> str:
    """Why the rule holds, fails or is undecided."""
    overall, task = samples.overall, ruling.because
    if ruling.why == "nothing" or overall is None:
        return (
            "No task was evaluated with both policies, so there is nothing to compare. "
            "Evaluate both on the same tasks."
        )
    if ruling.why == "too_few":
        return (
            f"Undecided: {len(overall.new)} episodes of the new policy, and gate.min_episodes is "
            f"{config.min_episodes}: evaluate {ruling.num_more_episodes} more."
        )
    assert task is not None  # noqa: S101 - every other ruling is about a task
    if ruling.why == "missing_task":
        return (
            f"Undecided: the new policy was not evaluated on {task.task!r}, the current one was. "
            "Evaluate it there too."
        )
    if ruling.standing == "holds":
        return _holds(task, config)
    if ruling.standing == "fails":
        return _fails(task, config, ruling, num_tasks=len(samples.tasks))
    return f"Undecided: {_doubt(task, config, ruling)} {_more(ruling)}"


def _holds(task: TaskSample, config: GateConfig) -> str:
    sure = _percent(config.confidence)
    if config.rule == "better":
        by = f"by more than {_points(config.min_gain)} " if config.min_gain else ""
        return f"The new policy is {by}better than the current one ({sure} confidence)."
    if config.max_loss >= 1:
        return "The new policy succeeds at least as often as the current one."
    better = "is better than" if task.outcome == "better" else "succeeds at least as often as"
    return (
        f"The new policy {better} the current one; a loss of {_points(config.max_loss)} or more "
        f"is ruled out ({sure} confidence)."
    )


def _fails(task: TaskSample, config: GateConfig, ruling: Ruling, *, num_tasks: int) -> str:
    sure = _percent(config.confidence)
    if ruling.why == "harm" or task.outcome == "worse":
        where = f" on {task.task!r}" if ruling.why == "harm" and num_tasks > 1 else ""
        return f"The new policy is worse than the current one{where} ({sure} confidence)."
    return (
        f"A gain of {_points(config.min_gain)} or more is ruled out ({sure} confidence): the new "
        "policy is not better enough."
    )


def _doubt(task: TaskSample, config: GateConfig, ruling: Ruling) -> str:
    where = f" on {task.task!r}" if task.task and config.per_task == "each" else ""
    if ruling.why == "task_loss":
        return (
            f"the new policy succeeds less often on {task.task!r}, by more than "
            f"gate.max_task_loss ({_points(config.max_task_loss)}), too few episodes to tell."
        )
    if config.rule == "better":
        least = f" by more than {_points(config.min_gain)}" if config.min_gain else ""
        return f"it is not shown that the new policy is better{least}{where}."
    if task.difference < 0:
        return f"the new policy succeeds less often{where}, which may be chance."
    return f"a loss of {_points(config.max_loss)} is not ruled out{where}."


def _more(ruling: Ruling) -> str:
    if ruling.because is not None and ruling.because.sample is None:
        return "How many more episodes would decide it is not known where seeds differ."
    if ruling.num_more_episodes is None:
        return "More episodes of the same kind would not decide it; a person can."
    return (
        f"About {_rounded(ruling.num_more_episodes):,} more episodes of each policy would decide "
        "this, if both go on like that."
    )


def numbers_sentences(samples: Samples, config: GateConfig) -> list[str]:
    """The comparison of all tasks, then of every task if there are several."""
    if samples.overall is None:
        return []
    lines = [_numbers("The new policy succeeds", samples.overall, config)]
    if len(samples.tasks) > 1:
        worst_first = sorted(samples.compared, key=lambda task: task.difference)
        lines += [
            _numbers(f"On {task.task!r}, the new policy succeeds", task, config)
            for task in worst_first[:_MAX_TASKS_NAMED]
        ]
        rest = len(worst_first) - _MAX_TASKS_NAMED
        if rest > 0:
            lines.append(f"{rest} more tasks went better than these.")
    return lines


def _numbers(start: str, task: TaskSample, config: GateConfig) -> str:
    assert task.interval is not None  # noqa: S101 - compared tasks only
    how = "not the same seeds"
    if isinstance(task.sample, PairCounts):
        how = f"same seeds, {task.sample.num_gained:.0f} gained and {task.sample.num_lost:.0f} lost"
    elif task.sample is None:
        how = "weighted over tasks"
    p_value = "" if task.p_value is None else f"; p = {task.p_value:.2g}"
    return (
        f"{start} in {_counts(task.new)}, the current one in {_counts(task.current)}: "
        f"{_signed(task.difference)} points, {_percent(config.confidence)} interval "
        f"{_signed(task.interval.low)} to {_signed(task.interval.high)} ({how}{p_value})."
    )


def task_comparison(task: TaskSample) -> TaskComparison:
    """The numbers of a task, as the decision keeps them."""
    low, high = task.interval or (None, None)
    return TaskComparison(
        task=task.task,
        num_episodes=len(task.new),
        current_rate=rate(task.current) if task.current else None,
        new_rate=rate(task.new) if task.new else None,
        low=low,
        high=high,
        is_paired=isinstance(task.sample, PairCounts),
        p_value=task.p_value,
        outcome=task.outcome,
    )


def _counts(outcomes: Sequence[EpisodeOutcome]) -> str:
    num_successes = sum(outcome.success for outcome in outcomes)
    return f"{num_successes} of {len(outcomes)} episodes ({100 * rate(outcomes):.1f} %)"


def _signed(difference: float) -> str:
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text


def _points(share: float) -> str:
    return f"{100 * share:g} points"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _rounded(count: int) -> int:
    """``count`` with two digits that count, rounded up."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step
