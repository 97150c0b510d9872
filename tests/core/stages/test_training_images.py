"""Where the training stages find their images."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.config.training import SamplingConfig, TrainConfig, TrainRuntime
from recap_core.data.frames import read_frames
from recap_core.data.image_feed import CachedImages, DecodedImages, ImageSource
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import DataError
from recap_core.lineage.store import Store
from recap_core.stages.train_policy import training_images

CAMERA = "observation.images.head_camera"
BLOCKS = TrainConfig(sampling=SamplingConfig(order="blocks"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One episode of six frames."""
    root = tmp_path_factory.mktemp("data") / "dataset"
    robot = SyntheticRobot(num_joints=1, cameras=("head_camera",))
    write_synthetic_dataset(root, [SyntheticEpisode(length=6)], robot)
    return root


def opened(dataset: Path, home: Path, config: TrainConfig, **runtime: object) -> ImageSource:
    return training_images(
        read_frames(dataset),
        [CAMERA],
        config,
        image_px=16,
        store=Store(home),
        runtime=TrainRuntime.model_validate(runtime),
        progress=None,
    )


def test_decoded_videos_are_kept_in_the_store(dataset: Path, tmp_path: Path) -> None:
    """The second training of the same store finds what the first one decoded."""
    first = opened(dataset, tmp_path, TrainConfig())
    (file,) = (tmp_path / "cache" / "frames").glob("*.frames")
    written_ns = file.stat().st_mtime_ns

    second = opened(dataset, tmp_path, BLOCKS)

    assert file.stat().st_mtime_ns == written_ns
    assert isinstance(first, CachedImages)
    assert isinstance(second, CachedImages)
    frames = np.arange(6)
    np.testing.assert_array_equal(first.at(frames)[CAMERA], second.at(frames)[CAMERA])


def test_the_limit_is_the_runtimes(dataset: Path, tmp_path: Path) -> None:
    """Over 4 kB: blocks are decoded on the way, a random order cannot be."""
    limit_gb = 4e-6

    assert isinstance(opened(dataset, tmp_path, BLOCKS, image_cache_gb=limit_gb), DecodedImages)
    with pytest.raises(DataError, match="decoded images need"):
        opened(dataset, tmp_path, TrainConfig(), image_cache_gb=limit_gb)
