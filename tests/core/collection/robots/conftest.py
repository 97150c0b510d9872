"""Recordings and pretended lerobot devices for the tests of robots."""

from pathlib import Path

import pytest

from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    write_synthetic_recording,
)

NUM_ROWS = (12, 9)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of 12 and 9 rows, one camera, at 10 Hz."""
    episodes = [SyntheticEpisode(length=length) for length in NUM_ROWS]
    directory = tmp_path_factory.mktemp("recording")
    return write_synthetic_recording(directory, episodes, SyntheticRobot(cameras=("head",)))


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A plugin package of lerobot that works, and one that does not, as if they were installed."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "plugins"))
    # lerobot makes a directory for calibrations when it makes a device; it reads this once.
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "lerobot"))
