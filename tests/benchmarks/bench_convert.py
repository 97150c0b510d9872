"""Conversion of raw episodes, beside lerobot's own writer fed with the same frames.

lerobot gets its best settings that lose no frame: h264 veryfast like ours, and streaming encoding
with a queue as long as an episode. Both start from the recorder's files and end with a dataset.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from lerobot.configs.video import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.dataset import ConvertConfig
from recap_core.data.columns import ACTION, STATE, recap_columns, recap_features
from recap_core.data.convert import convert_recording
from recap_core.data.raw_episode import RawEpisode, read_raw_episode
from recap_core.data.resample import hold_indices, interpolate, time_grid
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_recording
from recap_core.data.video_files import encode_video, read_frames_in_order, rgb

NUM_EPISODES, LENGTH, FPS, IMAGE_PX = 4, 150, 30, 224
CAMERAS = ("head_camera", "left_wrist_camera", "right_wrist_camera")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of 150 frames at 30 Hz, three cameras of 224 px with moving texture."""
    root = write_synthetic_recording(
        tmp_path_factory.mktemp("convert") / "raw",
        [SyntheticEpisode(length=LENGTH)] * NUM_EPISODES,
        SyntheticRobot(cameras=CAMERAS, fps=FPS),
    )
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (len(CAMERAS), 28, 28, 3), dtype=np.uint8)
    for episode, (camera, tile) in itertools.product(
        sorted(root.iterdir()), zip(CAMERAS, tiles, strict=True)
    ):
        texture = tile.repeat(IMAGE_PX // 28, axis=0).repeat(IMAGE_PX // 28, axis=1)
        frames = (np.roll(texture, t, axis=1) for t in range(LENGTH))
        encode_video(frames, episode / f"{camera}.mp4", fps=FPS)
    return root


@pytest.mark.benchmark(group="convert")
@pytest.mark.parametrize("target_fps", [None, 10], ids=["copy", "resample"])
def bench_convert_beside_lerobot(
    benchmark: BenchmarkFixture, recording: Path, tmp_path: Path, target_fps: int | None
) -> None:
    """Rows per second, and how many times those of lerobot's writer, in the same run."""
    runs = itertools.count()

    def ours() -> int:
        output, config = tmp_path / f"ours-{next(runs)}", ConvertConfig(target_fps=target_fps)
        return convert_recording(
            recording, output, config, round_index=1, source="bench"
        ).num_frames

    ours()  # imports, and files into the page cache
    began, cpu = time.perf_counter(), time.process_time()
    num_rows = _lerobot(recording, tmp_path / "theirs", target_fps)
    theirs_s, theirs_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    cpu = time.process_time()
    assert benchmark.pedantic(ours, rounds=3) == num_rows
    ours_cpu_s = (time.process_time() - cpu) / 3
    assert benchmark.stats is not None
    benchmark.extra_info["rows_per_s"] = num_rows / benchmark.stats["min"]
    benchmark.extra_info["times_faster_than_lerobot"] = theirs_s / benchmark.stats["min"]
    benchmark.extra_info["times_less_cpu_than_lerobot"] = theirs_cpu_s / ours_cpu_s


def _lerobot(recording: Path, output: Path, target_fps: int | None) -> int:
    episodes = sorted(recording.iterdir())
    first = read_raw_episode(episodes[0])
    image = {"dtype": "video", "shape": (IMAGE_PX, IMAGE_PX, 3), "names": ["height", "width", "c"]}
    vector = {"dtype": "float32", "shape": (14,), "names": list(first.state_names)}
    columns = {name: {**ft, "shape": (1,)} for name, ft in recap_features().items()}
    dataset = LeRobotDataset.create(
        "local/bench",
        fps=target_fps or FPS,
        features={
            STATE: vector,
            ACTION: vector,
            **{f"observation.images.{camera}": image for camera in CAMERAS},
            **columns,
        },
        root=output,
        rgb_encoder=RGBEncoderConfig(vcodec="h264", preset="veryfast", crf=18),
        streaming_encoding=True,
        encoder_queue_maxsize=LENGTH + 1,
    )
    for path in episodes:
        for frame in _lerobot_frames(read_raw_episode(path), target_fps):
            dataset.add_frame(frame)
        dataset.save_episode()
    dataset.finalize()
    return dataset.num_frames


def _lerobot_frames(episode: RawEpisode, target_fps: int | None) -> list[dict[str, object]]:
    """The rows of one episode as ``add_frame`` wants them, resampled the way a user would."""
    times = episode.timestamps
    grid = times if target_fps is None else time_grid(times, target_fps)
    kept = hold_indices(times, grid)
    images = {
        name: [rgb(frame) for frame in read_frames_in_order(camera.path)]
        for name, camera in episode.cameras.items()
    }
    state, action = (interpolate(values, times, grid) for values in (episode.state, episode.action))
    columns = recap_columns(episode.phase[kept], success=episode.success, demonstration=False)
    return [
        {
            STATE: state[row],
            ACTION: action[row],
            "task": episode.task,
            **{f"observation.images.{name}": images[name][source] for name in images},
            **{
                name: str(values[row]) if values.dtype.kind == "U" else values[row : row + 1]
                for name, values in columns.items()
            },
        }
        for row, source in enumerate(kept)
    ]
