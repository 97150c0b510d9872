"""A value model's predictions for frames of a dataset, in the order that they are asked for.

Every device computes batches of one fixed size: the last one is padded with its last frame. So a
frame's numbers depend on the frames of its batch alone, not on how many devices there are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Float32, Int64

from recap_core.config.value import ValueConfig
from recap_core.data.frames import FrameTable
from recap_core.models.compiler_options import compiler_options
from recap_core.models.parameters import Params
from recap_core.models.precision import with_weights_in
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.sharding import batch_sharding, device_mesh, replicated
from recap_core.transforms.value_transform import ValueTransform
from recap_core.valuation.batch_size import largest_batch
from recap_core.valuation.observations import (
    Feeding,
    Frames,
    Observations,
    Times,
    VideoObservations,
    inputs_ahead,
)

type Predict = Callable[[Params, ValueInputs], Float[Array, "b bins"]]


class Predictions(NamedTuple):
    """Predicted value distributions of some frames."""

    indices: Int64[np.ndarray, " b"]
    """Global frame indices."""
    probs: Float32[np.ndarray, "b bins"]
    """Rows sum to 1."""


class ValuePredictor:
    """A value model with its parameters, ready to predict batches of one fixed size."""

    def __init__(  # noqa: PLR0913 - options are keyword-only
        self,
        config: ValueConfig,
        params: Params,
        transform: ValueTransform,
        *,
        batch_size: int | None = 256,
        most: int = 512,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Move the parameters to the devices.

        Args:
            config: The model, and the robot that it sees.
            params: Its parameters; the averaged ones where there are any.
            transform: From the dataset's observations to the model's.
            batch_size: Frames that a device computes at once; None: what suits it, see
                :func:`recap_core.valuation.batch_size.largest_batch`.
            most: No more than these where ``batch_size`` is None.
            devices: ``jax.Device`` that share the work; None: the default one.
        """
        self._config = config
        self._transform = transform
        self._mesh = device_mesh(devices=jax.devices()[:1] if devices is None else devices)
        params = with_weights_in(params, config.model.compute_dtype)
        self._params = jax.device_put(params, replicated(self._mesh))
        self._batch_size = batch_size
        self._most = most
        self._predict: Predict = self._compiled(ValueModel(config.model))

    def _compiled(self, model: ValueModel) -> Predict:
        def predict(params: Params, inputs: ValueInputs) -> Float[Array, "b bins"]:
            seen = inputs._replace(images={v: _scaled(x) for v, x in inputs.images.items()})
            return jax.nn.softmax(model.logits(params, seen), axis=-1)

        # Each device runs the program of a single one, on its own batch.
        rows = batch_sharding(self._mesh).spec
        specs = {"in_specs": (PartitionSpec(), rows), "out_specs": rows}
        spread = jax.shard_map(predict, mesh=self._mesh, **specs)
        return jax.jit(spread, compiler_options=compiler_options())

    @property
    def num_devices(self) -> int:
        """Devices that share the work."""
        return self._mesh.size

    def batch_size(self, observations: Observations, frames: Frames) -> int:
        """Frames that a device computes at once; found out at the first call, if it was None.

        Args:
            observations: Where inputs come from; it is asked for one frame.
            frames: What is to be predicted, at least one.
        """
        if self._batch_size is None:
            first = observations(frames[:1])
            self._batch_size = largest_batch(
                self._predict,
                (self._params, lambda rows: self._placed(_padded(first, rows))),
                mesh=self._mesh,
                most=min(self._most, 1 << max(len(frames) - 1, 0).bit_length()),
            )
        return self._batch_size

    def observations(self, table: FrameTable) -> VideoObservations:
        """What the model sees of a dataset, from its videos."""
        return VideoObservations(table, self._config, self._transform)

    def predictions(self, table: FrameTable, episodes: Sequence[int]) -> Iterator[Predictions]:
        """Distributions of all frames of ``episodes``, one batch at a time, in their order.

        Raises:
            DataError: If the dataset lacks what the model sees.
        """
        starts, lengths = table.episode_starts, table.episode_lengths
        frames = np.concatenate([starts[e] + np.arange(lengths[e]) for e in episodes])
        observations = self.observations(table)
        rows = self.batch_size(observations, frames) * self.num_devices
        batches = [frames[start : start + rows] for start in range(0, len(frames), rows)]
        return self.of_batches(observations, batches)

    def of_batches(
        self,
        observations: Observations,
        batches: Iterable[Frames],
        *,
        feeding: Feeding | None = None,
        times: Times | None = None,
    ) -> Iterator[Predictions]:
        """Distributions of the frames of every batch, in order.

        The devices compute one batch while threads make the next ones.

        Args:
            observations: Where inputs come from.
            batches: Global indices, in each at most :meth:`batch_size` for every device. Asked for
                the next one a few batches before its turn.
            feeding: How far ahead inputs are made.
            times: Where waiting is counted.

        Raises:
            DataError: If the dataset lacks what the model sees.
        """
        times = times or Times()
        pending: tuple[Frames, Float[Array, "b bins"]] | None = None
        for frames, inputs in inputs_ahead(observations, batches, feeding or Feeding(), times):
            with times.device():
                started = (frames, self._started(inputs))
                finished = None if pending is None else _finished(*pending)
            pending = started
            if finished is not None:
                yield finished
        if pending is not None:
            with times.device():
                finished = _finished(*pending)
            yield finished

    def _started(self, inputs: ValueInputs) -> Float[Array, "p bins"]:
        assert self._batch_size is not None  # noqa: S101 - asked for before batches are made
        rows = self._batch_size * self.num_devices
        return self._predict(self._params, self._placed(_padded(inputs, rows)))

    def _placed(self, inputs: ValueInputs) -> ValueInputs:
        return jax.device_put(inputs, batch_sharding(self._mesh))


def _scaled(images: Array) -> Float[Array, "b h w 3"]:
    """0-255 to [-1, 1], as the transform does; what is scaled already stays."""
    return images.astype(jnp.float32) / 255 * 2 - 1 if images.dtype == jnp.uint8 else images


def _padded(inputs: ValueInputs, rows: int) -> ValueInputs:
    """The last row repeated up to ``rows``."""

    def padded(array: np.ndarray) -> np.ndarray:
        rest = rows - len(array)
        return np.concatenate([array, np.repeat(array[-1:], rest, axis=0)]) if rest else array

    return jax.tree.map(padded, inputs)


def _finished(indices: Frames, probs: Float[Array, "p bins"]) -> Predictions:
    return Predictions(indices, np.asarray(probs)[: len(indices)])
