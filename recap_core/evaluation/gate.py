"""May a new policy replace the current one? Decided from the episodes of both, task by task."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from recap_core.config.gate import GateConfig
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.paired import (
    PairCounts,
    Rates,
    Sample,
    holm_adjusted,
    interval,
    scaled,
    tails,
)
from recap_core.evaluation.statistics import Interval

ALL_TASKS = "all tasks"
MAX_FACTOR = 2.0**12
"""No decision is promised beyond so many times the episodes there are."""

_ROUNDING = 1e-9

type Outcome = Literal["better", "worse", "undecided"]
type Standing = Literal["holds", "fails", "undecided"]
"""Of a rule: it is shown to hold, shown not to, or neither."""


class TaskSample(NamedTuple):
    """The episodes of both policies on one task, or on all."""

    task: str
    new: tuple[EpisodeOutcome, ...]
    current: tuple[EpisodeOutcome, ...]
    sample: Sample | None
    """None where a policy has no episode."""
    interval: Interval | None
    p_value: float | None
    outcome: Outcome | None
    difference: float = 0.0
    """Success rate, new minus current; weighted over tasks where they were compared one by one."""


class Pair(NamedTuple):
    """An episode of each policy, of one task and seed."""

    new: EpisodeOutcome
    current: EpisodeOutcome


class Samples(NamedTuple):
    """Everything a decision is made from."""

    overall: TaskSample | None
    """The tasks that both were evaluated on, together; None if there is none."""
    tasks: tuple[TaskSample, ...]
    """Every task that either was evaluated on, by name."""

    @property
    def compared(self) -> tuple[TaskSample, ...]:
        """The tasks that both were evaluated on."""
        return tuple(task for task in self.tasks if task.sample is not None)


class Ruling(NamedTuple):
    """What the rule says, and of which task."""

    standing: Standing
    because: TaskSample | None
    """What decided, or is undecided; None: too few episodes, or nothing to compare."""
    why: Literal["rule", "harm", "task_loss", "too_few", "nothing", "missing_task"]
    num_more_episodes: int | None = None
    """Episodes of each policy, of ``because``, that would decide; None: not known."""


def rate(outcomes: Sequence[EpisodeOutcome]) -> float:
    """Share of successes; of at least one episode."""
    return sum(outcome.success for outcome in outcomes) / len(outcomes)


def compare_on_tasks(
    current: Sequence[EpisodeOutcome], new: Sequence[EpisodeOutcome], *, confidence: float
) -> Samples:
    """Compare two policies on every task and on all together.

    A task whose seeds are the same for both is compared by seed, any other one as two independent
    samples. All tasks together are pooled seeds where all tasks are; else the weighted mean of the
    tasks' differences, by the new policy's episodes, its interval from theirs (Zou and Donner's
    method of variance estimates recovery), so that a policy that was given more of an easy task is
    not better for it.

    Args:
        current: Episodes of the current policy, each with its task.
        new: Episodes of the new policy, each with its task.
        confidence: Of the intervals and tests; of tasks' outcomes jointly (Holm).
    """
    names = sorted({outcome.task or "" for outcome in (*current, *new)})
    tasks = [_compared(name, _of(new, name), _of(current, name), confidence) for name in names]
    both = [task for task in tasks if task.sample is not None]
    return Samples(_overall(both, confidence), tuple(_corrected(tasks, both, confidence)))


def pairs_by_seed(
    current: Sequence[EpisodeOutcome], new: Sequence[EpisodeOutcome]
) -> list[Pair] | None:
    """The pairs that :func:`compare_on_tasks` counts, in the order of the new policy's episodes.

    Args:
        current: Episodes of the current policy, each with its task.
        new: Episodes of the new policy, each with its task.

    Returns:
        Pairs within tasks, of the tasks that both were evaluated on; None if there is none, or if
        the seeds of one differ.
    """
    both = {outcome.task or "" for outcome in new} & {outcome.task or "" for outcome in current}
    if not both or not all(_are_paired(_of(new, task), _of(current, task)) for task in both):
        return None
    was = {(outcome.task or "", outcome.seed): outcome for outcome in current}
    return [
        Pair(outcome, was[outcome.task or "", outcome.seed])
        for outcome in new
        if (outcome.task or "") in both
    ]


def rule_on(samples: Samples, config: GateConfig) -> Ruling:
    """Whether ``better`` or ``not_worse`` holds; a task that is worse fails it, whatever the rest.

    Monotone: a success more of the new policy never makes the standing worse.
    """
    overall = samples.overall
    if overall is None:
        return Ruling("undecided", None, "nothing")
    # Few episodes may show a loss; they never show enough for a promotion.
    loss = _shown_loss(samples, overall, config)
    if loss is not None:
        return loss
    num_missing = config.min_episodes - len(overall.new)
    if num_missing > 0:
        return Ruling("undecided", None, "too_few", num_missing)
    untested = [task for task in samples.tasks if task.current and not task.new]
    if untested and config.per_task != "off":
        return Ruling("undecided", untested[0], "missing_task")
    if _standing(overall, config) == "undecided":
        return _undecided(overall, config, "rule")
    return _tasks_hold(samples, overall, config)


def _shown_loss(samples: Samples, overall: TaskSample, config: GateConfig) -> Ruling | None:
    harmed = [task for task in samples.compared if task.outcome == "worse"]
    if harmed and config.per_task != "off":
        return Ruling("fails", min(harmed, key=lambda task: task.difference), "harm")
    if _standing(overall, config) == "fails":
        return Ruling("fails", overall, "rule")
    return None


def _tasks_hold(samples: Samples, overall: TaskSample, config: GateConfig) -> Ruling:
    """What the tasks one by one say once the rule holds for all together."""
    if config.per_task == "each":
        for task in samples.compared:
            if _standing(task, config) != "holds":
                return _undecided(task, config, "rule")
    if config.per_task == "no_harm":
        worst = min(samples.compared, key=lambda task: task.difference)
        if worst.difference < -config.max_task_loss - _ROUNDING:
            return _undecided(worst, config, "task_loss")
    return Ruling("holds", overall, "rule")


def _of(outcomes: Sequence[EpisodeOutcome], task: str) -> tuple[EpisodeOutcome, ...]:
    return tuple(outcome for outcome in outcomes if (outcome.task or "") == task)


def _compared(
    task: str,
    new: tuple[EpisodeOutcome, ...],
    current: tuple[EpisodeOutcome, ...],
    confidence: float,
) -> TaskSample:
    if not new or not current:
        return TaskSample(task, new, current, None, None, None, None)
    sample = _sample(new, current)
    found = tails(sample)
    bounds = interval(sample, confidence)
    outcome = _outcome(found.worse, found.better, bounds, confidence)
    return TaskSample(
        task, new, current, sample, bounds, found.two_sided, outcome, sample.difference
    )


def _are_paired(new: Sequence[EpisodeOutcome], current: Sequence[EpisodeOutcome]) -> bool:
    """Whether both had the same seeds, each once."""
    seeds = {outcome.seed for outcome in new}
    is_same = seeds == {outcome.seed for outcome in current}
    return is_same and len(seeds) == len(new) == len(current)


def _sample(new: Sequence[EpisodeOutcome], current: Sequence[EpisodeOutcome]) -> Sample:
    if _are_paired(new, current):
        was = {outcome.seed: outcome.success for outcome in current}
        gained = sum(outcome.success and not was[outcome.seed] for outcome in new)
        lost = sum(was[outcome.seed] and not outcome.success for outcome in new)
        return PairCounts(len(new), gained, lost)
    counts = (sum(outcome.success for outcome in outcomes) for outcomes in (new, current))
    new_successes, current_successes = counts
    return Rates(new_successes, len(new), current_successes, len(current))


def _overall(tasks: Sequence[TaskSample], confidence: float) -> TaskSample | None:
    if not tasks:
        return None
    if len(tasks) == 1:
        return tasks[0]
    new = tuple(outcome for task in tasks for outcome in task.new)
    current = tuple(outcome for task in tasks for outcome in task.current)
    samples = [task.sample for task in tasks]
    pairs = [sample for sample in samples if isinstance(sample, PairCounts)]
    if len(pairs) < len(samples):
        bounds = _weighted_interval(tasks)
        outcome: Outcome = (
            "better" if bounds.low > 0 else "worse" if bounds.high < 0 else "undecided"
        )
        difference = _weighted_difference(tasks)
        return TaskSample(ALL_TASKS, new, current, None, bounds, None, outcome, difference)
    pooled = PairCounts(*(sum(counts) for counts in zip(*pairs, strict=True)))
    found, bounds = tails(pooled), interval(pooled, confidence)
    outcome = _outcome(found.worse, found.better, bounds, confidence)
    p_value = found.two_sided
    return TaskSample(ALL_TASKS, new, current, pooled, bounds, p_value, outcome, pooled.difference)


def _weighted_difference(tasks: Sequence[TaskSample]) -> float:
    """Mean of the tasks' differences, by the new policy's episodes."""
    num_episodes = sum(len(task.new) for task in tasks)
    return sum(len(task.new) / num_episodes * task.difference for task in tasks)


def _weighted_interval(tasks: Sequence[TaskSample]) -> Interval:
    num_episodes = sum(len(task.new) for task in tasks)
    estimate, below, above = _weighted_difference(tasks), 0.0, 0.0
    for task in tasks:
        assert task.interval is not None  # noqa: S101 - both policies have episodes
        weight = len(task.new) / num_episodes
        below += (weight * (task.difference - task.interval.low)) ** 2
        above += (weight * (task.interval.high - task.difference)) ** 2
    return Interval(estimate - below**0.5, estimate + above**0.5)


def _corrected(
    tasks: Sequence[TaskSample], both: Sequence[TaskSample], confidence: float
) -> list[TaskSample]:
    """Outcomes of the tasks under one level for all of them together.

    Each side is corrected by itself: else a task that got much better would make it easier to call
    another one worse.
    """
    found = [tails(task.sample) for task in both if task.sample is not None]
    worse = holm_adjusted([each.worse for each in found])
    better = holm_adjusted([each.better for each in found])
    outcomes: dict[str, Outcome] = {
        task.task: _outcome(worse[index], better[index], task.interval, confidence)
        for index, task in enumerate(both)
    }
    return [task._replace(outcome=outcomes.get(task.task)) for task in tasks]


def _outcome(worse: float, better: float, bounds: Interval | None, confidence: float) -> Outcome:
    level = (1 - confidence) / 2 + _ROUNDING
    assert bounds is not None  # noqa: S101 - both policies have episodes
    if better <= level and bounds.low > 0:
        return "better"
    return "worse" if worse <= level and bounds.high < 0 else "undecided"


def _standing(task: TaskSample, config: GateConfig) -> Standing:
    assert task.interval is not None  # noqa: S101 - both policies have episodes
    if task.outcome == "worse":
        return "fails"
    return _by_interval(task.interval, task.difference, config, is_better=task.outcome == "better")


def _by_interval(
    bounds: Interval, estimate: float, config: GateConfig, *, is_better: bool
) -> Standing:
    if config.rule == "better":
        if is_better and bounds.low > config.min_gain:
            return "holds"
        return "fails" if config.min_gain > 0 and bounds.high < config.min_gain else "undecided"
    holds = estimate >= -_ROUNDING and (bounds.low > -config.max_loss or config.max_loss >= 1)
    return "holds" if holds else "undecided"


def _undecided(task: TaskSample, config: GateConfig, why: Literal["rule", "task_loss"]) -> Ruling:
    def decides(sample: Sample) -> bool:
        bounds, estimate = interval(sample, config.confidence), sample.difference
        if bounds.high < 0:
            return True
        if why == "task_loss":
            return False
        return _by_interval(bounds, estimate, config, is_better=bounds.low > 0) != "undecided"

    more = None if task.sample is None else _more_episodes(task.sample, len(task.new), decides)
    return Ruling("undecided", task, why, more)


def _more_episodes(
    sample: Sample, num_episodes: int, decides: Callable[[Sample], bool]
) -> int | None:
    """Episodes to add so that the same rates would decide; None: no reachable number does."""
    factor = 1.0
    while not decides(scaled(sample, factor)):
        factor *= 2
        if factor > MAX_FACTOR:
            return None
    low, high = max(factor / 2, 1.0), factor
    while (high - low) * num_episodes > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if decides(scaled(sample, middle)) else (middle, high)
    return max(1, round((high - 1) * num_episodes + 0.499))
