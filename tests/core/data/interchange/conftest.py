"""The frames of the dataset that labels are exchanged for."""

from pathlib import Path

import pytest

from recap_core.data.frames import FrameTable, read_frames


@pytest.fixture(scope="session")
def table(dataset: Path) -> FrameTable:
    """Four episodes, 46 frames, two tasks, 10 fps."""
    return read_frames(dataset)
