"""v3.0 to v2.1, packet by packet, beside decoding and encoding every picture again."""

import shutil
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.data.export_v21 import ExportSummary, export_v21
from recap_core.data.layout import DatasetMeta, read_meta
from recap_core.data.merge import merge_datasets
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.data.video_files import encode_video, read_frames_in_order, rgb

EPISODE_LENGTH = 500
NUM_EPISODES = 20
NUM_ENCODED = 200


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty episodes of 500 frames, three cameras at 224 px."""
    root = tmp_path_factory.mktemp("export")
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
    """A coarse texture that moves under fine noise: about two kilobytes per frame, as real ones."""
    rng = np.random.default_rng(0)
    texture = rng.integers(60, 190, (14, 14, 3)).repeat(16, axis=0).repeat(16, axis=1)
    for t in range(EPISODE_LENGTH):
        noise = rng.integers(-3, 4, texture.shape)
        yield (np.roll(texture, t, axis=1) + noise).astype(np.uint8)


@pytest.mark.benchmark(group="export")
def bench_export_beside_encoding_again(
    benchmark: BenchmarkFixture, dataset: Path, tmp_path: Path
) -> None:
    """Frames, of three cameras each, per second; the bar is 10,000."""
    meta = read_meta(dataset)
    encoded_frames_per_s = _encoded_frames_per_s(meta, tmp_path)
    rounds = iter(range(1000))

    def export() -> ExportSummary:
        return export_v21(dataset, tmp_path / f"export-{next(rounds)}")

    summary = benchmark.pedantic(export, rounds=3, warmup_rounds=1)
    assert summary.num_encoded_videos == 0
    assert benchmark.stats is not None
    frames_per_s = summary.num_frames / benchmark.stats["min"]
    benchmark.extra_info["frames_of_3_cameras_per_s"] = frames_per_s
    benchmark.extra_info["bytes_per_picture"] = summary.num_bytes / (3 * summary.num_frames)
    benchmark.extra_info["times_faster_than_encoding"] = frames_per_s / encoded_frames_per_s
    shutil.rmtree(tmp_path)


def _encoded_frames_per_s(meta: DatasetMeta, scratch: Path) -> float:
    """Frames of all cameras per second through decoder and encoder, on one thread."""
    began = time.perf_counter()
    for camera in meta.cameras:
        frames = read_frames_in_order(meta.video_path(camera, 0, 0))
        images = (rgb(frame) for frame, _ in zip(frames, range(NUM_ENCODED), strict=False))
        encode_video(images, scratch / f"{camera}.mp4", fps=meta.fps)
    return NUM_ENCODED / (time.perf_counter() - began)
