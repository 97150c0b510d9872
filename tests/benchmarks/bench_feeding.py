"""Images for value inference and for training, beside lerobot's own reader."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.training import SamplingConfig
from recap_core.data.batches import frame_sampler
from recap_core.data.frame_cache import FrameCache
from recap_core.data.frames import read_frames
from recap_core.data.image_feed import CachedImages, DecodedImages
from recap_core.data.lerobot_bridge import open_dataset
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.data.video import iter_camera_blocks

NUM_ROUNDS = 5
NUM_RANDOM = 60
BATCH = 32
PX = 224


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of 150 frames, three cameras at 224 px."""
    root = tmp_path_factory.mktemp("feeding") / "dataset"
    episodes = [SyntheticEpisode(length=150) for _ in range(4)]
    write_synthetic_dataset(root, episodes, SyntheticRobot(image_px=PX))
    return root


@pytest.mark.benchmark(group="feeding")
def bench_feeds_beside_lerobot(benchmark: BenchmarkFixture, dataset: Path, tmp_path: Path) -> None:
    """Rows per second (a row is three images) of every feed over ``LeRobotDataset[i]``.

    Medians of the ratios of interleaved rounds, because the machine's speed changes. The bar for
    sequential decoding over random access is 10. The time is that of one round.
    """
    theirs, table = open_dataset(dataset), read_frames(dataset)
    cameras = list(table.meta.cameras)
    picks = np.random.default_rng(0).permutation(len(theirs))[:NUM_RANDOM]
    theirs[0]  # opens files
    cached = CachedImages(table.meta, cameras, image_px=PX, cache=FrameCache(tmp_path / "cache"))
    order = frame_sampler(table, SamplingConfig(), batch_size=BATCH, seed=0)
    from_cache = cached.feed(order, slice(None))
    in_blocks = SamplingConfig(order="blocks", block_episodes=1)
    block_order = frame_sampler(table, in_blocks, batch_size=BATCH, seed=0)
    decoded = DecodedImages(table.meta, cameras, image_px=PX)

    def blocks() -> int:
        feed = decoded.feed(block_order, slice(None))
        return BATCH * len([feed(step) for step in range(table.num_frames // BATCH)])

    readers: dict[str, Callable[[], int]] = {
        "lerobot_random": lambda: len([theirs[int(i)] for i in picks]),
        "lerobot_sequential": lambda: len([theirs[i] for i in range(NUM_RANDOM)]),
        "sequential": lambda: sum(
            len(block.indices) for block in iter_camera_blocks(table.meta, cameras)
        ),
        "cache": lambda: BATCH * len([from_cache(step) for step in range(10)]),
        "blocks": blocks,
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}

    def one_round() -> None:
        for name, read in readers.items():
            began = time.perf_counter()
            num_rows = read()
            rates[name].append(num_rows / (time.perf_counter() - began))

    benchmark.pedantic(one_round, rounds=NUM_ROUNDS)
    for name, found in rates.items():
        benchmark.extra_info[f"{name}_rows_per_s"] = float(np.median(found))
        for base in ("lerobot_random", "lerobot_sequential"):
            if not name.startswith("lerobot"):
                ratio = np.median(np.array(found) / np.array(rates[base]))
                benchmark.extra_info[f"{name}_over_{base}"] = float(ratio)


@pytest.mark.benchmark(group="feeding")
@pytest.mark.parametrize("mode", ["sequential", "cache", "blocks"])
def bench_memory_is_flat(benchmark: BenchmarkFixture, tmp_path: Path, mode: str) -> None:
    """Peak memory of a process that feeds 5 and 50 episodes of 60 frames, three 96 px cameras."""
    megabytes: dict[int, float] = {}

    def feed_both() -> None:
        for num_episodes in (5, 50):
            root = tmp_path / f"{num_episodes}"
            command = [sys.executable, str(Path(__file__).with_name("feeding_memory.py"))]
            arguments = [str(root), mode, "96", str(tmp_path / "cache")]
            found = subprocess.run(  # noqa: S603 - our own script
                command + arguments, check=True, capture_output=True, text=True
            )
            megabytes[num_episodes] = float(found.stdout)

    for num_episodes in (5, 50):
        episodes = [SyntheticEpisode(length=60)] * num_episodes
        write_synthetic_dataset(tmp_path / f"{num_episodes}", episodes, SyntheticRobot(image_px=96))
    benchmark.pedantic(feed_both, rounds=1)
    benchmark.extra_info |= {f"mb_of_{n}_episodes": mb for n, mb in megabytes.items()}
    benchmark.extra_info["ratio"] = megabytes[50] / megabytes[5]
