"""Another frame rate."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.data.resample import (
    hold_indices,
    interpolate,
    measured_fps,
    needs_resampling,
    plausible_fps,
    time_grid,
)
from recap_core.errors import EpisodeError

TIMES = 1_700_000_000 + np.arange(11) / 10


def test_one_second_at_ten_frames_on_a_grid_of_four() -> None:
    """floor(1.0 * 4) + 1 = 5 times, a quarter of a second apart, also at Unix times."""
    grid = time_grid(TIMES, 4)

    np.testing.assert_allclose(grid - TIMES[0], [0, 0.25, 0.5, 0.75, 1.0], atol=1e-6)


@pytest.mark.parametrize(("fps", "count"), [(10, 11), (9, 10), (1, 2), (30, 31)])
def test_the_number_of_frames(fps: int, count: int) -> None:
    """It is floor(duration * fps) + 1."""
    assert len(time_grid(TIMES, fps)) == count


def test_the_rate_of_a_recording() -> None:
    """(N - 1) / duration."""
    assert measured_fps(TIMES) == pytest.approx(10, abs=1e-5)


def test_one_percent_is_tolerated() -> None:
    """Rates that differ by up to 1 % of the source's are not resampled."""
    assert not needs_resampling(29.71, 30)
    assert needs_resampling(29.70, 30)


def test_linear_dimensions_and_held_ones() -> None:
    """Joints interpolate; grippers keep the last sample; dims that do not exist are ignored."""
    values = np.stack([np.arange(3.0), np.arange(3.0)], axis=1)

    result = interpolate(
        values, np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.5, 1.5, 2.0]), held_dims=(1, 13)
    )

    np.testing.assert_allclose(result[:, 0], [0, 0.5, 1.5, 2])
    np.testing.assert_allclose(result[:, 1], [0, 0, 1, 2])


def test_a_gap_of_ten_seconds_is_the_longest() -> None:
    """What a robot did in a longer one is unknown, at any rate."""
    times = TIMES + np.where(np.arange(11) > 4, 9.8, 0)

    assert plausible_fps(times, episode="one") == pytest.approx(10 / 10.8)
    with pytest.raises(EpisodeError, match=r"one: .* jumps by 10\.1 s between rows 4 and 5"):
        plausible_fps(times + np.where(np.arange(11) > 4, 0.2, 0), episode="one")


def test_the_last_sample_at_or_before() -> None:
    """On a sample it is that one; before the first one it is the first."""
    times, grid = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 1.99, 2.0, 9.0])

    assert hold_indices(times, grid).tolist() == [0, 0, 0, 1, 2]


@st.composite
def recordings(draw: st.DrawFn) -> np.ndarray:
    """Rising tick times of an irregular recorder, Unix seconds."""
    steps = draw(st.lists(st.floats(0.005, 0.5), min_size=1, max_size=60))
    return 1_700_000_000 + np.concatenate([[0.0], np.cumsum(steps)])


@given(num_steps=st.integers(1, 5000), source_fps=st.integers(1, 120), fps=st.integers(1, 120))
@settings(max_examples=30)
def test_the_number_of_frames_is_exact_at_unix_times(
    num_steps: int, source_fps: int, fps: int
) -> None:
    """floor(duration * fps) + 1 in exact arithmetic, although Unix times are rounded."""
    times = 1_700_000_000 + np.arange(num_steps + 1) / source_fps

    assert len(time_grid(times, fps)) == Fraction(num_steps * fps, source_fps) // 1 + 1


@given(times=recordings(), fps=st.integers(1, 60))
@settings(max_examples=30)
def test_a_grid_stays_inside_the_recording(times: np.ndarray, fps: int) -> None:
    """It starts at the first tick, steps by 1 / fps, and ends less than a step before the last."""
    grid = time_grid(times, fps)

    assert grid[0] == times[0]
    np.testing.assert_allclose(np.diff(grid), 1 / fps, atol=1e-6)
    assert -1e-4 < (times[-1] - grid[-1]) * fps < 1


@given(times=recordings(), fps=st.integers(1, 60))
@settings(max_examples=30)
def test_held_is_the_plain_definition(times: np.ndarray, fps: int) -> None:
    """The last sample at or before every grid time, found by looking at all of them."""
    grid = time_grid(times, fps)

    plain = [max(i for i, t in enumerate(times) if t <= g + 1e-6) for g in grid]

    assert hold_indices(times, grid).tolist() == plain


@given(times=recordings(), fps=st.integers(1, 60))
@settings(max_examples=30)
def test_a_straight_line_stays_straight_and_a_held_one_is_a_sample(
    times: np.ndarray, fps: int
) -> None:
    """Interpolation is exact on lines; held dimensions take no value that was not recorded."""
    line = times - times[0]
    grid = time_grid(times, fps)

    result = interpolate(np.stack([line, line], axis=1), times, grid, held_dims=(1,))

    np.testing.assert_allclose(result[:, 0], grid - times[0], atol=1e-5)
    assert np.isin(result[:, 1], line).all()
    assert (result[:, 1] <= result[:, 0] + 1e-5).all()


@given(values=st.lists(st.floats(-10, 10), min_size=2, max_size=40))
@settings(max_examples=30)
def test_samples_on_the_grid_are_themselves(values: list[float]) -> None:
    """Resampling to the same instants changes nothing."""
    times = 1_700_000_000 + np.arange(len(values)) / 10
    column = np.array(values)[:, None]

    np.testing.assert_array_equal(interpolate(column, times, times), column)
    assert hold_indices(times, times).tolist() == list(range(len(values)))
