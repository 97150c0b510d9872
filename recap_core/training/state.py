"""What training carries from step to step, and which leaves it may change.

A tree without its frozen (or its trainable) leaves has None in their place, which JAX treats as
no leaf at all: optimiser states and averages of such a tree cost nothing for the missing part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from recap_core.errors import TrainingError
from recap_core.models.parameters import Params
from recap_core.sharding import Shardings, place

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


@dataclass(frozen=True)
class ParamsSource:
    """Parameters to start from, loaded only where no checkpoint replaces them."""

    shapes: Params
    """Shape and dtype of every leaf (``jax.ShapeDtypeStruct``)."""
    make: Callable[[Shardings], Params]
    """Makes them, for devices as given: NumPy arrays, or JAX arrays that are there already."""


def all_trainable(params: Params) -> Mask:
    """A mask that trains everything."""
    return jax.tree.map(lambda _: True, params)


def trainable_part(params: Params, trainable: Mask) -> Params:
    """``params`` with None in place of the frozen leaves."""
    return jax.tree.map(lambda leaf, is_trained: leaf if is_trained else None, params, trainable)


def frozen_paths(trainable: Mask) -> tuple[str, ...]:
    """Paths of the leaves that do not train, joined by ``/``, in the order of the tree."""
    flat, _ = jax.tree_util.tree_flatten_with_path(trainable)
    return tuple(
        jax.tree_util.keystr(keys, simple=True, separator="/")
        for keys, is_trained in flat
        if not is_trained
    )


def with_frozen_in_bfloat16(params: Params, trainable: Mask) -> Params:
    """``params`` with its frozen floating-point leaves in bfloat16, as in openpi's LoRA runs.

    They then take half the memory, in training and in checkpoints. ``params`` may also hold shapes
    (``jax.eval_shape`` results).
    """

    def cast(leaf: Any, is_trained: bool) -> Any:  # noqa: ANN401, FBT001 - a leaf of either library
        if is_trained or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16)
        return leaf.astype(jnp.bfloat16)

    return jax.tree.map(cast, params, trainable)


def filled(part: Params, params: Params) -> Params:
    """``part`` with its absent leaves taken from ``params``."""
    return jax.tree.map(
        lambda leaf, other: other if leaf is None else leaf,
        part,
        params,
        is_leaf=lambda leaf: leaf is None,
    )


def fresh_params(init: Callable[[], Params], trainable: Mask) -> "ParamsSource":
    """What ``init`` makes, frozen leaves in bfloat16.

    On several devices, or where leaves are frozen, each device makes its own part of the final
    leaves only. (On one, each operation runs on its own, whose last bits compiling may change.)
    """

    def make(shardings: Shardings) -> Params:
        places = jax.tree.leaves(shardings)
        if all(jax.tree.leaves(trainable)) and len(places[0].device_set) == 1:
            return init()
        final = jax.jit(lambda: with_frozen_in_bfloat16(init(), trainable), out_shardings=shardings)
        return final()

    return ParamsSource(with_frozen_in_bfloat16(jax.eval_shape(init), trainable), make)


def parameters(init_params: "Params | ParamsSource") -> "ParamsSource":
    """Parameters that may not be loaded yet, of those that are."""
    if isinstance(init_params, ParamsSource):
        return init_params
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), init_params)
    return ParamsSource(shapes, lambda _: init_params)


def state_shapes(
    params: Params,
    optimizer: optax.GradientTransformation,
    trainable: Mask,
    *,
    with_ema: bool,
) -> TrainState:
    """Shapes and types of the state of a training of ``params`` (arrays or shapes).

    Raises:
        TrainingError: If no leaf is trainable.
    """
    if not any(jax.tree.leaves(trainable)):
        raise TrainingError(
            f"none of the {len(jax.tree.leaves(trainable))} parameter leaves is trainable; "
            "check the freeze mode and the LoRA settings of the model"
        )

    def state(params: Params) -> TrainState:
        trained = trainable_part(params, trainable)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema_params=trained if with_ema else None,
            opt_state=optimizer.init(trained),
        )

    return jax.eval_shape(state, params)


def initial_state(
    params: "Params | ParamsSource",
    optimizer: optax.GradientTransformation,
    trainable: Mask,
    *,
    with_ema: bool,
    shardings: Shardings | None = None,
) -> TrainState:
    """The state before the first step, in memory of its own: steps may overwrite it in place.

    Args:
        params: Parameters, NumPy or JAX; they are left as they are.
        optimizer: Makes the optimiser state.
        trainable: Which leaves are trained.
        with_ema: Whether to keep an average.
        shardings: Where every leaf goes; None: to the default device. No device receives more.

    Raises:
        TrainingError: If no leaf is trainable.
    """
    source = parameters(params)
    shapes = state_shapes(source.shapes, optimizer, trainable, with_ema=with_ema)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    targets: Any = jax.tree.map(lambda _: device, shapes) if shardings is None else shardings
    # Made here, so that a leaf's host memory is free again once it is on its device.
    placed = place(source.make(targets.params), targets.params)
    trained = trainable_part(placed, trainable)

    def first_opt_state() -> optax.OptState:
        zeros = trainable_part(shapes.params, trainable)
        return optimizer.init(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), zeros))

    return TrainState(
        step=jax.device_put(jnp.zeros((), jnp.int32), targets.step),
        params=placed,
        ema_params=jax.tree.map(jnp.copy, trained) if with_ema else None,
        opt_state=jax.jit(first_opt_state, out_shardings=targets.opt_state)(),
    )


def evaluation_params(state: TrainState) -> Params:
    """The parameters to evaluate and publish: averaged where there is an average."""
    if state.ema_params is None:
        return state.params
    return filled(state.ema_params, state.params)
