"""The 201-bin value distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap_core.labels.two_hot import expectation, hard_bins, support, two_hot


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1.0, {0: 1.0}),
        (-0.503, {99: 0.6, 100: 0.4}),
        (-0.502, {99: 0.4, 100: 0.6}),
        (-0.5, {100: 1.0}),
        (0.0, {200: 1.0}),
        (-0.9975, {0: 0.5, 1: 0.5}),
        (-3.0, {0: 1.0}),
        (0.5, {200: 1.0}),
    ],
)
def test_published_vectors(value: float, expected: dict[int, float]) -> None:
    """Each value lies between its two bins, the nearer one heavier; ends clip."""
    (probabilities,) = two_hot(np.array([value]))

    wanted = np.zeros(201)
    wanted[list(expected)] = list(expected.values())
    np.testing.assert_allclose(probabilities, wanted, atol=1e-6)


def test_the_support_has_a_bin_every_half_percent() -> None:
    """201 bins from -1 to 0, 0.005 apart."""
    np.testing.assert_allclose(np.diff(support(201)), 0.005)
    assert support(201)[[0, 200]].tolist() == [-1.0, 0.0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-2.0, 0), (-1.0, 0), (-0.9975, 0), (-0.503, 99), (-0.5, 100), (-0.0051, 198), (0.0, 200)],
)
def test_a_hard_target_is_the_bin_below(value: float, expected: int) -> None:
    """clip(floor((v + 1) * 200), 0, 200), worked out by hand (SPEC §15)."""
    (probabilities,) = hard_bins(np.array([value]))

    assert probabilities.dtype == np.float32
    assert np.flatnonzero(probabilities).tolist() == [expected]
    assert probabilities[expected] == 1


@given(st.floats(-1, 0), st.integers(2, 300))
def test_the_mean_of_a_two_hot_target_is_the_value(value: float, num_bins: int) -> None:
    """Encoding and expectation are inverse, for any number of bins; rows sum to 1."""
    probabilities = two_hot(np.array([[value]]), num_bins)

    assert probabilities.shape == (1, 1, num_bins)
    assert probabilities.sum() == pytest.approx(1)
    assert expectation(probabilities)[0, 0] == pytest.approx(value, abs=1e-6)


def test_one_bin_is_refused() -> None:
    """A distribution over one bin cannot hold a value."""
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        support(1)
    with pytest.raises(ValueError, match="at least 2 bins, got 1"):
        two_hot(np.array([0.0]), 1)


def test_a_target_that_is_not_a_number_is_refused() -> None:
    """NaN must not become a bin."""
    with pytest.raises(ValueError, match="finite"):
        two_hot(np.array([0.0, np.nan]))
