"""Numbers of SPEC §8.2 and of paper and pencil."""

import jax.numpy as jnp
import numpy as np

from recap_core.models.categorical import cross_entropy, expected_value, support

LARGE = 60.0
"""exp(-60) is nothing in float32."""


def test_support_splits_minus_one_to_zero() -> None:
    """201 bins are 0.005 apart."""
    bins = np.asarray(support(201))

    np.testing.assert_allclose(bins[[0, 1, 100, 200]], [-1, -0.995, -0.5, 0], atol=1e-7)


def test_expectation_of_a_hand_made_distribution() -> None:
    """Weights 0.4 and 0.6 on bins 99 and 100 mean -0.502; everything on bin 0 means -1."""
    logits = np.full((2, 201), -LARGE, np.float32)
    logits[0, [99, 100]] = np.log([0.4, 0.6])
    logits[1, 0] = LARGE

    np.testing.assert_allclose(expected_value(jnp.asarray(logits)), [-0.502, -1.0], atol=1e-6)


def test_the_expectation_stays_in_range() -> None:
    """Rounding never leaves [-1, 0], whatever the logits."""
    logits = np.random.default_rng(0).normal(0, 50, (500, 201)).astype(np.float32)
    value = np.asarray(expected_value(jnp.asarray(logits, jnp.bfloat16)))

    assert value.dtype == np.float32
    assert ((value >= -1) & (value <= 0)).all()


def test_cross_entropy_by_hand() -> None:
    """A uniform prediction costs ln 201, a sure and right one nothing.

    A sure one that is 40 % wrong costs 0.4 times the gap of its logits.
    """
    target = np.zeros((3, 201), np.float32)
    target[0, [99, 100]] = 0.4, 0.6
    target[1, 200] = 1
    target[2, [99, 100]] = 0.4, 0.6
    logits = np.zeros((3, 201), np.float32)
    logits[1, 200] = LARGE
    logits[2, 100] = LARGE

    loss = cross_entropy(jnp.asarray(logits), jnp.asarray(target))

    np.testing.assert_allclose(loss, [np.log(201), 0, 0.4 * LARGE], rtol=1e-6, atol=1e-6)
