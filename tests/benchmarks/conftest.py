"""Benchmarks run without shape checks, and say their ratios at the end."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from recap_core.data.merge import merge_datasets
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.data.video_files import encode_video

EPISODE_LENGTH = 500
NUM_EPISODES = 20


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty episodes of 500 frames, three cameras at 224 px; they compress as real ones do."""
    root = tmp_path_factory.mktemp("filmed")
    write_synthetic_dataset(
        root / "two",
        [SyntheticEpisode(length=EPISODE_LENGTH)] * 2,
        SyntheticRobot(image_px=224, fps=30),
    )
    for path in sorted((root / "two").rglob("*.mp4")):
        path.unlink()
        encode_video(_textured_frames(), path, fps=30)
    merge_datasets([root / "two"] * (NUM_EPISODES // 2), root / "dataset")
    return root / "dataset"


def _textured_frames() -> Generator[np.ndarray]:
    """A coarse texture that moves under fine noise: about two kilobytes per frame."""
    rng = np.random.default_rng(0)
    texture = rng.integers(60, 190, (14, 14, 3)).repeat(16, axis=0).repeat(16, axis=1)
    for t in range(EPISODE_LENGTH):
        noise = rng.integers(-3, 4, texture.shape)
        yield (np.roll(texture, t, axis=1) + noise).astype(np.uint8)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each benchmark noted beside its time."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    for run in getattr(session, "benchmarks", []):
        notes = ", ".join(f"{name} = {value:.3g}" for name, value in run.extra_info.items())
        terminalreporter.write_line(f"{run.name}: {notes}")
