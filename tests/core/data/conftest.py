"""One recording and one dataset, written once; tests must not change them."""

from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes by LeRobot's own writer, all in one mp4, without our columns.

    ``intervention`` and ``next.success`` are boolean, as its DAgger and its evaluation write them.
    Episode 0 succeeds after a correction, 1 fails, 2 is of another task and succeeds early.
    """
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path_factory.mktemp("foreign") / "rollouts"
    scalar = {"shape": (1,), "names": None}
    features = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "observation.images.top": {
            "dtype": "video",
            "shape": (32, 32, 3),
            "names": ["height", "width", "channels"],
        },
        "intervention": {"dtype": "bool", **scalar},
        "next.success": {"dtype": "bool", **scalar},
        "note": {"dtype": "string", **scalar},
    }
    written = LeRobotDataset.create(
        "local/foreign",
        fps=10,
        features=features,
        root=root,
        robot_type="so101",
        rgb_encoder=RGBEncoderConfig(vcodec="h264", g=2, preset="veryfast"),
    )
    for episode, (length, corrected, succeeds_at) in enumerate(
        ((5, (2, 3), 4), (6, (), None), (4, (), 2))
    ):
        for t in range(length):
            written.add_frame(
                {
                    "observation.state": np.array([episode, t], dtype=np.float32),
                    "action": np.array([t, episode], dtype=np.float32),
                    "observation.images.top": np.full(
                        (32, 32, 3), 40 + 60 * episode + 10 * t, dtype=np.uint8
                    ),
                    "intervention": np.array([t in corrected]),
                    "next.success": np.array([succeeds_at is not None and t >= succeeds_at]),
                    "note": "ok",
                    "task": "lift" if episode < 2 else "push",
                }
            )
        written.save_episode()
    written.finalize()
    return root
