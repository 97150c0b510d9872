"""Tests that may be looked at after every episode, and stopped as soon as they are sure.

A test that is made for a fixed number of episodes is wrong more often than it says if somebody
looks again and again and stops when it pleases. These are not. Picture a bettor who starts with one
coin and bets, before every trial, that the mean lies above ``m``. If it does not, the bets are fair
or worse, and the chance that the bettor *ever* owns ``1 / a`` coins is at most ``a`` (Ville's
inequality), however often one looks. So owning 40 coins shows, with 97.5 % confidence, that the
mean lies above ``m``.

A trial is worth y = 1 (won), 1/2 (tied) or 0 (lost). A bettor who stakes the share c has

    W(c) = product over trials of (1 - c + c y / m)

and, as nobody knows the best share beforehand, the coin is spread evenly over ``NUM_SHARES`` of
them. For trials that are only won or lost, W(c) is the likelihood ratio of m + c (1 - m) to m.

Standard library only: it runs on a robot's computer too.
"""

from collections.abc import Callable
from math import exp, inf, log
from typing import Literal, NamedTuple

from recap_core.errors import ConfigError
from recap_core.evaluation.statistics import Interval

NUM_SHARES = 40
"""Stakes that the first coin is spread over: (k + 1/2) / 40, k from 0 to 39."""
MAX_MORE = 100_000
"""No decision is promised beyond so many more trials."""

_SHARES = tuple((k + 0.5) / NUM_SHARES for k in range(NUM_SHARES))
_PRECISION = 1e-6

type Verdict = Literal["continue", "better", "worse", "futile"]
"""``better`` and ``worse``: shown to be so. ``futile``: a difference as large as the margin, in
either direction, is ruled out, so more trials would not change what to do."""
type Count = float | int
"""Of trials; a whole number unless it is projected."""


class Trials(NamedTuple):
    """What has happened so far; the order does not matter."""

    num_won: Count = 0
    """One policy: successes. Two on the same seeds: the new one alone succeeded."""
    num_tied: Count = 0
    """Two policies: both did, or neither."""
    num_lost: Count = 0
    """One policy: failures. Two: the other one alone succeeded."""

    @property
    def total(self) -> Count:
        """All of them."""
        return self.num_won + self.num_tied + self.num_lost


class Question(NamedTuple):
    """What a sequence of trials is asked; see :func:`is_better` and :func:`is_at_least`."""

    centre: float
    """Mean of the trials, in (0, 1), at which neither is better."""
    margin: float | None
    """Distance from ``centre`` at which a difference begins to matter; None: any matters."""
    confidence: float
    """Each single claim is wrong with probability (1 - confidence) / 2 at most, over all looks."""
    is_paired: bool
    """Whether estimates are differences of two rates, not a rate."""

    def shown(self, mean: float) -> float:
        """A mean of trials as people read it: a rate, or a difference of rates."""
        return 2 * mean - 1 if self.is_paired else mean


class Standing(NamedTuple):
    """What the trials so far say."""

    verdict: Verdict
    num_trials: int
    estimate: float | None
    """Success rate in [0, 1], or difference of two in [-1, 1]; None before the first trial."""
    interval: Interval
    """Of it, valid at all times together: a fixed number of trials would give a narrower one."""
    num_more: int | None
    """Trials that would decide, if all goes on as it has; None: decided, or not to be expected."""


def is_better(
    *, margin: float | None = 0.1, min_gain: float | int = 0.0, confidence: float = 0.95
) -> Question:
    """Does the new policy succeed more often than another one? Trials are pairs of episodes.

    Args:
        margin: Difference of success rates that matters: 0.1 is 10 points. None: any does.
        min_gain: By how much more often, in [0, 1).
        confidence: Of the answer.

    Raises:
        ConfigError: If either is out of range.
    """
    half = None if margin is None else margin / 2
    return _checked(Question((1 + min_gain) / 2, half, confidence, is_paired=True))


def is_at_least(
    target: float, *, margin: float | None = None, confidence: float = 0.95
) -> Question:
    """Does a policy succeed in at least ``target`` of its episodes? Trials are episodes.

    Args:
        target: Success rate, in (0, 1).
        margin: Distance from it that matters; None: any does.
        confidence: Of the answer.

    Raises:
        ConfigError: If one is out of range.
    """
    return _checked(Question(target, margin, confidence, is_paired=False))


def _checked(question: Question) -> Question:
    if not 0 < question.centre < 1:
        raise ConfigError(
            f"a success rate of {question.centre:g} can be neither reached for sure nor missed; "
            "ask for one between 0 and 1, such as 0.8"
        )
    if not 0.5 < question.confidence < 1:
        raise ConfigError(f"confidence is {question.confidence:g}; it must lie in (0.5, 1)")
    if question.margin is not None and not 0 < question.margin < 1:
        raise ConfigError(f"a margin of {question.margin:g} must lie between 0 and 1")
    return question


