"""One policy's line in a table over checkpoints."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

from recap_core.errors import DataError
from recap_core.evaluation.failures import count_failures
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.paired import wilson
from recap_core.evaluation.statistics import Interval

BREAK_S = 300.0
"""A reset that takes so much longer than usual is a break, and does not count as robot time."""


class Span(NamedTuple):
    """When an episode was recorded."""

    started_at_s: float | None
    """Unix time; None where no real clock was there."""
    duration_s: float | None


class CheckpointRow(NamedTuple):
    """How a policy did."""

    name: str
    num_episodes: int
    num_successes: int
    rate: float
    interval: Interval
    """Wilson's, of the success rate."""
    robot_hours: float
    """Time within episodes: frames over control rate, or by the recording's clock."""
    per_hour: float
    """Successes per hour of that time."""
    per_1000_frames: float
    per_hour_with_resets: float | None
    """Successes per hour from one start to the next; None where no real clock was there."""
    success_s: float | None
    """Mean length of a successful episode; None without one."""
    success_frames: float | None
    failures: dict[str, int]
    """By reason, the most frequent first."""

    def plain(self) -> dict[str, object]:
        """For programs."""
        return {**self._asdict(), "interval": list(self.interval)}


def checkpoint_row(  # noqa: PLR0913 - all but the first two by name
    name: str,
    outcomes: Sequence[EpisodeOutcome],
    *,
    fps: float | int,
    max_frames: int | None,
    confidence: float = 0.95,
    spans: Sequence[Span] = (),
) -> CheckpointRow:
    """Count how a policy did.

    Args:
        name: What the policy is called.
        outcomes: Episodes that count.
        fps: Control rate, frames per second.
        max_frames: Limit of simulated episodes; None: recorded ones.
        confidence: Of the interval.
        spans: All episodes of a session, also those that do not count: resets are the time between
            them. None: nobody knows how long they take.

    Raises:
        DataError: If there are none.
    """
    if not outcomes:
        raise DataError(f"{name} has no episode that counts; evaluate at least one.")
    successes = [outcome for outcome in outcomes if outcome.success]
    num_frames = sum(outcome.num_frames for outcome in outcomes)
    hours = sum(_seconds(outcome, fps) for outcome in outcomes) / 3600
    rate = len(successes) / len(outcomes)
    cycle_s = cycle_seconds(spans)
    return CheckpointRow(
        name=name,
        num_episodes=len(outcomes),
        num_successes=len(successes),
        rate=rate,
        interval=wilson(len(successes), len(outcomes), confidence),
        robot_hours=hours,
        per_hour=len(successes) / hours if hours else 0.0,
        per_1000_frames=1000 * len(successes) / num_frames if num_frames else 0.0,
        per_hour_with_resets=rate * 3600 / cycle_s if cycle_s else None,
        success_s=fmean(_seconds(each, fps) for each in successes) if successes else None,
        success_frames=fmean(each.num_frames for each in successes) if successes else None,
        failures=count_failures(outcomes, max_frames=max_frames),
    )


def cycle_seconds(spans: Sequence[Span]) -> float | None:
    """Mean time from one episode's start to the next one's, breaks left out.

    A break is a gap between two episodes that is ``BREAK_S`` longer than the median gap.

    Returns:
        None for fewer than two episodes with a clock, or if nothing but breaks is left.
    """
    timed = sorted(
        (span.started_at_s, span.duration_s or 0.0)
        for span in spans
        if span.started_at_s is not None
    )
    starts = [start for start, _ in timed]
    cycles = [later - start for start, later in pairwise(starts)]
    if not cycles:
        return None
    gaps = [cycle - length for cycle, (_, length) in zip(cycles, timed, strict=False)]
    usual = median(gaps)
    kept = [cycle for cycle, gap in zip(cycles, gaps, strict=True) if gap <= usual + BREAK_S]
    return fmean(kept) if kept else None


def _seconds(outcome: EpisodeOutcome, fps: float | int) -> float:
    return outcome.num_frames / fps if outcome.duration_s is None else outcome.duration_s
