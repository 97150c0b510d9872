"""Observations of arbitrary frames of a dataset, for batches in random order."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from recap_core.data.frames import FrameTable
from recap_core.errors import DataError

type ImageColumns = Mapping[str, UInt8[np.ndarray, "n height width 3"]]
"""Camera feature to the images of all frames, by global index; may be memory-mapped."""


class FrameObservations:
    """What the robot sensed at any frames, by dataset feature."""

    def __init__(
        self,
        table: FrameTable,
        state_features: Sequence[str],
        images: ImageColumns | None = None,
    ) -> None:
        """Read the state columns.

        Args:
            table: The dataset.
            state_features: State columns.
            images: Camera features, in any size.

        Raises:
            ColumnError: If a column is missing.
            DataError: If a camera has not one image per frame.
        """
        self._columns: dict[str, np.ndarray] = {name: table.column(name) for name in state_features}
        for name, column in (images or {}).items():
            if len(column) != table.num_frames:
                raise DataError(
                    f"{name} has {len(column)} images, the dataset {table.num_frames} frames. "
                    "Remove the image cache to decode the videos again."
                )
            self._columns[name] = column
        self._tasks = np.array(table.tasks, dtype=np.str_)
        self._task_index = table.task_index

    def at(self, frames: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Feature to array, batch first."""
        return {name: column[frames] for name, column in self._columns.items()}

    def prompts(self, frames: Int[np.ndarray, " b"]) -> list[str]:
        """Task text of every frame."""
        return self._tasks[self._task_index[frames]].tolist()
