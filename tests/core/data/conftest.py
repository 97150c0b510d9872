"""One recording and one dataset, written once; tests must not change them."""

from pathlib import Path

import pytest

from recap_core.data.synthetic import (
    SyntheticRobot,
    write_synthetic_dataset,
    write_synthetic_recording,
)

ROBOT = SyntheticRobot(environment_dims=3)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four raw episodes: a success, a rescue, a paused failure, a failure of another task."""
    return write_synthetic_recording(tmp_path_factory.mktemp("raw") / "recording", robot=ROBOT)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same episodes, converted."""
    root = tmp_path_factory.mktemp("converted") / "dataset"
    write_synthetic_dataset(root, robot=ROBOT)
    return root
