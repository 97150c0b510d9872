"""One optimisation step, compiled once."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.config.training import TrainConfig
from recap_core.models.parameters import Params
from recap_core.training.optimizer import learning_rate, make_optimizer
from recap_core.training.state import Mask, TrainState, filled, trainable_part

_NO_WEIGHT = re.compile(r"bias|scale|pos_embedding|input_embedding")


class Mean(NamedTuple):
    """A metric as a sum and a count, so that averages over steps and classes are exact."""

    total: Float[Array, ""]
    num: Float[Array, ""]


type Batch = Any
"""A pytree of arrays, batch axis first."""
type Metrics = Mapping[str, Mean]
type LossFn = Callable[[Params, PRNGKeyArray, Batch], tuple[Float[Array, ""], Metrics]]
"""Parameters, key and batch to the loss and metrics beyond it."""
type TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(loss_fn: LossFn, config: TrainConfig, *, trainable: Mask) -> TrainStep:
    """Compile a step: gradients of the trainable leaves, update, average.

    The key of step i is ``fold_in(key(seed), i)``, so a resumed run draws the same numbers. The
    step overwrites the state it is given. Its metrics are those of ``loss_fn`` plus ``loss``,
    ``grad_norm`` (before the clip), ``param_norm`` (matrices that are no embeddings) and ``lr``.
    """
    optimizer = make_optimizer(config.optimizer)
    schedule = learning_rate(config.optimizer)

    @partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        trained = trainable_part(state.params, trainable)

        def loss_of(trained: Params) -> tuple[Float[Array, ""], Metrics]:
            return loss_fn(filled(trained, state.params), key, batch)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(trained)
        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        trained = cast("Params", optax.apply_updates(trained, updates))
        params = filled(trained, state.params)
        of_step = {
            "loss": loss,
            "grad_norm": _norm(jax.tree.leaves(grads)),
            "param_norm": _weight_norm(params),
            "lr": jnp.asarray(schedule(state.step), jnp.float32),
        }
        return (
            TrainState(
                step=state.step + 1,
                params=params,
                ema_params=_averaged(state.ema_params, trained, config.ema_decay),
                opt_state=opt_state,
            ),
            {name: Mean(value, jnp.ones(())) for name, value in of_step.items()} | dict(metrics),
        )

    return train_step


def _averaged(old: Params | None, new: Params, decay: float | None) -> Params | None:
    if decay is None:
        return None
    return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, old, new)


def _weight_norm(params: Params) -> Float[Array, ""]:
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    weights = [
        leaf
        for keys, leaf in flat
        if leaf.ndim > 1 and not _NO_WEIGHT.search(jax.tree_util.keystr(keys, simple=True))
    ]
    return _norm(weights)


def _norm(leaves: list[Array]) -> Float[Array, ""]:
    return jnp.sqrt(sum((jnp.sum(jnp.square(leaf)) for leaf in leaves), start=jnp.zeros(())))
