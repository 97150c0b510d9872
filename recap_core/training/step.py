"""One optimisation step, compiled once."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.config.training import TrainConfig
from recap_core.errors import ConfigError
from recap_core.models.compiler_options import compiler_options
from recap_core.models.parameters import Params
from recap_core.sharding import Shardings, batch_sharding, replicated
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
type _LossOf = Callable[[Params], tuple[Float[Array, ""], Metrics]]
type _Graded = tuple[Float[Array, ""], Metrics, Params]


@runtime_checkable
class DivisibleLoss(Protocol):
    """A mean over samples, which can be computed part by part: a ``LossFn`` in two steps."""

    def __call__(
        self, params: Params, key: PRNGKeyArray, batch: Batch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Both steps: ``of_drawn(params, draw(key, batch))``."""
        ...

    def draw(self, key: PRNGKeyArray, batch: Batch) -> Batch:
        """The batch with everything that is drawn from the key of the step."""
        ...

    def of_drawn(self, params: Params, batch: Batch) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics of such a batch, or of some of its rows."""
        ...


def make_train_step(
    loss_fn: LossFn,
    config: TrainConfig,
    *,
    trainable: Mask,
    micro_batches: int = 1,
    shardings: Shardings | None = None,
) -> TrainStep:
    """Compile a step: gradients of the trainable leaves, update, average.

    The key of step i is ``fold_in(key(seed), i)``, so a resumed run draws the same numbers. The
    step overwrites the state it is given. Its metrics are those of ``loss_fn`` plus ``loss``,
    ``grad_norm`` (before the clip), ``param_norm`` (matrices that are no embeddings) and ``lr``.

    Args:
        loss_fn: Loss and metrics of a batch.
        config: Optimisation settings.
        trainable: Which leaves are trained.
        micro_batches: Parts of a batch, computed one after the other. Random numbers are drawn for
            the whole batch first, so the gradient is that of the whole batch.
        shardings: Where the state's leaves are; None: on one device.

    Raises:
        ConfigError: If the loss cannot be computed in parts, or the batch not be divided.
    """
    optimizer = make_optimizer(config.optimizer)
    schedule = learning_rate(config.optimizer)
    out = targets = None
    if shardings is not None:
        out = (shardings, replicated(shardings.step.mesh))
        targets = trainable_part(shardings.params, trainable)
    gradients = (
        _Gradients(loss_fn, targets)
        if micro_batches == 1
        else _GradientsInParts(loss_fn, targets, micro_batches)
    )

    @partial(jax.jit, donate_argnums=0, out_shardings=out, compiler_options=compiler_options())
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        trained = trainable_part(state.params, trainable)
        loss, metrics, grads = gradients((trained, state.params), key, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, trained)
        trained = cast("Params", optax.apply_updates(trained, updates))
        params = filled(trained, state.params)
        of_step = {
            "loss": loss,
            "grad_norm": _norm(jax.tree.leaves(grads)),
            "param_norm": _weight_norm(params),
            "lr": jnp.asarray(schedule(state.step), jnp.float32),
        }
        average = _averaged(state.ema_params, trained, config.ema_decay)
        return (
            TrainState(state.step + 1, params, average, opt_state),
            {name: Mean(value, jnp.ones(())) for name, value in of_step.items()} | dict(metrics),
        )

    return train_step


@dataclass(frozen=True)
class _Gradients:
    """Loss, metrics and gradients at the trained leaves, of a batch."""

    loss_fn: LossFn
    targets: Params | None
    """Shardings of the trained leaves; None: one device."""

    def __call__(self, leaves: tuple[Params, Params], key: PRNGKeyArray, batch: Batch) -> _Graded:
        """Of a whole batch; ``leaves``: those that train, and the tree that has the others."""
        return self._graded(leaves, lambda params: self.loss_fn(params, key, batch))

    def _graded(self, leaves: tuple[Params, Params], loss_of: _LossOf) -> _Graded:
        trained, params = leaves
        (loss, metrics), grads = jax.value_and_grad(
            lambda trained: loss_of(filled(trained, params)), has_aux=True
        )(trained)
        return loss, metrics, self._split(grads)

    def _split(self, grads: Params) -> Params:
        """Of a gradient, every device sums and keeps its own part only."""
        if self.targets is None or self._mesh.size == 1:
            return grads
        return jax.tree.map(jax.lax.with_sharding_constraint, grads, self.targets)

    @property
    def _mesh(self) -> Mesh:
        return jax.tree.leaves(self.targets)[0].mesh


@dataclass(frozen=True)
class _GradientsInParts(_Gradients):
    """The same, one part of the batch after the other."""

    num_parts: int

    def __call__(self, leaves: tuple[Params, Params], key: PRNGKeyArray, batch: Batch) -> _Graded:
        """The mean over the parts."""
        loss_fn = self.loss_fn
        if not isinstance(loss_fn, DivisibleLoss):
            raise ConfigError(
                f"micro_batches is {self.num_parts}, but this loss cannot be computed in parts. "
                "Set it to 1."
            )
        divisible: DivisibleLoss = loss_fn
        parts = jax.tree.map(self._parts, divisible.draw(key, batch))

        def of_part(part: Batch) -> _Graded:
            return self._graded(leaves, lambda params: divisible.of_drawn(params, part))

        def add(total: _Graded, part: Batch) -> tuple[_Graded, None]:
            return jax.tree.map(jnp.add, total, of_part(part)), None

        shapes = jax.eval_shape(of_part, jax.tree.map(lambda leaf: leaf[0], parts))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        first = (zeros[0], zeros[1], self._split(zeros[2]))
        (loss, metrics, grads), _ = jax.lax.scan(add, first, parts)
        grads = jax.tree.map(lambda leaf: leaf / self.num_parts, grads)
        return loss / self.num_parts, metrics, grads

    def _parts(self, leaf: Array) -> Array:
        """[parts, rows, ...]; every part has rows of all devices."""
        rows, num_devices = leaf.shape[0], 1 if self.targets is None else self._mesh.size
        if rows % (self.num_parts * num_devices):
            raise ConfigError(
                f"a batch of {rows} cannot be divided into micro_batches = {self.num_parts} on "
                f"{num_devices} devices. Make batch_size a multiple of "
                f"{self.num_parts * num_devices}."
            )
        # Row r goes to part r mod n: no row leaves its device.
        by_row = leaf.reshape(rows // self.num_parts, self.num_parts, *leaf.shape[1:])
        parts = jnp.swapaxes(by_row, 0, 1)
        if num_devices == 1:
            return parts
        spec = PartitionSpec(None, *batch_sharding(self._mesh).spec)
        return jax.lax.with_sharding_constraint(parts, NamedSharding(self._mesh, spec))


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
