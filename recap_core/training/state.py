"""What training carries from step to step, and which leaves it may change.

A tree without its frozen (or its trainable) leaves has None in their place, which JAX treats as
no leaf at all: optimiser states and averages of such a tree cost nothing for the missing part.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from recap_core.errors import TrainingError
from recap_core.models.parameters import Params

type Mask = dict[str, Any]
"""The structure of ``Params`` with a bool per leaf: whether it is trained."""


class TrainState(NamedTuple):
    """A training run after ``step`` steps."""

    step: Int[Array, ""]
    """Number of finished steps, int32."""
    params: Params
    ema_params: Params | None
    """Exponential moving average of the trainable leaves; None without averaging."""
    opt_state: optax.OptState
    """Of the trainable leaves."""


def all_trainable(params: Params) -> Mask:
    """A mask that trains everything."""
    return jax.tree.map(lambda _: True, params)


def trainable_part(params: Params, trainable: Mask) -> Params:
    """``params`` with None in place of the frozen leaves."""
    return jax.tree.map(lambda leaf, is_trained: leaf if is_trained else None, params, trainable)


def with_frozen_in_bfloat16(params: Params, trainable: Mask) -> Params:
    """``params`` with its frozen floating-point leaves in bfloat16, as in openpi's LoRA runs.

    They then take half the memory, in training and in checkpoints.
    """

    def cast(leaf: Any, is_trained: bool) -> Any:  # noqa: ANN401, FBT001 - a leaf of either library
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf if is_trained or not is_float else leaf.astype(jnp.bfloat16)

    return jax.tree.map(cast, params, trainable)


def filled(part: Params, params: Params) -> Params:
    """``part`` with its absent leaves taken from ``params``."""
    return jax.tree.map(
        lambda leaf, other: other if leaf is None else leaf,
        part,
        params,
        is_leaf=lambda leaf: leaf is None,
    )


def initial_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    trainable: Mask,
    *,
    with_ema: bool,
) -> TrainState:
    """The state before the first step, in memory of its own: steps may overwrite it in place.

    Raises:
        TrainingError: If no leaf is trainable.
    """
    if not any(jax.tree.leaves(trainable)):
        raise TrainingError(
            f"none of the {len(jax.tree.leaves(trainable))} parameter leaves is trainable; "
            "check the freeze mode and the LoRA settings of the model"
        )
    params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    trained = trainable_part(params, trainable)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema_params=jax.tree.map(jnp.copy, trained) if with_ema else None,
        opt_state=optimizer.init(trained),
    )


def evaluation_params(state: TrainState) -> Params:
    """The parameters to evaluate and publish: averaged where there is an average."""
    if state.ema_params is None:
        return state.params
    return filled(state.ema_params, state.params)
