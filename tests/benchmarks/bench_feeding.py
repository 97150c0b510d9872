"""Images for value inference: our sequential decoder beside lerobot's random access."""

import time
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.data.lerobot_bridge import open_dataset
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.data.video import iter_camera_blocks

NUM_RANDOM = 60


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of 150 frames, three cameras at 224 px."""
    root = tmp_path_factory.mktemp("feeding") / "dataset"
    episodes = [SyntheticEpisode(length=150) for _ in range(4)]
    write_synthetic_dataset(root, episodes, SyntheticRobot(image_px=224))
    return root


@pytest.mark.benchmark(group="feeding")
def bench_sequential_blocks_beside_lerobot(benchmark: BenchmarkFixture, dataset: Path) -> None:
    """Rows per second over ``LeRobotDataset[i]`` in random order; the bar is 10."""
    theirs = open_dataset(dataset)
    picks = np.random.default_rng(0).permutation(len(theirs))[:NUM_RANDOM]
    theirs[0]  # opens files
    began = time.perf_counter()
    for i in picks:
        theirs[int(i)]
    random_rows_per_s = NUM_RANDOM / (time.perf_counter() - began)
    cameras = list(theirs.meta.video_keys)

    def read_all() -> int:
        return sum(len(block.indices) for block in iter_camera_blocks(dataset, cameras))

    num_rows = benchmark.pedantic(read_all, rounds=3)
    assert benchmark.stats is not None
    rows_per_s = num_rows / benchmark.stats["min"]
    benchmark.extra_info["rows_per_s"] = rows_per_s
    benchmark.extra_info["times_faster_than_lerobot"] = rows_per_s / random_rows_per_s
