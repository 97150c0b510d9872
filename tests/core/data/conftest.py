"""One recording and one dataset, written once; tests must not change them."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.data.frames import read_frames
from recap_core.data.layout import EPISODES_PATH
from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    write_synthetic_dataset,
    write_synthetic_recording,
)
from recap_core.data.video import iter_camera_blocks
from recap_core.data.video_files import encode_video

ROBOT = SyntheticRobot(environment_dims=3)
SMALL_ROBOT = SyntheticRobot(cameras=("head_camera",), arms=("left",))
SMALL_EPISODES = [
    SyntheticEpisode(length=6, interventions=(2,)),
    SyntheticEpisode(length=5, success=False),
]


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


@pytest.fixture(scope="session")
def long_videos(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same episodes, all of a camera's frames in one mp4, as LeRobot's writer lays them out."""
    root = shutil.copytree(dataset, tmp_path_factory.mktemp("long") / "dataset")
    table = read_frames(dataset)
    episodes = root / EPISODES_PATH.format(chunk_index=0, file_index=0)
    rows = pq.read_table(episodes)
    for camera in table.meta.cameras:
        (block,) = iter_camera_blocks(dataset, [camera], block=100)
        shutil.rmtree(root / "videos" / camera)
        target = table.meta.video_path(camera, 0, 0)
        target = root / target.relative_to(dataset)
        target.parent.mkdir(parents=True)
        encode_video(block.images[camera], target, fps=table.fps)
        for name, values in (
            ("file_index", np.zeros(4, np.int64)),
            ("from_timestamp", table.episode_starts / table.fps),
            ("to_timestamp", table.episode_ends / table.fps),
        ):
            column = f"videos/{camera}/{name}"
            rows = rows.set_column(rows.column_names.index(column), column, pa.array(values))
    pq.write_table(rows, episodes)
    return root


@pytest.fixture(scope="session")
def adopted(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The foreign dataset, imported with no setting at all."""
    from recap_core.config.import_dataset import ImportConfig
    from recap_core.data.adopt import adopt_dataset

    root = tmp_path_factory.mktemp("adopted") / "dataset"
    adopt_dataset(foreign, root, ImportConfig(source="lab-a"))
    return root


@pytest.fixture(scope="session")
def small_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short raw episodes of one arm and one camera: a rescue and a failure."""
    root = tmp_path_factory.mktemp("good") / "recording"
    return write_synthetic_recording(root, SMALL_EPISODES, SMALL_ROBOT)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, converted."""
    root = tmp_path_factory.mktemp("good") / "dataset"
    write_synthetic_dataset(root, SMALL_EPISODES, SMALL_ROBOT)
    return root
