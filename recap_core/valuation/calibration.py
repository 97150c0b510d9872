"""Whether V means what it says: expected values beside the realised ones.

The frames of held-out episodes are put into bins by their V. In a calibrated model, the mean target
of a bin's frames (what the value turned out to be) is their mean V. The expected calibration error
is the mean distance of the two, weighted by frames.

Given the outcome, no model that cannot foresee it is calibrated: before it shows, V is between
both. So the numbers by outcome are read as a bias, and only the table over all episodes as
calibration.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

NUM_BINS = 10


class Interval(NamedTuple):
    """A statistic with its 95 % bootstrap interval; NaN where it is undefined."""

    estimate: float
    low: float
    high: float


UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


class ReliabilityBin(NamedTuple):
    """Frames whose V lies between ``low`` and ``high``."""

    low: float
    high: float
    num_frames: int
    num_episodes: int
    expected: float
    """Mean V."""
    realised: Interval
    """Mean target, with the interval over resampled episodes."""
    frames_to_success: float
    """Mean frames to go, of the bin's frames in successful episodes; NaN without any."""


class OutcomeBias(NamedTuple):
    """V against its target in the episodes of one outcome."""

    success: bool
    num_episodes: int
    expected: float
    """Mean V of their frames."""
    realised: float
    """Mean target of their frames."""


@dataclass(frozen=True)
class Calibration:
    """The reliability table and what it comes to."""

    bins: tuple[ReliabilityBin, ...]
    """By rising V; bins without frames are left out."""
    error: Interval
    """Expected calibration error, in units of value, in [0, 1]."""
    by_outcome: tuple[OutcomeBias, ...]
    """Successes, then failures; an outcome without episodes is left out."""


class CalibrationFrames(NamedTuple):
    """Frames of held-out episodes, as they are needed here."""

    values: Float[np.ndarray, " n"]
    """V, in [-1, 0]."""
    targets: Float[np.ndarray, " n"]
    episode: Int[np.ndarray, " n"]
    frames_to_go: Int[np.ndarray, " n"]
    success: Bool[np.ndarray, " n"]


def calibrate(
    frames: CalibrationFrames, *, num_bins: int = NUM_BINS, num_bootstrap: int = 1000
) -> Calibration:
    """The reliability of V over ``num_bins`` equal bins of [-1, 0].

    Intervals come from resampling whole episodes, successes and failures apart, with a fixed seed.
    """
    if not np.isfinite(frames.values).all():
        return Calibration((), UNDEFINED, ())
    of_bin = np.clip(((frames.values + 1) * num_bins).astype(np.int64), 0, num_bins - 1)
    numbers, row = np.unique(frames.episode, return_inverse=True)
    num_episodes = len(numbers)
    cell = row * num_bins + of_bin

    def sums(of: np.ndarray | None) -> np.ndarray:
        flat = np.bincount(cell, weights=of, minlength=num_episodes * num_bins)
        return flat.reshape(num_episodes, num_bins)

    counts, values, targets = sums(None), sums(frames.values), sums(frames.targets)
    successes, to_go = sums(frames.success), sums(frames.frames_to_go * frames.success)
    succeeded = np.zeros(num_episodes, dtype=bool)
    succeeded[row] = frames.success
    weights = _resamples(succeeded, num_bootstrap)
    drawn_counts, drawn_targets = weights @ counts, weights @ targets
    with np.errstate(invalid="ignore"):  # a bin may be empty
        realised = drawn_targets / drawn_counts
        seconds = to_go.sum(axis=0) / successes.sum(axis=0)
    distance = np.abs(weights @ values - drawn_targets).sum(axis=1) / drawn_counts.sum(axis=1)
    estimate = np.abs((values - targets).sum(axis=0)).sum() / len(frames.values)
    edges = np.linspace(-1, 0, num_bins + 1)
    bins = tuple(
        ReliabilityBin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            num_frames=int(counts[:, i].sum()),
            num_episodes=int((counts[:, i] > 0).sum()),
            expected=float(values[:, i].sum() / counts[:, i].sum()),
            realised=_with_interval(targets[:, i].sum() / counts[:, i].sum(), realised[:, i]),
            frames_to_success=float(seconds[i]),
        )
        for i in np.flatnonzero(counts.sum(axis=0))
    )
    return Calibration(bins, _with_interval(estimate, distance), _by_outcome(frames))


def _resamples(succeeded: Bool[np.ndarray, " e"], num: int) -> Float[np.ndarray, "b e"]:
    """How often every episode is in each of ``num`` resamples."""
    rng = np.random.default_rng(0)
    drawn = np.zeros((num, len(succeeded)))
    for outcome in (True, False):
        group = np.flatnonzero(succeeded == outcome)
        if group.size:
            drawn[:, group] = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), num)
    return drawn


def _with_interval(estimate: float, resampled: Float[np.ndarray, " b"]) -> Interval:
    finite = resampled[np.isfinite(resampled)]
    low, high = np.percentile(finite, (2.5, 97.5)) if finite.size else (np.nan, np.nan)
    return Interval(float(estimate), float(low), float(high))


def _by_outcome(frames: CalibrationFrames) -> tuple[OutcomeBias, ...]:
    return tuple(
        OutcomeBias(
            success=outcome,
            num_episodes=len(np.unique(frames.episode[mine])),
            expected=float(frames.values[mine].mean()),
            realised=float(frames.targets[mine].mean()),
        )
        for outcome in (True, False)
        if (mine := frames.success == outcome).any()
    )
