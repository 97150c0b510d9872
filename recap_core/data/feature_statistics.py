"""Per-episode statistics of ``meta/episodes``, and their aggregation to ``meta/stats.json``.

The statistics and the choice of image frames are LeRobot's. Quantiles are exact here: the smallest
value with at least that share of the values at or below it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int, Real, UInt8
from PIL import Image

MOMENTS = ("min", "max", "mean", "std", "count")
"""Statistics that every LeRobot dataset has of its images; quantiles came with v3.0."""
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

type FeatureStatistics = dict[str, np.ndarray]
"""``min``, ``max``, ``mean``, ``std``, ``count`` and the quantiles, per dimension."""


def vector_statistics(
    values: Real[np.ndarray, "t d"] | Bool[np.ndarray, "t d"],
) -> FeatureStatistics:
    """Statistics of every dimension over an episode's frames."""
    values = values.astype(np.float64)
    statistics = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
    }
    ranked = np.sort(values, axis=0)
    for name, share in QUANTILES.items():
        # 1e-9: 0.99 * 100 values is 99 of them, not 99.00000000000001.
        # A copy: a view would keep all sorted values in memory for as long as the statistics.
        statistics[name] = ranked[max(int(np.ceil(share * len(values) - 1e-9)) - 1, 0)].copy()
    return statistics


def sampled_frames(num_frames: int) -> Int[np.ndarray, " k"]:
    """Frames whose images are counted: all of up to 100, then ``num_frames ** 0.75`` of them."""
    wanted = min(int(num_frames**0.75), 10_000)
    count = max(min(100, num_frames), wanted)
    return np.round(np.linspace(0, num_frames - 1, count)).astype(np.int64)


class ImageStatistics:
    """Statistics of a camera's channels, from counts of the 256 grey levels."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), dtype=np.int64)
        self._num_images = 0

    def add(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Count one image; large ones are thinned out as LeRobot does."""
        height, width, _ = image.shape
        if max(height, width) >= 300:
            step = int((max(height, width)) / 150)
            image = image[::step, ::step]
        self._counts += np.array(Image.fromarray(image).histogram()).reshape(3, 256)
        self._num_images += 1

    def result(self) -> FeatureStatistics:
        """Statistics in [0, 1], each of shape (3, 1, 1); ``count`` is the number of images."""
        levels = np.arange(256)
        total = self._counts.sum(axis=1)
        mean = self._counts @ levels / total
        variance = self._counts @ levels**2 / total - mean**2
        cumulative = self._counts.cumsum(axis=1)
        by_name = {
            "min": np.argmax(self._counts > 0, axis=1),
            "max": 255 - np.argmax(self._counts[:, ::-1] > 0, axis=1),
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0)),
        }
        for name, share in QUANTILES.items():
            by_name[name] = np.argmax(cumulative >= share * total[:, None], axis=1)
        statistics = {name: (value / 255).reshape(3, 1, 1) for name, value in by_name.items()}
        return {**statistics, "count": np.array([self._num_images])}


def aggregate_statistics(
    episodes: Sequence[Mapping[str, FeatureStatistics]],
) -> dict[str, FeatureStatistics]:
    """Statistics of many episodes from those of each, as LeRobot aggregates them.

    Mean and std are exact; quantiles are count-weighted means, so only an orientation.
    """
    result: dict[str, FeatureStatistics] = {}
    for name in episodes[0]:
        parts = [episode[name] for episode in episodes]
        counts = np.stack([part["count"] for part in parts]).astype(np.float64)
        weights = (counts / counts.sum()).reshape(-1, *[1] * parts[0]["mean"].ndim)
        means = np.stack([part["mean"] for part in parts])
        mean = (means * weights).sum(axis=0)
        spread = np.stack([part["std"] for part in parts]) ** 2 + (means - mean) ** 2
        result[name] = {
            "min": np.min([part["min"] for part in parts], axis=0),
            "max": np.max([part["max"] for part in parts], axis=0),
            "mean": mean,
            "std": np.sqrt((spread * weights).sum(axis=0)),
            "count": np.sum([part["count"] for part in parts], axis=0),
            **{
                quantile: (np.stack([part[quantile] for part in parts]) * weights).sum(axis=0)
                for quantile in QUANTILES
                if all(quantile in part for part in parts)
            },
        }
    return result
