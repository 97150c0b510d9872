"""Statistics of meta/episodes and meta/stats.json."""

import numpy as np
import pytest

from recap_core.data.feature_statistics import (
    ImageStatistics,
    aggregate_statistics,
    sampled_frames,
    vector_statistics,
)


def test_statistics_of_one_to_a_hundred() -> None:
    """q01 of 1..100 is 1, q99 is 99: the smallest value with that share at or below it."""
    statistics = vector_statistics(np.arange(1.0, 101.0)[::-1, None])

    assert {name: value.tolist() for name, value in statistics.items()} == {
        "min": [1],
        "max": [100],
        "mean": [50.5],
        "std": [pytest.approx(np.sqrt((100**2 - 1) / 12))],
        "count": [100],
        "q01": [1],
        "q10": [10],
        "q50": [50],
        "q90": [90],
        "q99": [99],
    }


def test_image_statistics_per_channel() -> None:
    """Red half 0 half 255, green 51 throughout, blue 102; all in [0, 1]."""
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2, :, 0], image[..., 1], image[..., 2] = 255, 51, 102
    counted = ImageStatistics()
    counted.add(image)
    counted.add(image)

    statistics = counted.result()

    assert statistics["count"].tolist() == [2]
    assert statistics["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(statistics["mean"].ravel(), [0.5, 0.2, 0.4])
    np.testing.assert_allclose(statistics["std"].ravel(), [0.5, 0, 0], atol=1e-7)
    np.testing.assert_allclose(statistics["min"].ravel(), [0, 0.2, 0.4])
    np.testing.assert_allclose(statistics["max"].ravel(), [1, 0.2, 0.4])
    np.testing.assert_allclose(statistics["q10"].ravel(), [0, 0.2, 0.4])
    np.testing.assert_allclose(statistics["q90"].ravel(), [1, 0.2, 0.4])


def test_large_images_are_thinned_out() -> None:
    """A 600 x 300 image counts every fourth pixel of both axes."""
    counted = ImageStatistics()
    image = np.zeros((300, 600, 3), dtype=np.uint8)
    image[::4, ::4] = 255
    counted.add(image)

    assert counted.result()["mean"].ravel().tolist() == [1, 1, 1]


@pytest.mark.parametrize(("num_frames", "count"), [(1, 1), (60, 60), (400, 100), (2000, 299)])
def test_how_many_frames_are_looked_at(num_frames: int, count: int) -> None:
    """All of up to 100, then n ** 0.75, spread evenly from first to last."""
    frames = sampled_frames(num_frames)

    assert len(frames) == count
    assert (frames[0], frames[-1]) == (0, num_frames - 1)


def test_aggregation_is_exact_for_mean_and_std() -> None:
    """Statistics of two parts of different size combine to those of the whole."""
    values = np.random.default_rng(0).normal(size=(30, 3))
    parts = [{"x": vector_statistics(values[:10])}, {"x": vector_statistics(values[10:])}]

    combined = aggregate_statistics(parts)["x"]

    whole = vector_statistics(values)
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(combined[name], whole[name])
    np.testing.assert_allclose(
        combined["q50"], (parts[0]["x"]["q50"] * 10 + parts[1]["x"]["q50"] * 20) / 30
    )
