"""The categorical value head (C51): a distribution over bins that split [-1, 0] evenly (SPEC §8.2).

Targets arrive as distributions; :mod:`recap_core.labels.two_hot` makes them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LOWEST_VALUE, HIGHEST_VALUE = -1.0, 0.0


def support(num_bins: int) -> Float[Array, " bins"]:
    """Value of every bin, ascending from -1 to 0."""
    return jnp.linspace(LOWEST_VALUE, HIGHEST_VALUE, num_bins, dtype=jnp.float32)


def expected_value(logits: Float[Array, "b bins"]) -> Float[Array, " b"]:
    """Mean of the predicted distribution, float32, in [-1, 0]."""
    probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    value = probs @ support(logits.shape[-1])
    return jnp.clip(value, LOWEST_VALUE, HIGHEST_VALUE)  # sums of probabilities round


def cross_entropy(
    logits: Float[Array, "b bins"], target_probs: Float[Array, "b bins"]
) -> Float[Array, " b"]:
    """``-sum p log q`` per sample, float32; ln(bins) for a uniform prediction."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return -jnp.sum(target_probs.astype(jnp.float32) * log_probs, axis=-1)
