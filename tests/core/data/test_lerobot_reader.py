"""LeRobot's own reader opens what we write, and we read what its writer writes."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from recap_core.data.export_v21 import export_v21
from recap_core.data.feature_statistics import ImageStatistics, vector_statistics
from recap_core.data.frames import read_frames
from recap_core.data.import_v21 import import_v21
from recap_core.data.lerobot_bridge import open_dataset
from recap_core.data.merge import merge_datasets
from recap_core.data.relabel import write_adv_ind
from recap_core.data.video import decode_frames, iter_camera_blocks
from tests.core.data.shared_videos import v30_checksums

HEAD = "observation.images.head_camera"


def check_equal(root: Path) -> None:
    """Every column and every picture of every frame, through both readers."""
    theirs, ours = open_dataset(root), read_frames(root)
    assert len(theirs) == ours.num_frames
    columns = {
        name: ours.column(name)
        for name, feature in ours.meta.features.items()
        if feature["dtype"] != "video"
    }
    images = {}
    for block in iter_camera_blocks(root, ours.meta.cameras, block=1000):
        images = block.images
    for index in range(ours.num_frames):
        item = cast("dict[str, Any]", theirs[index])
        for name, values in columns.items():
            value = item[name] if isinstance(item[name], str) else item[name].numpy()
            np.testing.assert_array_equal(value, values[index])
        for camera, pixels in images.items():
            shown = item[camera].permute(1, 2, 0).numpy()
            np.testing.assert_allclose(shown.astype(int), pixels[index].astype(int), atol=1)
        assert item["task"] == ours.tasks[ours.task_index[index]]


def test_every_frame_of_a_converted_dataset(dataset: Path) -> None:
    """Columns exact, pictures to one grey level, task texts."""
    check_equal(dataset)


def test_every_frame_of_the_committed_dataset() -> None:
    """What we wrote once stays readable."""
    check_equal(Path(__file__).parents[2] / "golden" / "datasets" / "v30")


def test_every_frame_of_a_merged_and_relabelled_dataset(dataset: Path, tmp_path: Path) -> None:
    """Shared videos and rewritten parquet are a dataset like any other."""
    merge_datasets([dataset, dataset], tmp_path / "merged")
    write_adv_ind(tmp_path / "merged", tmp_path / "relabelled", np.ones(92, dtype=np.int8))

    check_equal(tmp_path / "relabelled")


def test_action_windows_and_statistics(dataset: Path) -> None:
    """delta_timestamps pad at the end of an episode; every numeric feature has statistics."""
    opened = open_dataset(dataset, delta_timestamps={"action": [0.0, 0.1, 0.2]})

    item = cast("dict[str, Any]", opened[10])

    actions = read_frames(dataset).column("action")
    np.testing.assert_array_equal(item["action"].numpy(), actions[[10, 11, 11]])
    assert item["action_is_pad"].tolist() == [False, False, True]
    assert opened.meta.stats is not None
    wanted = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    for name, feature in opened.meta.features.items():
        if feature["dtype"] != "string":
            assert wanted <= set(opened.meta.stats[name])
    assert opened.meta.stats[HEAD]["mean"].shape == (3, 1, 1)


def test_our_statistics_are_theirs() -> None:
    """Same numbers for vectors and images; quantiles to one bin of their histogram."""
    from lerobot.datasets.compute_stats import get_feature_stats

    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 3)).astype(np.float32)
    pictures = rng.integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
    counted = ImageStatistics()
    for picture in pictures:
        counted.add(picture.transpose(1, 2, 0))

    for ours, theirs, scale in (
        (vector_statistics(values), get_feature_stats(values, axis=0, keepdims=False), 1.0),
        (
            counted.result(),
            get_feature_stats(pictures, axis=(0, 2, 3), keepdims=True),
            255.0,
        ),
    ):
        span = (theirs["max"] - theirs["min"]).max() / scale
        for name, value in theirs.items():
            expected = value if name == "count" else np.squeeze(value) / scale
            # Theirs are float32 sums; ours are exact.
            tolerance = span / 5000 * 1.01 if name[0] == "q" else 1e-4
            np.testing.assert_allclose(np.squeeze(ours[name]), expected, atol=tolerance)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset by LeRobot's writer: two episodes in one mp4, no phase, no round."""
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path_factory.mktemp("foreign") / "dataset"
    features = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        HEAD: {"dtype": "video", "shape": (32, 32, 3), "names": ["height", "width", "channels"]},
    }
    written = LeRobotDataset.create(
        "local/foreign",
        fps=10,
        features=features,
        root=root,
        rgb_encoder=RGBEncoderConfig(vcodec="h264", g=2, preset="veryfast"),
    )
    for episode in range(2):
        for t in range(5 + episode):
            written.add_frame(
                {
                    "observation.state": np.array([episode, t], dtype=np.float32),
                    "action": np.array([t, episode], dtype=np.float32),
                    HEAD: np.full((32, 32, 3), 40 + 100 * episode + 10 * t, dtype=np.uint8),
                    "task": "lift" if episode else "push",
                }
            )
        written.save_episode()
    written.finalize()
    return root


def test_a_dataset_by_lerobots_writer_is_read(foreign: Path) -> None:
    """Several episodes in one mp4: pictures are found by their time."""
    table = read_frames(foreign)
    assert table.episode_lengths.tolist() == [5, 6]
    assert table.column("observation.state")[:, 1].tolist() == [*range(5), *range(6)]

    indices = np.array([10, 4, 5, 0])
    shades = decode_frames(foreign, [HEAD], indices)[HEAD].mean(axis=(1, 2, 3))

    np.testing.assert_allclose(shades, [190, 80, 140, 40], atol=4)


def test_a_dataset_by_lerobots_writer_is_merged(foreign: Path, tmp_path: Path) -> None:
    """Its shared mp4 is linked once, and LeRobot opens the result."""
    merge_datasets([foreign, foreign], tmp_path / "merged")

    assert len(list((tmp_path / "merged").rglob("*.mp4"))) == 2
    assert read_frames(tmp_path / "merged").sources == ("dataset",) * 4
    check_equal(tmp_path / "merged")


def test_a_dataset_by_lerobots_writer_goes_to_v21_and_back(foreign: Path, tmp_path: Path) -> None:
    """Its episodes share an mp4 and have odd lengths; rows and pictures stay, bit by bit."""
    exported = export_v21(foreign, tmp_path / "v21")
    import_v21(tmp_path / "v21", tmp_path / "back")

    assert (exported.num_videos, exported.num_encoded_videos) == (2, 0)
    check_equal(tmp_path / "back")
    before, after = read_frames(foreign), read_frames(tmp_path / "back")
    for name in ("observation.state", "action", "timestamp", "index", "task_index"):
        np.testing.assert_array_equal(after.column(name), before.column(name))
    assert v30_checksums(tmp_path / "back") == v30_checksums(foreign)
