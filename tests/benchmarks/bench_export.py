"""v3.0 to v2.1, packet by packet, beside decoding and encoding every picture again."""

import shutil
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.data.export_v21 import ExportSummary, export_v21
from recap_core.data.layout import DatasetMeta, read_meta
from recap_core.data.video_files import encode_video, read_frames_in_order, rgb

NUM_ENCODED = 200


@pytest.mark.benchmark(group="export")
def bench_export_beside_encoding_again(
    benchmark: BenchmarkFixture, filmed: Path, tmp_path: Path
) -> None:
    """Frames, of three cameras each, per second; the bar is 10,000."""
    meta = read_meta(filmed)
    encoded_frames_per_s = _encoded_frames_per_s(meta, tmp_path)
    rounds = iter(range(1000))

    def export() -> ExportSummary:
        return export_v21(filmed, tmp_path / f"export-{next(rounds)}")

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
