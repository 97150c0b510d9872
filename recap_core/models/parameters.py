"""Parameter trees: their type, their size, and the dense layer that every model uses."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

type Params = dict[str, Any]
"""Nested dict of arrays; ``/``-joined paths are the names in checkpoints."""

lecun_normal = jax.nn.initializers.lecun_normal()


def normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal draws: ``jax.random.normal``'s numbers, drawn flat.

    On a CPU, XLA takes seconds to compile draws of three or more axes, and none for flat ones.
    """
    return jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def count_params(params: Params) -> int:
    """Number of scalars in ``params`` (arrays or ``jax.eval_shape`` results)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def init_dense(key: PRNGKeyArray, in_dim: int, out_dim: int) -> Params:
    """A linear layer: LeCun normal kernel, zero bias."""
    return {"kernel": lecun_normal(key, (in_dim, out_dim)), "bias": jnp.zeros(out_dim)}


def dense(params: Params, x: Float[Array, "*rows i"], dtype: DTypeLike) -> Float[Array, "*rows o"]:
    """``x @ kernel + bias``, computed in ``dtype``."""
    y = x.astype(dtype) @ params["kernel"].astype(dtype)
    return y + params["bias"].astype(dtype).reshape((1,) * (y.ndim - 1) + (-1,))
