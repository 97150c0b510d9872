"""Videos decoded once for all datasets that share them."""

import logging
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from recap_core.data.frame_cache import FrameCache
from recap_core.data.video_files import encode_video
from recap_core.errors import DataError, EpisodeError
from recap_core.lineage.locks import claim

PX = 16
NUM_FRAMES = 6
FILE_BYTES = NUM_FRAMES * 3 * PX**2 + 8 * NUM_FRAMES + 40


def video(path: Path, shade: int) -> Path:
    """Six grey frames, each two levels brighter."""
    greys = range(shade, shade + 2 * NUM_FRAMES, 2)
    encode_video((np.full((32, 32, 3), g, np.uint8) for g in greys), path, fps=10)
    return path


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Three different videos."""
    return [video(tmp_path / f"{shade}.mp4", shade) for shade in (20, 90, 160)]


def frames(cache: FrameCache, path: Path) -> np.ndarray:
    """All images of a video, read from the cache."""
    cached = cache.open(path, image_px=PX)
    images = np.empty((len(cached.times_s), PX, PX, 3), np.uint8)
    for position, image in enumerate(images):
        cached.read(position, image)
    return images


def files(cache: FrameCache) -> dict[str, int]:
    """Files of the cache, and when they were written."""
    return {p.name: p.stat().st_mtime_ns for p in cache.directory.glob("*.frames")}


def test_a_video_is_decoded_once(videos: list[Path], tmp_path: Path) -> None:
    """Frames in order with their times; the second call, by another object, only reads."""
    cache = FrameCache(tmp_path / "cache")
    first = frames(cache, videos[0])
    before = files(cache)
    again = FrameCache(tmp_path / "cache")

    np.testing.assert_array_equal(frames(again, videos[0]), first)
    assert files(again) == before
    np.testing.assert_allclose(first.mean(axis=(1, 2, 3)), range(20, 32, 2), atol=3)
    cached = again.open(videos[0], image_px=PX)
    np.testing.assert_allclose(cached.times_s, np.arange(6) / 10)
    assert cached.path.stat().st_size == FILE_BYTES


def test_equal_videos_share_a_file_and_other_sizes_do_not(
    videos: list[Path], tmp_path: Path
) -> None:
    """The key is the content of the video, not its path, and the size of the images."""
    copy = tmp_path / "elsewhere.mp4"
    copy.write_bytes(videos[0].read_bytes())
    cache = FrameCache(tmp_path / "cache")

    opened = cache.prepare({videos[0]: 6, copy: 6}, image_px=PX)
    assert opened[videos[0]].path == opened[copy].path
    assert len(files(cache)) == 1

    cache.open(copy, image_px=8)
    assert len(files(cache)) == 2


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_bit_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_short, emptied, one_bit_flipped])
def test_a_damaged_file_is_decoded_again(
    videos: list[Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    """A wrong length or a single wrong bit: a warning, and the right images."""
    cache = FrameCache(tmp_path / "cache")
    expected = frames(cache, videos[0])
    path = next(cache.directory.glob("*.frames"))
    path.chmod(0o644)
    damage(path)

    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(frames(cache, videos[0]), expected)

    assert "is damaged" in caplog.text
    assert path.stat().st_size == FILE_BYTES


def test_what_a_killed_process_left_is_removed(videos: list[Path], tmp_path: Path) -> None:
    """A half-written draft is neither read nor kept, unless its writer is alive."""
    cache = FrameCache(tmp_path / "cache")
    cache.directory.mkdir()
    drafts = [cache.directory / f".{name}.frames.0123456789ab" for name in "ab"]
    for draft in drafts:
        draft.write_bytes(b"half")

    with claim(cache.directory / "b.lock", timeout_s=0, subject="a live writer"):
        cache.prepare({videos[0]: 6}, image_px=PX)
        assert [draft.exists() for draft in drafts] == [False, True]

    cache.prepare({videos[0]: 6}, image_px=PX)
    assert not drafts[1].exists()
    assert frames(cache, videos[0]).shape == (6, PX, PX, 3)


def _open_with_others(
    directory: Path, path: Path, ready: Barrier, results: "multiprocessing.Queue[bytes]"
) -> None:
    ready.wait()
    results.put(frames(FrameCache(directory), path).tobytes())


def test_two_processes_build_the_same_file(videos: list[Path], tmp_path: Path) -> None:
    """One decodes, the other waits; both read the same images, and one file is left."""
    context = multiprocessing.get_context("forkserver")
    ready, results = context.Barrier(2), context.Queue()
    arguments = (tmp_path / "cache", videos[0], ready, results)
    processes = [context.Process(target=_open_with_others, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    images = [results.get() for _ in processes]
    for process in processes:
        process.join()

    assert images[0] == images[1] == frames(FrameCache(tmp_path / "cache"), videos[0]).tobytes()
    assert len(files(FrameCache(tmp_path / "cache"))) == 1


def test_the_file_used_longest_ago_makes_room(videos: list[Path], tmp_path: Path) -> None:
    """Room for two: the third video replaces the one that was opened least recently."""
    cache = FrameCache(tmp_path / "cache", budget_bytes=2 * FILE_BYTES)
    names = [cache.prepare({v: 6}, image_px=PX)[v].path.name for v in videos[:2]]
    for age_s, name in zip((1000, 2000), names, strict=True):
        status = (cache.directory / name).stat()
        used_ns = status.st_atime_ns - age_s * 10**9
        os.utime(cache.directory / name, ns=(used_ns, status.st_mtime_ns))
    cache.open(videos[1], image_px=PX)  # now the first one is the older

    third = cache.prepare({videos[2]: 6}, image_px=PX)[videos[2]].path.name

    assert set(files(cache)) == {names[1], third}


def test_more_than_the_budget_is_an_error(videos: list[Path], tmp_path: Path) -> None:
    """Before anything is decoded; the message says what to do."""
    cache = FrameCache(tmp_path / "cache", budget_bytes=FILE_BYTES)

    with pytest.raises(DataError, match=r"may take 0\.0 GB.*image_cache_gb.*sampling\.order"):
        cache.prepare(dict.fromkeys(videos, 6), image_px=PX)

    assert not cache.directory.exists()


def test_the_default_budget_follows_the_disk(tmp_path: Path) -> None:
    """Most of what is free, also where the directory does not exist yet."""
    cache = FrameCache(tmp_path / "not" / "yet")

    assert 0 < cache.budget_bytes < os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert cache.fits(1, image_px=PX)
    assert not cache.fits(10**12, image_px=PX)


@pytest.mark.parametrize("kept", [0.25, 0.9])
def test_a_damaged_video_leaves_nothing_behind(
    videos: list[Path], tmp_path: Path, kept: float
) -> None:
    """Cut in its header or in a frame: the error names the video; no draft and no lock stays."""
    broken = tmp_path / "broken.mp4"
    content = videos[0].read_bytes()
    broken.write_bytes(content[: int(len(content) * kept)])
    cache = FrameCache(tmp_path / "cache")

    with pytest.raises(EpisodeError, match=r"broken\.mp4"):
        cache.prepare({broken: 12}, image_px=PX)

    assert list(cache.directory.iterdir()) == []


def test_a_missing_video_is_named(videos: list[Path], tmp_path: Path) -> None:
    """Before anything is decoded."""
    videos[1].unlink()

    with pytest.raises(EpisodeError, match=r"90\.mp4 cannot be read"):
        FrameCache(tmp_path / "cache").prepare(dict.fromkeys(videos, NUM_FRAMES), image_px=PX)
