"""Mean, std and histogram quantiles of a stream of vectors, with openpi's numbers."""

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from recap_core.errors import DataError

NUM_BINS = 5000


class FeatureNorm(NamedTuple):
    """Statistics of one feature, per dimension, in the feature's own units."""

    mean: Float[np.ndarray, " d"]
    std: Float[np.ndarray, " d"]
    q01: Float[np.ndarray, " d"]
    q99: Float[np.ndarray, " d"]


def count_between(
    ordered: Float[np.ndarray, " n"], edges: Float64[np.ndarray, " k"]
) -> Int64[np.ndarray, " bins"]:
    """Histogram of values that are sorted already; those outside the edges are not counted.

    Equal to ``np.histogram(ordered, bins=edges)``, without converting the values to float64.

    Args:
        ordered: Rising values.
        edges: Rising edges; a bin holds its lower edge, the last bin its upper edge too.
    """
    # x < edge for a float64 edge is x < the smallest number of x's type that is not below it.
    limits = edges.astype(ordered.dtype)
    limits = np.where(limits < edges, np.nextafter(limits, np.array(np.inf, limits.dtype)), limits)
    below = np.searchsorted(ordered, limits)
    below[-1] = np.searchsorted(ordered, limits[-1], side="right")
    if limits[-1] > edges[-1]:
        below[-1] = np.searchsorted(ordered, limits[-1])
    return np.diff(below)


def count_in_bins(
    values: Float[np.ndarray, " n"], edges: Float64[np.ndarray, " k"]
) -> Int64[np.ndarray, " bins"]:
    """``np.histogram(values, bins=edges)`` for edges at equal distances, without sorting.

    The bin is computed, compared with its edges, and moved by one where rounding missed it. Where
    that is not enough (bins finer than the values' precision), the values are sorted after all.

    Args:
        values: In any order.
        edges: Rising edges; a bin holds its lower edge, the last bin its upper edge too.
    """
    kind, num_bins = values.dtype, len(edges) - 1
    # x < edge for a float64 edge is x < the smallest number of x's type that is not below it.
    limits = edges.astype(kind)
    limits = np.where(limits < edges, np.nextafter(limits, kind.type(np.inf)), limits)
    if limits[-1] == edges[-1]:
        limits[-1] = np.nextafter(limits[-1], kind.type(np.inf))
    # A range of nothing, or next to nothing, overflows; the check below finds such bins wrong.
    with np.errstate(over="ignore", divide="ignore"):
        per_unit = np.minimum(num_bins / (edges[-1] - edges[0]), np.finfo(kind).max)
        position = (values - kind.type(edges[0])) * kind.type(per_unit)
    bins = np.clip(position, 0, num_bins - 1, out=position).astype(np.int32)
    bins -= (values < limits.take(bins)) & (bins > 0)
    bins += (values >= limits.take(bins + 1)) & (bins < num_bins - 1)
    if (values >= limits.take(bins)).all() and (values < limits.take(bins + 1)).all():
        return np.bincount(bins, minlength=num_bins)
    return count_between(np.sort(values), edges)


class RunningStats:
    """Statistics of vectors that come in batches, in the precision of the first batch.

    Quantiles come from one histogram of 5000 bins per dimension. When a batch exceeds the range
    seen so far, all bins are spread over the new range, each old count going to the new bin that
    holds its lower edge. So quantiles are exact to about one bin, and depend slightly on how the
    data are batched.
    """

    def __init__(self, threads: Executor | None = None) -> None:
        """Start with nothing.

        Args:
            threads: Count the dimensions of a batch side by side; changes no number.
        """
        self.count = 0
        self._map = threads.map if threads else map
        self._mean = self._mean_square = self._min = self._max = np.zeros(0)
        self._edges: list[np.ndarray] = []
        self._histograms: list[np.ndarray] = []

    def update(self, batch: Float[np.ndarray, "*n d"]) -> None:
        """Add vectors; all axes but the last are batch axes."""
        batch = batch.reshape(-1, batch.shape[-1])
        low, high = batch.min(axis=0), batch.max(axis=0)
        mean, mean_square = batch.mean(axis=0), np.square(batch).mean(axis=0)
        if self.count == 0:
            self._min, self._max = low, high
            self._mean, self._mean_square = mean, mean_square
            self._edges = [
                np.linspace(np.float64(a) - 1e-10, np.float64(b) + 1e-10, NUM_BINS + 1)
                for a, b in zip(low, high, strict=True)
            ]
            self._histograms = [np.zeros(NUM_BINS, dtype=np.int64) for _ in low]
        elif (low < self._min).any() or (high > self._max).any():
            self._min, self._max = np.minimum(self._min, low), np.maximum(self._max, high)
            self._spread()
        self.count += len(batch)
        share = len(batch) / self.count
        self._mean = self._mean + (mean - self._mean) * share
        self._mean_square = self._mean_square + (mean_square - self._mean_square) * share
        found = self._map(count_in_bins, batch.T, self._edges)
        self._histograms = [old + new for old, new in zip(self._histograms, found, strict=True)]

    def _spread(self) -> None:
        for dim, (edges, histogram) in enumerate(zip(self._edges, self._histograms, strict=True)):
            wider = np.linspace(
                np.float64(self._min[dim]), np.float64(self._max[dim]), NUM_BINS + 1
            )
            moved, _ = np.histogram(edges[:-1], bins=wider, weights=histogram)
            self._edges[dim], self._histograms[dim] = wider, moved.astype(np.int64)

    def result(self) -> FeatureNorm:
        """The statistics so far.

        Raises:
            DataError: If fewer than two vectors were added.
        """
        if self.count < 2:
            raise DataError(
                f"statistics need at least 2 frames, got {self.count}. Record more data."
            )
        variance = self._mean_square - np.square(self._mean)
        return FeatureNorm(
            mean=self._mean,
            std=np.sqrt(np.maximum(variance, 0)),
            q01=self._quantile(0.01),
            q99=self._quantile(0.99),
        )

    def _quantile(self, share: float) -> Float64[np.ndarray, " d"]:
        """Lower edge of the first bin at which the cumulative count reaches the share."""
        return np.array(
            [
                edges[np.searchsorted(np.cumsum(histogram), share * self.count)]
                for edges, histogram in zip(self._edges, self._histograms, strict=True)
            ]
        )
