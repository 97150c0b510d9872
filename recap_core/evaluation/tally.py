"""Counting while an operator evaluates: rate, interval, and how many more trials would decide.

Standard library only and quick (well under a millisecond per episode): it runs beside a robot's
control loop.
"""

from recap_core.evaluation.paired import wilson
from recap_core.evaluation.sequential import (
    Question,
    SequentialTest,
    Standing,
    Verdict,
    is_at_least,
)
from recap_core.evaluation.statistics import Interval


class PassiveTally:
    """The episodes of one policy that an operator only watches.

    Args:
        target: Success rate that the policy shall reach, in (0, 1); None: it is only measured.
        margin: Distance from it that matters; None: any does.
        confidence: Of interval and verdict.

    Raises:
        ConfigError: If one is out of range.
    """

    def __init__(
        self,
        *,
        target: float | None = None,
        margin: float | None = None,
        confidence: float = 0.95,
    ) -> None:
        self._confidence = confidence
        self._test = None
        if target is not None:
            self._test = SequentialTest(is_at_least(target, margin=margin, confidence=confidence))
        self._num_successes = 0
        self._num_episodes = 0
        self._num_disqualified = 0

    @property
    def num_episodes(self) -> int:
        """Episodes that count."""
        return self._num_episodes

    @property
    def num_successes(self) -> int:
        """Successes among them."""
        return self._num_successes

    @property
    def num_disqualified(self) -> int:
        """Episodes that do not count, because somebody took over."""
        return self._num_disqualified

    @property
    def rate(self) -> float | None:
        """Share of successes; None before the first episode."""
        return self._num_successes / self._num_episodes if self._num_episodes else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's interval of the success rate, for the number of episodes there are."""
        if not self._num_episodes:
            return None
        return wilson(self._num_successes, self._num_episodes, self._confidence)

    @property
    def standing(self) -> Standing | None:
        """Of the test against the target; None where there is none."""
        return None if self._test is None else self._test.standing()

    @property
    def verdict(self) -> Verdict:
        """On the target: ``better`` if it is shown to be reached."""
        return "continue" if self._test is None else self._test.verdict

    def add(self, *, is_success: bool, num_correcting_frames: int = 0) -> None:
        """Count an episode that was saved.

        Args:
            is_success: How the operator marked it.
            num_correcting_frames: Frames that the operator drove; any disqualifies the episode.
        """
        if num_correcting_frames:
            self._num_disqualified += 1
            return
        self._num_episodes += 1
        self._num_successes += is_success
        if self._test is not None:
            self._test.add(is_success=is_success)

    def sentence(self) -> str:
        """``14 of 20 (70 %, 95 % interval 48 to 85 %). About 29 more trials decide ...``."""
        told = [self._rate_sentence()]
        if self._num_disqualified:
            told.append(f"{self._num_disqualified} disqualified by a takeover.")
        if self._test is not None:
            told.append(verdict_sentence(self._test))
        return " ".join(told)

    def _rate_sentence(self) -> str:
        bounds = self.interval
        if bounds is None:
            return "No episode yet."
        share = 100 * self._num_successes / self._num_episodes
        return (
            f"{self._num_successes} of {self._num_episodes} ({share:.0f} %, "
            f"{100 * self._confidence:g} % interval {100 * bounds.low:.0f} to "
            f"{100 * bounds.high:.0f} %)."
        )


def verdict_sentence(test: SequentialTest) -> str:
    """What a test against a target, or of two policies, has shown, or how far it is."""
    question, verdict = test.question, test.verdict
    sure = f"{100 * question.confidence:g} % confidence, however often one looks"
    if verdict == "continue":
        return _more_sentence(test.standing(), question)
    after = f"shown after {test.num_at_verdict} {'pairs' if question.is_paired else 'episodes'}"
    if verdict == "futile":
        return f"Decided: {_no_difference(question)} ({after}; {sure})."
    if question.is_paired:
        return f"Decided: {_difference_shown(test)} ({after}; {sure})."
    side = "above" if verdict == "better" else "below"
    return f"Decided: its success rate is {side} {_percent(question.centre)} ({after}; {sure})."


def _difference_shown(test: SequentialTest) -> str:
    gain = f"{100 * test.question.shown(test.question.centre):g} points"
    is_any_gain = test.question.centre == 0.5
    if test.verdict == "better":
        by_more = "" if is_any_gain else f"by more than {gain} "
        return f"the new policy is {by_more}better than the other one"
    if is_any_gain:
        return "the new policy is worse than the other one"
    return f"a gain of {gain} or more is ruled out"


def _more_sentence(standing: Standing, question: Question) -> str:
    what = "pairs of episodes" if question.is_paired else "trials"
    if not question.is_paired:
        asked = f"whether it reaches {_percent(question.centre)}"
    elif question.centre == 0.5:
        asked = "which is better"
    else:
        asked = f"whether it gains more than {100 * question.shown(question.centre):g} points"
    if not standing.num_trials:
        return f"The question is {asked}."
    if standing.num_more is None:
        return f"Undecided {asked}; more {what} of the same kind would not decide it."
    return (
        f"Undecided {asked}: about {_two_digits(standing.num_more):,} more {what} decide this, if "
        "all goes on like that."
    )


def _no_difference(question: Question) -> str:
    margin = question.margin or 0.0
    if question.is_paired:
        return f"a difference of {200 * margin:g} points or more is ruled out, either way"
    return f"its success rate is within {100 * margin:g} points of {_percent(question.centre)}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _two_digits(count: int) -> int:
    """``count`` with two digits that count, rounded up."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step
