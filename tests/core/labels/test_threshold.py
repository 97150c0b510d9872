"""Exact shares of a pool."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.labels.threshold import num_positive, quantile_threshold, top_share


def test_the_published_counts() -> None:
    """14,318 frames at 30 %: 4,296 positive, 10,022 negative, as the reference run reports."""
    advantages = np.random.default_rng(0).permutation(14_318).astype(np.float32)

    best = top_share(advantages, 0.3)

    assert best.is_positive.sum() == 4_296
    assert (~best.is_positive).sum() == 10_022
    np.testing.assert_array_equal(best.is_positive, advantages >= best.threshold)
    np.testing.assert_array_equal(best.is_positive, advantages >= np.percentile(advantages, 70))


@given(st.integers(1, 400), st.integers(1, 100))
def test_the_count_is_that_of_a_percentile(size: int, percent: int) -> None:
    """On distinct values the count equals numpy's percentile with ``>=``."""
    values = np.arange(size, dtype=np.float64)

    # numpy's linear interpolation can miss an integer position by one rounding.
    position = round((1 - percent / 100) * (size - 1), 9)
    assert num_positive(size, percent / 100) == (values >= position).sum()


@pytest.mark.parametrize("size", [101, 200_001])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_quantile_of_float32_is_counted_in_float64(size: int, share: float) -> None:
    """Where the quantile is one of the advantages, that one reaches it."""
    advantages = np.random.default_rng(0).permutation(size).astype(np.float32)

    threshold = quantile_threshold(advantages, share)

    assert (advantages >= np.float32(threshold)).sum() == num_positive(size, share)


def test_ties_go_to_the_earlier_frames() -> None:
    """All-equal advantages do not make everything positive."""
    best = top_share(np.zeros(11), 0.2)

    np.testing.assert_array_equal(np.flatnonzero(best.is_positive), [0, 1, 2])
    np.testing.assert_array_equal(best.rank, np.arange(11))
    assert best.threshold == 0


def test_ranks_follow_the_advantages() -> None:
    """0 is the best; equal ones keep their order."""
    best = top_share(np.array([0.1, 0.5, 0.1, -0.2]), 0.5)

    np.testing.assert_array_equal(best.rank, [1, 0, 2, 3])
    np.testing.assert_array_equal(best.is_positive, [True, True, False, False])
    assert best.threshold == 0.1


def test_an_empty_pool_has_no_threshold() -> None:
    """There is no best frame of none."""
    with pytest.raises(ValueError, match="empty pool"):
        top_share(np.zeros(0), 0.3)


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1])
def test_a_share_is_a_share(share: float) -> None:
    """Shares outside (0, 1] are refused."""
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        top_share(np.zeros(3), share)
