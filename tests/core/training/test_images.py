"""Decoding a dataset's videos once."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.data.frames import FrameTable
from recap_core.data.synthetic import synthetic_grey
from recap_core.training.images import decoded_images
from tests.core.training import robot

CAMERAS = ["observation.images.head_camera", "observation.images.left_wrist_camera"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes with two cameras."""
    root = tmp_path_factory.mktemp("data") / "dataset"
    return robot.dataset(root, cameras=("head_camera", "left_wrist_camera"))


def test_every_frame_of_every_camera_is_there(table: FrameTable, tmp_path: Path) -> None:
    """Grey levels by global index, within what video compression changes, at the asked size."""
    images = decoded_images(table, CAMERAS, image_px=16, work=tmp_path)

    for number, camera in enumerate(CAMERAS):
        expected = np.concatenate(
            [synthetic_grey(e, int(n), number) for e, n in enumerate(table.episode_lengths)]
        )
        assert images[camera].shape == (46, 16, 16, 3)
        means = images[camera].astype(float).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means, expected, atol=4)


def test_a_second_call_decodes_nothing(table: FrameTable, tmp_path: Path) -> None:
    """The same videos and size find the finished files; another size makes new ones."""
    decoded_images(table, CAMERAS, image_px=16, work=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("images-*/*.npy")}

    decoded_images(table, CAMERAS, image_px=16, work=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("images-*/*.npy")} == files

    decoded_images(table, CAMERAS, image_px=8, work=tmp_path)
    assert len(list(tmp_path.glob("images-*"))) == 2


def test_what_a_kill_left_behind_is_decoded_again(table: FrameTable, tmp_path: Path) -> None:
    """Half-written files are not taken for finished ones."""
    first = decoded_images(table, CAMERAS, image_px=16, work=tmp_path)
    expected = {camera: images.copy() for camera, images in first.items()}
    finished = next(tmp_path.glob("images-*"))
    leftover = finished.rename(tmp_path / f".tmp-{finished.name}")
    (leftover / f"{CAMERAS[0]}.npy").write_bytes(b"half")

    images = decoded_images(table, CAMERAS, image_px=16, work=tmp_path)

    for camera in CAMERAS:
        np.testing.assert_array_equal(images[camera], expected[camera])
    assert not leftover.exists()
