"""Streaming statistics against the reference's own numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.data.running_stats import RunningStats, count_between, count_in_bins
from recap_core.errors import DataError

GOLDEN = Path(__file__).parents[2] / "golden/openpi/normalize.npz"


@pytest.mark.parametrize(
    "stream",
    ["gauss4", "chunks_state_growing_range", "single_batch_constant_dim", "gripper_bimodal"],
)
def test_the_numbers_are_those_of_openpi(stream: str) -> None:
    """Mean, std and both quantiles of every golden stream, and their types."""
    golden = np.load(GOLDEN)
    running = RunningStats()
    for name in sorted(name for name in golden if name.startswith(f"{stream}/batch")):
        running.update(golden[name])

    result = running.result()

    for field, values in result._asdict().items():
        expected = golden[f"{stream}/{field}"]
        assert values.dtype == expected.dtype
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)


def test_one_vector_has_no_statistics() -> None:
    """At least two."""
    running = RunningStats()
    running.update(np.zeros((1, 3)))

    with pytest.raises(DataError, match="at least 2 frames, got 1"):
        running.result()


def test_quantiles_are_exact_to_a_bin() -> None:
    """Uniform values in [0, 1): q01 and q99 within one part in 5000 and the range's growth."""
    rng = np.random.default_rng(0)
    running = RunningStats()
    for _ in range(20):
        running.update(rng.uniform(size=(500, 2)))

    result = running.result()

    np.testing.assert_allclose(result.q01, 0.01, atol=0.004)
    np.testing.assert_allclose(result.q99, 0.99, atol=0.004)


@given(
    st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=50),
    st.floats(-1.5, 1.5),
    st.floats(0, 2),
)
def test_counts_are_those_of_a_histogram(values: list[float], low: float, span: float) -> None:
    """Float32 values between float64 edges, on them and outside: as numpy counts them."""
    unordered = np.array(values, dtype=np.float32)
    edges = np.linspace(low, low + span, 8)
    expected = np.histogram(unordered, bins=edges)[0]

    np.testing.assert_array_equal(count_between(np.sort(unordered), edges), expected)
    if span > 0:
        np.testing.assert_array_equal(count_in_bins(unordered, edges), expected)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-6, 1e-3, 1.0, 1e4])
def test_unsorted_counts_are_exact_at_every_scale(spread: float) -> None:
    """Bins much wider and much finer than float32 can tell apart at 1000, edges included."""
    rng = np.random.default_rng(0)
    values = (1000 + spread * rng.normal(size=5000)).astype(np.float32)
    low, high = np.float64(values.min()) - 1e-10, np.float64(values.max()) + 1e-10
    edges = np.linspace(low, high, 5001)

    np.testing.assert_array_equal(count_in_bins(values, edges), np.histogram(values, bins=edges)[0])
