"""Whole datasets: norm stats, the copy before a relabel, and the relabel itself."""

import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.dataset import NormStatsConfig
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.data.columns import ACTION, STATE, recap_columns, recap_features, vector_feature
from recap_core.data.dataset_writer import DatasetWriter, Origin
from recap_core.data.lerobot_bridge import open_dataset
from recap_core.data.norm_stats import compute_norm_stats
from recap_core.data.relabel import write_adv_ind
from recap_core.lineage.links import link_tree

NORM_STATS = NormStatsConfig(embodiment=EmbodimentConfig(delta_mask=(6, -1, 6, -1)))
EPISODE_LENGTH = 1000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 M frames of 14 + 14 dims in 2,000 episodes, no cameras."""
    return write_large(tmp_path_factory.mktemp("large") / "dataset", num_episodes=2000)


def write_large(root: Path, *, num_episodes: int) -> Path:
    rng = np.random.default_rng(0)
    names = [f"dim_{i}" for i in range(14)]
    features = {STATE: vector_feature(names), ACTION: vector_feature(names), **recap_features()}
    phase = np.full(EPISODE_LENGTH, "autonomous", dtype="U16")
    with DatasetWriter(root, features, fps=30) as writer:
        for episode in range(num_episodes):
            state = rng.normal(size=(EPISODE_LENGTH, 14)).cumsum(axis=0).astype(np.float32)
            columns = {STATE: state, ACTION: state + np.float32(0.01)}
            columns |= recap_columns(phase, success=episode % 2 == 0, demonstration=False)
            origin = Origin("bench", 1, f"episode_{episode}")
            writer.add_episode(columns, task="x", origin=origin, videos={}, image_statistics={})
        writer.finish()
    return root


@pytest.mark.benchmark(group="norm stats")
def bench_norm_stats_of_two_million_frames(benchmark: BenchmarkFixture, large: Path) -> None:
    """Delta action chunks of 50, openpi's histogram; the bar is 20 seconds."""
    benchmark.pedantic(compute_norm_stats, args=(large, NORM_STATS), rounds=1)


@pytest.mark.benchmark(group="norm stats")
def bench_norm_stats_beside_decoding(benchmark: BenchmarkFixture, filmed: Path) -> None:
    """Ratio to reading the same frames as openpi does, images included."""
    horizon = {ACTION: [i / 30 for i in range(50)]}
    theirs = open_dataset(filmed, delta_timestamps=horizon)
    theirs[0]
    began = time.perf_counter()
    for i in range(60):
        theirs[i]
    theirs_s = (time.perf_counter() - began) / 60 * len(theirs)
    benchmark.pedantic(compute_norm_stats, args=(filmed, NORM_STATS), rounds=3)
    assert benchmark.stats is not None
    benchmark.extra_info["times_faster_than_decoding"] = theirs_s / benchmark.stats["min"]


@pytest.mark.benchmark(group="relabel")
def bench_copy_and_relabel_bytes(benchmark: BenchmarkFixture, filmed: Path, tmp_path: Path) -> None:
    """New bytes of copy and relabel together, as a share of the dataset; the bar is 1/20."""
    total = sum(path.stat().st_size for path in filmed.rglob("*") if path.is_file())
    labels = np.ones(10_000, dtype=np.int8)
    began = time.perf_counter()
    shutil.copytree(filmed, tmp_path / "theirs")
    theirs_s = time.perf_counter() - began
    number = iter(range(100))

    def copy_and_relabel() -> int:
        copy, relabeled = (tmp_path / f"{name}-{next(number)}" for name in ("copy", "new"))
        new_bytes = link_tree(filmed, copy, digests=None)
        return new_bytes + write_adv_ind(copy, relabeled, labels)

    new_bytes = benchmark.pedantic(copy_and_relabel, rounds=3)
    assert benchmark.stats is not None
    benchmark.extra_info["new_bytes_per_byte"] = new_bytes / total
    benchmark.extra_info["seconds_per_second_of_cp"] = benchmark.stats["min"] / theirs_s


@pytest.mark.benchmark(group="relabel")
def bench_relabel_beside_pandas(benchmark: BenchmarkFixture, large: Path, tmp_path: Path) -> None:
    """Ratio to rewriting every data file through pandas, as the reference stack does."""
    labels = np.ones(2_000_000, dtype=np.int8)
    began = time.perf_counter()
    for i, path in enumerate(sorted((large / "data").rglob("*.parquet"))):
        frame = pq.read_table(path).to_pandas()
        frame["adv_ind"] = "negative"
        assert isinstance(frame, pd.DataFrame)
        frame.to_parquet(tmp_path / f"{i}.parquet")
    theirs_s = time.perf_counter() - began
    benchmark.pedantic(write_adv_ind, args=(large, tmp_path / "relabeled", labels), rounds=1)
    assert benchmark.stats is not None
    benchmark.extra_info["times_faster_than_pandas"] = theirs_s / benchmark.stats["min"]
