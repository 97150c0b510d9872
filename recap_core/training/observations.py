"""Observations of arbitrary frames of a dataset but their images, for batches in any order."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from recap_core.data.frames import FrameTable


class FrameObservations:
    """What the robot's joints sensed at any frames, by dataset feature, and what it was told."""

    def __init__(self, table: FrameTable, state_features: Sequence[str]) -> None:
        """Read the state columns.

        Args:
            table: The dataset.
            state_features: State columns.

        Raises:
            ColumnError: If a column is missing.
        """
        # lerobot hands out float32 whatever is stored, and so openpi trains on that.
        self._columns = {
            name: table.column(name).astype(np.float32, copy=False) for name in state_features
        }
        self._tasks = np.array(table.tasks, dtype=np.str_)
        self._task_index = table.task_index

    def at(self, frames: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Feature to array, batch first."""
        return {name: column[frames] for name, column in self._columns.items()}

    def prompts(self, frames: Int[np.ndarray, " b"]) -> list[str]:
        """Task text of every frame."""
        return self._tasks[self._task_index[frames]].tolist()
