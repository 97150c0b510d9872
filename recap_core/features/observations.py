"""What a value model sees of frames whose images a frozen encoder has encoded before."""

import numpy as np
from jaxtyping import Int

from recap_core.config.value import ValueConfig
from recap_core.data.frames import FrameTable
from recap_core.features.frozen import FrozenFeatures
from recap_core.models.value_model import ValueInputs
from recap_core.transforms.value_transform import ValueTransform


class FrozenObservations:
    """Tokens, state and prompts of a dataset; no video is opened. May be called from threads.

    Args:
        table: The dataset.
        config: The model, and the robot that it sees.
        transform: From the dataset's observations to the model's.
        features: The encoder's tokens of the dataset.
    """

    num_cameras = 0

    def __init__(
        self,
        table: FrameTable,
        config: ValueConfig,
        transform: ValueTransform,
        features: FrozenFeatures,
    ) -> None:
        self._table = table
        self._transform = transform.without_images()
        self._features = features
        self._state = config.embodiment.state if config.model.reads_state else ()

    def __call__(self, frames: Int[np.ndarray, " b"]) -> ValueInputs:
        """Inputs of ``frames``, by global index, as NumPy arrays."""
        table = self._table
        state = {name: table.column(name)[frames] for name in self._state}
        prompts = [table.tasks[task] for task in table.task_index[frames]]
        return self._features.added_to(self._transform.inputs(state, prompts), frames)
