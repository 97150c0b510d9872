"""A value model's predictions for frames of a dataset, in frame order."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int64

from recap_core.config.value import ValueConfig
from recap_core.data.frames import FrameTable
from recap_core.data.video import CameraBlock, iter_camera_blocks
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.transforms.value_transform import ValueTransform

type Predictor = Callable[[Params, ValueInputs], Float[Array, "b bins"]]


class Predictions(NamedTuple):
    """Predicted value distributions of consecutive frames."""

    indices: Int64[np.ndarray, " b"]
    """Global frame indices."""
    probs: Float32[np.ndarray, "b bins"]
    """Rows sum to 1."""


class ValuePredictor:
    """A value model with its parameters, ready to predict batches of one fixed size."""

    def __init__(
        self,
        config: ValueConfig,
        params: Params,
        transform: ValueTransform,
        *,
        batch_size: int = 256,
    ) -> None:
        """Move the parameters to the default device.

        Args:
            config: The model, and the robot that it sees.
            params: Its parameters; the averaged ones where there are any.
            transform: From the dataset's observations to the model's.
            batch_size: Frames per device call; the last batch is padded to it.
        """
        model = ValueModel(config.model)
        views = config.embodiment.views
        self._image_px = config.model.image_px
        self._cameras = [views[view] for view in config.model.views if view in views]
        self._state = config.embodiment.state if config.model.reads_state else ()
        self._params = jax.device_put(params)
        self._transform = transform
        self._batch_size = batch_size

        @jax.jit
        def predict(params: Params, inputs: ValueInputs) -> Float[Array, "b bins"]:
            return jax.nn.softmax(model.logits(params, inputs), axis=-1)

        self._predict: Predictor = predict

    def predictions(self, table: FrameTable, episodes: Sequence[int]) -> Iterator[Predictions]:
        """Distributions of all frames of ``episodes``, one batch at a time, in their order.

        The device computes one batch while the host prepares the next.

        Raises:
            DataError: If the dataset lacks what the model sees.
        """
        pending: tuple[Int64[np.ndarray, " b"], Float[Array, "b bins"]] | None = None
        for block in self._blocks(table, episodes):
            started = (block.indices, self._started(table, block))
            if pending is not None:
                yield _finished(*pending)
            pending = started
        if pending is not None:
            yield _finished(*pending)

    def _started(self, table: FrameTable, block: CameraBlock) -> Float[Array, "b bins"]:
        state = {name: table.column(name)[block.indices] for name in self._state}
        prompts = [table.tasks[task] for task in table.task_index[block.indices]]
        inputs = self._transform.inputs(state | block.images, prompts)
        return self._predict(self._params, jax.tree.map(self._padded, inputs))

    def _padded(self, array: np.ndarray) -> np.ndarray:
        rest = self._batch_size - len(array)
        return np.concatenate([array, np.repeat(array[-1:], rest, axis=0)]) if rest else array

    def _blocks(self, table: FrameTable, episodes: Sequence[int]) -> Iterator[CameraBlock]:
        if self._cameras:
            yield from iter_camera_blocks(
                table.meta.root,
                self._cameras,
                image_px=self._image_px,
                block=self._batch_size,
                episodes=episodes,
            )
            return
        starts, lengths = table.episode_starts, table.episode_lengths
        frames = np.concatenate([starts[e] + np.arange(lengths[e]) for e in episodes])
        for start in range(0, len(frames), self._batch_size):
            yield CameraBlock(frames[start : start + self._batch_size], {})


def _finished(indices: Int64[np.ndarray, " b"], probs: Float[Array, "p bins"]) -> Predictions:
    return Predictions(indices, np.asarray(probs)[: len(indices)])
