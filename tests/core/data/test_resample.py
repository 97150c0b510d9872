"""Another frame rate."""

import numpy as np
import pytest

from recap_core.data.resample import (
    hold_indices,
    interpolate,
    measured_fps,
    needs_resampling,
    time_grid,
)

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


def test_the_last_sample_at_or_before() -> None:
    """On a sample it is that one; before the first one it is the first."""
    times, grid = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 1.99, 2.0, 9.0])

    assert hold_indices(times, grid).tolist() == [0, 0, 0, 1, 2]
