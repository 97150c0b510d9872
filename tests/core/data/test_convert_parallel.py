"""Several episodes at a time: same bytes, bounded memory, same errors."""

import hashlib
import os
import shutil
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.dataset import ConvertConfig
from recap_core.data.convert import convert_recording
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_recording
from recap_core.data.video_files import encode_video
from recap_core.errors import EpisodeError
from recap_core.progress import Bar


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("target_fps", [None, 7], ids=["copied", "resampled"])
def test_the_number_of_workers_changes_no_byte(
    recording: Path, tmp_path: Path, target_fps: int | None
) -> None:
    """One episode at a time, or four: equal trees, also where videos are encoded anew."""
    for workers in (1, 4):
        convert_recording(
            recording,
            tmp_path / str(workers),
            ConvertConfig(target_fps=target_fps),
            round_index=1,
            source="monday",
            max_workers=workers,
        )

    assert digests(tmp_path / "1") == digests(tmp_path / "4")


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, str]] = []

    @contextmanager
    def bar(self, label: str, total: int, done: int = 0) -> Generator[Bar]:
        """A bar that remembers."""
        told = self.told

        class Told:
            def update(self, done: int, note: str = "") -> None:
                """Remember."""
                told.append((total, done, note))

        assert (label, done) == ("convert", 0)
        yield Told()


def test_progress_counts_episodes_in_order(recording: Path, tmp_path: Path) -> None:
    """Whoever finishes first, they are written and told one after the other."""
    watcher = Watcher()

    convert_recording(
        recording,
        tmp_path / "out",
        ConvertConfig(),
        round_index=1,
        source="monday",
        progress=watcher,
        max_workers=4,
    )

    names = sorted(path.name for path in recording.iterdir())
    assert watcher.told == [(4, number, name) for number, name in enumerate(names, start=1)]


def test_the_first_broken_episode_is_named_and_nothing_stays(tmp_path: Path) -> None:
    """Although a later one fails sooner, and others are being written meanwhile."""
    robot = SyntheticRobot(cameras=("head_camera",))
    recording = write_synthetic_recording(tmp_path / "raw", [SyntheticEpisode(length=8)] * 6, robot)
    episodes = sorted(recording.iterdir())
    black = (np.zeros((32, 32, 3), dtype=np.uint8) for _ in range(3))
    encode_video(black, episodes[2] / "head_camera.mp4", fps=10)
    (episodes[4] / "metadata.json").write_text("{}")

    with pytest.raises(EpisodeError, match=r"_0002: head_camera.mp4 holds 3 frames"):
        convert_recording(
            recording,
            tmp_path / "out",
            ConvertConfig(),
            round_index=1,
            source="monday",
            max_workers=4,
        )

    assert not (tmp_path / "out").exists()


def peak_mib(recording: Path, output: Path) -> float:
    tracemalloc.start()
    try:
        convert_recording(
            recording, output, ConvertConfig(), round_index=1, source="m", max_workers=2
        )
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Ten times the episodes: of each, only its row of ``meta/episodes`` may wait to be written.

    An episode's state and action are 0.43 MiB here; a quarter of that for the row is generous.
    """
    short = write_synthetic_recording(
        tmp_path / "short", [SyntheticEpisode(length=4000)] * 3, SyntheticRobot(cameras=())
    )
    long = tmp_path / "long"
    for episode in short.iterdir():
        for copy in range(10):
            shutil.copytree(episode, long / f"{episode.name}_{copy}", copy_function=os.link)
    peak_mib(short, tmp_path / "imports")

    growth = peak_mib(long, tmp_path / "long-out") - peak_mib(short, tmp_path / "short-out")

    assert growth / 27 < 0.43 / 4
