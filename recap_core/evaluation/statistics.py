"""What a number of successes says about a policy."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from recap_core.errors import DataError
from recap_core.evaluation.outcome import EpisodeOutcome


class Interval(NamedTuple):
    """A confidence interval of a rate."""

    low: float
    high: float


class EvaluationSummary(BaseModel):
    """Success rate and throughput of a policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_episodes: int = Field(ge=1)
    num_successes: int = Field(ge=0)
    num_frames: int = Field(ge=1)
    success_rate: float = Field(ge=0, le=1)
    success_rate_low: float = Field(ge=0, le=1)
    success_rate_high: float = Field(ge=0, le=1)
    confidence: float
    successes_per_1000_frames: float
    """Throughput: a policy that dawdles has less of it at the same success rate."""
    mean_success_frames: float | None
    """Length of a successful episode; None where there is none."""


def wilson_interval(num_successes: int, num_episodes: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a success rate, without continuity correction.

        (p + z^2/2n +- z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n)

    Args:
        num_successes: k, of which p = k / n.
        num_episodes: n, at least 1.
        confidence: Probability that the interval covers the true rate; gives z.
    """
    from scipy.stats import binomtest

    result = binomtest(num_successes, num_episodes)
    interval = result.proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def summarize(outcomes: Sequence[EpisodeOutcome], *, confidence: float = 0.95) -> EvaluationSummary:
    """Rate, interval and throughput of autonomous episodes.

    Raises:
        DataError: If there are no episodes, or somebody took over in one: such an episode says
            nothing about the policy alone.
    """
    if not outcomes:
        raise DataError("There are no episodes to summarize; evaluate at least one.")
    helped = [outcome for outcome in outcomes if outcome.num_correcting_frames > 0]
    if helped:
        raise DataError(
            f"The episode of seed {helped[0].seed} has {helped[0].num_correcting_frames} "
            f"correcting frames ({len(helped)} of {len(outcomes)} episodes have some); an "
            "evaluation counts autonomous episodes only. Leave them out, or evaluate again "
            "without takeovers."
        )
    successes = [outcome for outcome in outcomes if outcome.success]
    num_frames = sum(outcome.num_frames for outcome in outcomes)
    interval = wilson_interval(len(successes), len(outcomes), confidence)
    lengths = [outcome.num_frames for outcome in successes]
    return EvaluationSummary(
        num_episodes=len(outcomes),
        num_successes=len(successes),
        num_frames=num_frames,
        success_rate=len(successes) / len(outcomes),
        success_rate_low=interval.low,
        success_rate_high=interval.high,
        confidence=confidence,
        successes_per_1000_frames=1000 * len(successes) / num_frames,
        mean_success_frames=sum(lengths) / len(lengths) if lengths else None,
    )