class SequentialTest:
    """Trials one after the other; the first verdict stays.

    Args:
        question: What is asked.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self._trials = Trials()
        self._verdict: Verdict = "continue"
        self._num_at_verdict: int | None = None

    @property
    def trials(self) -> Trials:
        """What was added."""
        return self._trials

    @property
    def verdict(self) -> Verdict:
        """The first one that was reached."""
        return self._verdict

    @property
    def num_at_verdict(self) -> int | None:
        """Trials after which it was reached."""
        return self._num_at_verdict

    def add(self, *, is_success: bool) -> Verdict:
        """An episode of one policy."""
        return self.add_all([1.0 if is_success else 0.0])

    def add_pair(self, *, new: bool, other: bool) -> Verdict:
        """An episode of each policy: of one seed, or the next of each."""
        return self.add_all([0.5 + (new - other) / 2])

    def add_all(self, worth: list[float]) -> Verdict:
        """Several trials that are looked at together, each worth 1, 1/2 or 0."""
        won, lost = worth.count(1.0), worth.count(0.0)
        before = self._trials
        self._trials = Trials(
            before.num_won + won,
            before.num_tied + len(worth) - won - lost,
            before.num_lost + lost,
        )
        if self._verdict == "continue":
            self._verdict = verdict_on(self._trials, self.question)
            if self._verdict != "continue":
                self._num_at_verdict = int(self._trials.total)
        return self._verdict

    def standing(self) -> Standing:
        """All that can be said now."""
        trials, question = self._trials, self.question
        if not trials.total:
            everything = Interval(question.shown(0.0), 1.0)
            return Standing(self._verdict, 0, None, everything, None)
        mean = (trials.num_won + trials.num_tied / 2) / trials.total
        more = num_more_trials(trials, question) if self._verdict == "continue" else None
        return Standing(
            self._verdict,
            int(trials.total),
            question.shown(mean),
            interval_at_all_times(trials, question),
            more,
        )


def verdict_on(trials: Trials, question: Question) -> Verdict:
    """What trials show by themselves, at one look among any number of them."""
    enough = -log((1 - question.confidence) / 2)
    if log_wealth(trials, question.centre) >= enough:
        return "better"
    if log_wealth(_mirrored(trials), 1 - question.centre) >= enough:
        return "worse"
    if question.margin is None:
        return "continue"
    # Neither as low as the lower end of what does not matter, nor as high as the upper one.
    is_not_low = log_wealth(trials, question.centre - question.margin) >= enough
    if not is_not_low:
        return "continue"
    high = question.centre + question.margin
    is_not_high = log_wealth(_mirrored(trials), 1 - high) >= enough
    return "futile" if is_not_high else "continue"


def log_wealth(trials: Trials, mean: float) -> float:
    """Logarithm of what the bettor against "the mean is ``mean`` or lower" owns.

    Args:
        trials: What has happened.
        mean: m; of 0 or less nothing is lower, so it is ruled out from the start (infinity).
    """
    if mean <= 0:
        return inf
    won, tied, lost = trials
    owned = [
        won * log(1 - c + c / mean) + tied * log(1 - c + c / (2 * mean)) + lost * log(1 - c)
        for c in _SHARES
    ]
    most = max(owned)
    return most + log(sum(exp(each - most) for each in owned) / NUM_SHARES)


def interval_at_all_times(trials: Trials, question: Question) -> Interval:
    """Every rate, or difference, that has not been ruled out: a confidence sequence."""
    enough = -log((1 - question.confidence) / 2)

    def lower(counted: Trials) -> float:
        """The largest mean that is ruled out from below."""
        low, high = 0.0, 1.0
        while high - low > _PRECISION:
            middle = (low + high) / 2
            if log_wealth(counted, middle) >= enough:
                low = middle
            else:
                high = middle
        return low

    low, high = lower(trials), 1 - lower(_mirrored(trials))
    return Interval(question.shown(low), question.shown(high))


def num_more_trials(trials: Trials, question: Question) -> int | None:
    """Trials to add at the present rates until there is a verdict; None: too many to promise."""
    if not trials.total:
        return None

    def decides(num_more: Count) -> bool:
        factor = 1 + num_more / trials.total
        return verdict_on(Trials(*(factor * count for count in trials)), question) != "continue"

    return _smallest(decides)


def _smallest(decides: Callable[[int], bool]) -> int | None:
    """The smallest whole number from 1 that decides, by doubling and halving."""
    high = 1
    while not decides(high):
        high *= 2
        if high > MAX_MORE:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _mirrored(trials: Trials) -> Trials:
    """The same trials from the other side."""
    return Trials(trials.num_lost, trials.num_tied, trials.num_won)
