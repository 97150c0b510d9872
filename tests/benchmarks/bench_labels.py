"""Label arithmetic: a whole dataset at once, beside the plain definition."""

import time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.labels.labelling import Frames, LabelRule, judge, label_frames
from recap_core.labels.sweep import sweep
from recap_core.labels.targets import Episodes

EPISODE_LENGTH = 1000
RULE = LabelRule()


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
    """The paper's rule on 2 M frames, advantages and thresholds; the bar is one second."""
    frames, episodes = _dataset(2_000_000)
    benchmark.pedantic(label_frames, args=(frames, episodes, RULE), rounds=5)
    assert benchmark.stats is not None
    benchmark.extra_info["million_frames_per_s"] = 2 / benchmark.stats["min"]


@pytest.mark.benchmark(group="labels")
def bench_a_new_threshold(benchmark: BenchmarkFixture) -> None:
    """Another share on the same advantages of 2 M frames; the bar is one second."""
    frames, episodes = _dataset(2_000_000)
    judged = judge(frames, episodes, RULE)
    rule = RULE._replace(threshold=RULE.threshold._replace(share=0.1))
    benchmark.pedantic(label_frames, args=(frames, episodes, rule, judged), rounds=5)


@pytest.mark.benchmark(group="labels")
def bench_sweep(benchmark: BenchmarkFixture) -> None:
    """4 lookaheads x 19 shares on 2 M frames; milliseconds per point, beside labelling each."""
    frames, episodes = _dataset(2_000_000)
    lookaheads, shares = (10, 25, 50, None), [share / 20 for share in range(1, 20)]
    began = time.perf_counter()
    label_frames(frames, episodes, RULE)
    one_labelling_s = time.perf_counter() - began
    grid = {"lookaheads": lookaheads, "shares": shares}
    benchmark.pedantic(sweep, args=(frames, episodes, RULE), kwargs=grid, rounds=3)
    assert benchmark.stats is not None
    per_point_s = benchmark.stats["min"] / (len(lookaheads) * len(shares))
    benchmark.extra_info["ms_per_point"] = 1000 * per_point_s
    benchmark.extra_info["times_faster_than_labelling"] = one_labelling_s / per_point_s


@pytest.mark.benchmark(group="labels")
def bench_labels_beside_the_plain_loop(benchmark: BenchmarkFixture) -> None:
    """Ratio to a loop over frames that writes the formula down, on the same 20,000 frames."""
    frames, episodes = _dataset(20_000)
    began = time.perf_counter()
    _plain(frames.values, episodes)
    plain_s = time.perf_counter() - began
    benchmark.pedantic(label_frames, args=(frames, episodes, RULE), rounds=10)
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
