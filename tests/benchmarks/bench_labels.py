"""Label arithmetic: a whole dataset at once, beside the plain definition."""

import time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.labels.labelling import Frames, LabelResult, label_frames
from recap_core.labels.targets import Episodes

EPISODE_LENGTH = 1000


def _dataset(num_frames: int) -> tuple[Frames, Episodes]:
    rng = np.random.default_rng(0)
    lengths = np.full(num_frames // EPISODE_LENGTH, EPISODE_LENGTH)
    frames = Frames(
        values=rng.uniform(-1, 0, num_frames).astype(np.float32),
        is_intervention=rng.random(num_frames) < 0.1,
        is_paused=np.zeros(num_frames, dtype=bool),
        adv_ind=np.zeros(num_frames, dtype=np.int8),
    )
    episodes = Episodes(
        lengths=lengths,
        success=rng.random(len(lengths)) < 0.5,
        task_index=np.arange(len(lengths)) % 4,
        round_index=np.ones(len(lengths), dtype=np.int64),
    )
    return frames, episodes


@pytest.mark.benchmark(group="labels")
def bench_label_two_million_frames(benchmark: BenchmarkFixture) -> None:
    """The paper's rule on 2 M frames; the bar is one second."""
    frames, episodes = _dataset(2_000_000)
    result = benchmark.pedantic(label_frames, args=(frames, episodes), rounds=3)
    assert isinstance(result, LabelResult)
    assert benchmark.stats is not None
    benchmark.extra_info["million_frames_per_s"] = 2 / benchmark.stats["min"]


@pytest.mark.benchmark(group="labels")
def bench_labels_beside_the_plain_loop(benchmark: BenchmarkFixture) -> None:
    """Ratio to a loop over frames that writes the formula down, on the same 20,000 frames."""
    frames, episodes = _dataset(20_000)
    began = time.perf_counter()
    _plain(frames.values, episodes)
    plain_s = time.perf_counter() - began
    benchmark.pedantic(label_frames, args=(frames, episodes), rounds=10)
    assert benchmark.stats is not None
    benchmark.extra_info["times_faster_than_the_loop"] = plain_s / benchmark.stats["min"]


def _plain(values: np.ndarray, episodes: Episodes, lookahead: int = 50) -> list[float]:
    """Advantages alone, by the definition (per-step reward -1/T)."""
    advantages: list[float] = []
    start = 0
    for length in episodes.lengths:
        own = values[start : start + length]
        for t in range(length):
            end = min(t + lookahead, length)
            reward = sum(-1 / length if k < length - 1 else 0.0 for k in range(t, end))
            advantages.append(reward + own[min(end, length - 1)] - own[t])
        start += length
    return advantages
