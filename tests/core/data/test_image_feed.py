"""Images of training batches, from the cache and decoded on the way."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.training import SamplingConfig
from recap_core.data.batches import FrameOrder, frame_sampler
from recap_core.data.frame_cache import FrameCache
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.image_feed import (
    CachedImages,
    DecodedImages,
    ImageMode,
    ImageSource,
    image_source,
)
from recap_core.data.merge import merge_datasets
from recap_core.data.relabel import write_adv_ind
from recap_core.data.shards import Shard
from recap_core.data.video import iter_camera_blocks
from recap_core.errors import ColumnError, DataError, EpisodeError

CAMERAS = ["observation.images.head_camera", "observation.images.right_wrist_camera"]
PX = 16
ALL = slice(None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FrameCache:
    return FrameCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=["one episode per video", "many episodes per video"])
def table(request: pytest.FixtureRequest, dataset: Path, long_videos: Path) -> FrameTable:
    """Four episodes, 46 frames; two ways to store them."""
    return read_frames(dataset if "one" in request.param else long_videos)


@pytest.fixture
def images(table: FrameTable) -> dict[str, np.ndarray]:
    """All images of a camera, decoded from start to end: what a batch's must equal."""
    (block,) = iter_camera_blocks(table.meta, CAMERAS, image_px=PX, block=64)
    return block.images


def order(table: FrameTable, *, batch_size: int = 8, **sampling: object) -> FrameOrder:
    config = SamplingConfig.model_validate({"block_episodes": 2} | sampling)
    return frame_sampler(table, config, batch_size=batch_size, seed=3)


def source(table: FrameTable, cache: FrameCache, mode: ImageMode) -> ImageSource:
    return image_source(table.meta, CAMERAS, image_px=PX, cache=cache, mode=mode)


@pytest.mark.parametrize("mode", ["cache", "decode"])
@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_every_way_gives_the_same_images(
    table: FrameTable,
    images: dict[str, np.ndarray],
    cache: FrameCache,
    mode: ImageMode,
    kind: str,
) -> None:
    """Bit for bit those of a pass through the whole dataset, over two epochs."""
    chosen = order(table, order=kind)
    feed = source(table, cache, mode).feed(chosen, ALL)

    for step in range(12):
        for camera, batch in feed(step).items():
            np.testing.assert_array_equal(batch, images[camera][chosen.indices(step)])


@pytest.mark.parametrize("mode", ["cache", "decode"])
def test_experts_keep_their_share_in_blocks(
    table: FrameTable, images: dict[str, np.ndarray], cache: FrameCache, mode: ImageMode
) -> None:
    """Two pools, each with blocks of its own."""
    chosen = order(table, order="blocks", expert_fraction=0.25)
    feed = source(table, cache, mode).feed(chosen, ALL)

    for step in range(8):
        frames = chosen.indices(step)
        assert table.is_intervention[frames].sum() == 2
        np.testing.assert_array_equal(feed(step)[CAMERAS[0]], images[CAMERAS[0]][frames])


@pytest.mark.parametrize("mode", ["cache", "decode"])
def test_a_resumed_feed_goes_on_where_it_was(
    table: FrameTable, cache: FrameCache, mode: ImageMode
) -> None:
    """A new feed asked for step 7 first, or steps out of order, gives what the first one gave."""
    chosen = order(table, order="blocks")
    first = source(table, cache, mode).feed(chosen, ALL)
    walked = [first(step)[CAMERAS[0]] for step in range(10)]

    resumed = source(table, cache, mode).feed(order(table, order="blocks"), ALL)

    for step in (7, 8, 9, 2):
        np.testing.assert_array_equal(resumed(step)[CAMERAS[0]], walked[step])


@pytest.mark.parametrize("mode", ["cache", "decode"])
@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_the_shards_of_a_batch_are_the_batch(
    table: FrameTable, cache: FrameCache, mode: ImageMode, kind: str
) -> None:
    """Four processes' images, in order, are a single process's."""
    chosen = order(table, order=kind)
    shared = source(table, cache, mode)
    whole = shared.feed(chosen, ALL)
    parts = [shared.feed(chosen, Shard(i, 4).rows(8)) for i in range(4)]

    for step in range(3):
        union = np.concatenate([part(step)[CAMERAS[1]] for part in parts])
        np.testing.assert_array_equal(union, whole(step)[CAMERAS[1]])


def test_relabelled_and_merged_datasets_decode_nothing_again(dataset: Path, tmp_path: Path) -> None:
    """They share the videos' content, so they share the files of the cache."""
    cache = FrameCache(tmp_path / "cache")
    write_adv_ind(dataset, tmp_path / "relabelled", np.ones(46, dtype=np.int8))
    merge_datasets([dataset, dataset, tmp_path / "relabelled"], tmp_path / "merged")
    CachedImages(read_frames(dataset).meta, CAMERAS, image_px=PX, cache=cache)
    files = {p: p.stat().st_mtime_ns for p in cache.directory.glob("*.frames")}
    assert len(files) == 8

    relabelled = read_frames(tmp_path / "relabelled")
    CachedImages(relabelled.meta, CAMERAS, image_px=PX, cache=cache)
    merged = read_frames(tmp_path / "merged")
    images = CachedImages(merged.meta, CAMERAS, image_px=PX, cache=cache).at(np.arange(138))

    assert {p: p.stat().st_mtime_ns for p in cache.directory.glob("*.frames")} == files
    for camera in CAMERAS:
        first, *others = np.split(images[camera], 3)
        assert all(np.array_equal(first, other) for other in others)


def test_a_file_that_vanishes_during_training_is_made_again(dataset: Path, tmp_path: Path) -> None:
    """Another training may have needed the room."""
    cache = FrameCache(tmp_path / "cache")
    images = CachedImages(read_frames(dataset).meta, CAMERAS, image_px=PX, cache=cache)
    expected = images.at(np.arange(46))
    for path in cache.directory.glob("*.frames"):
        path.unlink()

    again = images.at(np.array([45, 0]))

    for camera in CAMERAS:
        np.testing.assert_array_equal(again[camera], expected[camera][[45, 0]])


def test_too_large_for_the_cache(dataset: Path, tmp_path: Path) -> None:
    """Blocks are decoded on the way; random order is an error unless decoding is asked for."""
    meta = read_frames(dataset).meta
    small = FrameCache(tmp_path / "cache", budget_bytes=1000)

    def opened(mode: ImageMode, *, is_in_blocks: bool) -> ImageSource:
        return image_source(
            meta, CAMERAS, image_px=PX, cache=small, mode=mode, is_in_blocks=is_in_blocks
        )

    assert isinstance(opened("auto", is_in_blocks=True), DecodedImages)
    assert isinstance(opened("decode", is_in_blocks=False), DecodedImages)
    with pytest.raises(DataError, match="decoded images need"):
        opened("auto", is_in_blocks=False)
    with pytest.raises(DataError, match="decoded images need"):
        opened("cache", is_in_blocks=True)


def test_a_short_video_or_an_unknown_camera_is_an_error(
    dataset: Path, cache: FrameCache, tmp_path: Path
) -> None:
    """The message names the file and the episode, or the camera."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    folder = root / "videos" / CAMERAS[0] / "chunk-000"
    shutil.copy(folder / "file-003.mp4", folder / "file-001.mp4")
    with pytest.raises(EpisodeError, match=r"ends after 9 of the 15 frames of episode 1"):
        source(read_frames(root), cache, "cache")

    with pytest.raises(ColumnError, match=r"observation\.images\.top"):
        image_source(
            read_frames(dataset).meta, ["observation.images.top"], image_px=PX, cache=cache
        )
