"""Images of a dataset."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from recap_core.data.image_fit import fit_image
from recap_core.data.shards import Shard
from recap_core.data.synthetic import synthetic_grey
from recap_core.data.video import decode_frames, iter_camera_blocks
from recap_core.errors import ColumnError, EpisodeError

CAMERAS = ("observation.images.head_camera", "observation.images.right_wrist_camera")
LENGTHS = [12, 15, 10, 9]
GOLDEN = Path(__file__).parents[2] / "golden/openpi/images.npz"


def expected_greys(camera: int) -> np.ndarray:
    parts = [synthetic_grey(number, length, camera) for number, length in enumerate(LENGTHS)]
    return np.concatenate(parts)


def test_blocks_run_through_all_episodes(dataset: Path) -> None:
    """Cameras in lockstep, full blocks across episodes, every frame once and in order."""
    blocks = list(iter_camera_blocks(dataset, CAMERAS, block=20))

    assert [len(block.indices) for block in blocks] == [20, 20, 6]
    indices = np.concatenate([block.indices for block in blocks])
    np.testing.assert_array_equal(indices, np.arange(46))
    for camera, number in zip(CAMERAS, (0, 2), strict=True):
        images = np.concatenate([block.images[camera] for block in blocks])
        assert images.shape == (46, 32, 32, 3)
        np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), expected_greys(number), atol=3)


def test_some_episodes_in_another_order(dataset: Path) -> None:
    """A shard decodes only its own episodes; indices stay global."""
    blocks = list(iter_camera_blocks(dataset, CAMERAS[:1], episodes=[3, 0]))

    indices = np.concatenate([block.indices for block in blocks])
    np.testing.assert_array_equal(indices, [*range(37, 46), *range(12)])
    images = np.concatenate([block.images[CAMERAS[0]] for block in blocks])
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), expected_greys(0)[indices], atol=3)


@pytest.mark.parametrize(
    ("episodes", "num_opened"),
    [([0, 1, 2, 3], 1), ([0, 2, 3], 1), ([1, 0], 2), ([2, 2], 2)],
)
def test_a_video_of_many_episodes_is_decoded_on(
    long_videos: Path, monkeypatch: pytest.MonkeyPatch, episodes: list[int], num_opened: int
) -> None:
    """It is opened once while episodes follow each other, and again to go back."""
    opened = []
    open_container = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: opened.append(a) or open_container(*a, **k))

    blocks = list(iter_camera_blocks(long_videos, CAMERAS[:1], episodes=episodes, block=7))

    assert len(opened) == num_opened
    indices = np.concatenate([block.indices for block in blocks])
    images = np.concatenate([block.images[CAMERAS[0]] for block in blocks])
    assert len(images) == sum(LENGTHS[e] for e in episodes)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), expected_greys(0)[indices], atol=4)


def test_the_shards_of_a_pass_are_the_pass(long_videos: Path) -> None:
    """Two processes, each with its range of episodes, decode what one does, bit for bit."""
    (whole,) = iter_camera_blocks(long_videos, CAMERAS, image_px=24, block=64)
    lengths = np.array(LENGTHS)
    parts = [
        block
        for i in range(2)
        for block in iter_camera_blocks(
            long_videos, CAMERAS, image_px=24, block=8, episodes=Shard(i, 2).episodes(lengths)
        )
    ]

    np.testing.assert_array_equal(np.concatenate([p.indices for p in parts]), whole.indices)
    for camera in CAMERAS:
        images = np.concatenate([part.images[camera] for part in parts])
        np.testing.assert_array_equal(images, whole.images[camera])


def test_chosen_frames_equal_sequential_ones(dataset: Path) -> None:
    """Any order, repeats, far apart or close together."""
    (block,) = iter_camera_blocks(dataset, CAMERAS, block=64, image_px=48)
    indices = np.array([45, 3, 3, 4, 13, 26, 27, 0])

    images = decode_frames(dataset, CAMERAS, indices, image_px=48)

    for camera in CAMERAS:
        np.testing.assert_array_equal(images[camera], block.images[camera][indices])


def test_no_cameras_no_images(dataset: Path) -> None:
    """A model without views still gets its blocks."""
    blocks = list(iter_camera_blocks(dataset, (), block=30))

    assert [len(block.indices) for block in blocks] == [30, 16]
    assert blocks[0].images == {}


def test_a_reader_may_stop_early(dataset: Path) -> None:
    """The rest is not decoded, and no thread is left behind."""
    blocks = iter_camera_blocks(dataset, CAMERAS, block=4)
    next(blocks)
    blocks.close()


def test_a_short_or_missing_video_is_an_error(dataset: Path, tmp_path: Path) -> None:
    """The message names the file and the episode."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    folder = root / "videos" / CAMERAS[0] / "chunk-000"
    shutil.copy(folder / "file-003.mp4", folder / "file-001.mp4")
    with pytest.raises(EpisodeError, match=r"ends after 9 of the 15 frames of episode 1"):
        list(iter_camera_blocks(root, CAMERAS))

    (folder / "file-001.mp4").unlink()
    with pytest.raises(EpisodeError, match=r"file-001.mp4 cannot be opened"):
        list(iter_camera_blocks(root, CAMERAS))


def test_an_unknown_camera_is_an_error(dataset: Path) -> None:
    """The message lists the features."""
    with pytest.raises(ColumnError, match=r"has no column observation\.images\.top"):
        next(iter_camera_blocks(dataset, ("observation.images.top",)))


def test_fitting_equals_the_published_client() -> None:
    """The reference's resize with padding, pixel by pixel (Pillow 11 and newer)."""
    golden = np.load(GOLDEN)
    names = [name for name in golden if name.endswith("in_uint8")]
    checked = 0
    for name in names:
        image, expected = golden[name], golden[name.replace("in_uint8", "client_pil_uint8")]
        if image.ndim == 3 and expected.shape[0] == expected.shape[1]:
            np.testing.assert_array_equal(fit_image(image, *expected.shape[:2]), expected)
            checked += 1
    assert checked >= 5
