"""Episodes at another rate: a new time grid, interpolation, and sample-and-hold."""

import numpy as np
from jaxtyping import Float, Float64, Int

from recap_core.data.info import MAX_FPS
from recap_core.errors import EpisodeError

MAX_RATE_ERROR = 0.01
"""Relative difference of rates up to which frames are taken as they are."""
MAX_GAP_S = 10.0
"""A longer step between two ticks is a clock that was set, or a recorder that hung: what the robot
did meanwhile is unknown, and any row in between would be made up."""


def measured_fps(timestamps: Float64[np.ndarray, " t"]) -> float:
    """``(N - 1) / (t_last - t_first)``, frames per second; needs two rising timestamps."""
    return float((len(timestamps) - 1) / (timestamps[-1] - timestamps[0]))


def plausible_fps(timestamps: Float64[np.ndarray, " t"], *, episode: str) -> float:
    """:func:`measured_fps` of an episode, if its times can be those of a robot at work.

    Raises:
        EpisodeError: If the rate is above :data:`recap_core.data.info.MAX_FPS`, or a step is longer
            than :data:`MAX_GAP_S`.
    """
    with np.errstate(over="ignore", divide="ignore"):
        rate, steps = measured_fps(timestamps), np.diff(timestamps)
    if not rate <= MAX_FPS:
        raise EpisodeError(
            f"episode {episode}: timestamps.npy says {rate:.4g} frames per second, more than "
            f"{MAX_FPS}. It must hold seconds; correct it, or exclude the episode."
        )
    gaps = np.flatnonzero(steps > MAX_GAP_S)
    if gaps.size:
        row = int(gaps[0])
        raise EpisodeError(
            f"episode {episode}: timestamps.npy jumps by {steps[row]:.4g} s between rows {row} and "
            f"{row + 1}, more than {MAX_GAP_S:g} s ({gaps.size} of {len(steps)} steps do): its "
            "clock was set, or the recorder hung. Exclude the episode with an annotation, or "
            "correct its times."
        )
    return rate


def needs_resampling(source_fps: float, target_fps: int) -> bool:
    """Whether the rates differ by more than 1 % of the source's."""
    return abs(target_fps - source_fps) / source_fps > MAX_RATE_ERROR


def time_grid(timestamps: Float64[np.ndarray, " t"], fps: int) -> Float64[np.ndarray, " g"]:
    """``t_first + i / fps`` for ``i`` up to ``floor(duration * fps)``, seconds."""
    duration_s = timestamps[-1] - timestamps[0]
    # 1e-4 frames: Unix times are only exact to about 1e-7 s.
    num_frames = int(np.floor(duration_s * fps + 1e-4)) + 1
    return timestamps[0] + np.arange(num_frames) / fps


def is_apart(times: Float64[np.ndarray, " t"], others: Float64[np.ndarray, " c"]) -> bool:
    """Whether two rising series of times, of at least one each, have no moment in common."""
    return bool(others[0] > times[-1] or others[-1] < times[0])


def hold_indices(
    timestamps: Float64[np.ndarray, " t"], grid: Float64[np.ndarray, " g"]
) -> Int[np.ndarray, " g"]:
    """Index of the last sample at or before every grid time; the first sample before it.

    Args:
        timestamps: Rising sample times, seconds.
        grid: Times to look up, seconds.
    """
    # 1e-6 s: a sample taken exactly on the grid counts as "at".
    return np.maximum(np.searchsorted(timestamps, grid + 1e-6, side="right") - 1, 0)


def interpolate(
    values: Float[np.ndarray, "t d"],
    timestamps: Float64[np.ndarray, " t"],
    grid: Float64[np.ndarray, " g"],
    *,
    held_dims: tuple[int, ...] = (),
) -> Float[np.ndarray, "g d"]:
    """Linear interpolation of every dimension, except those that are held.

    Args:
        values: Samples, in time order.
        timestamps: Their times, seconds.
        grid: Times of the result, seconds.
        held_dims: Dimensions that keep the last sample instead (grippers); those that ``values``
            does not have are ignored.
    """
    result = np.stack([np.interp(grid, timestamps, column) for column in values.T], axis=1)
    held = [dim for dim in held_dims if dim < values.shape[1]]
    result[:, held] = values[hold_indices(timestamps, grid)][:, held]
    return result.astype(values.dtype)
