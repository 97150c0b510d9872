"""The control loop of a robot cell: how steady 30 Hz are while three cameras are recorded."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.collection.cell import open_cell
from recap_core.collection.live_parts import SessionEnd
from recap_core.collection.pace import Pace, TimingStats
from recap_core.config.cell import CellConfig
from recap_core.rollout.live import EpisodeSignal
from recap_core.rollout.phase import PhaseEvent

FPS = 30
SECONDS = 60
RECORDED_S = 3
"""Of the session that is replayed; its images fit into memory."""
NO_KEYS: dict[str, Any] = {"keyboard": None}


def _run(config: CellConfig, seconds: float, *, drives: bool) -> SessionEnd:
    """One episode of that length; the policy drives it, or nobody."""
    with open_cell(config) as session:

        def operate() -> None:
            time.sleep(0.5)
            session.request(EpisodeSignal.START_STOP, "benchmark")
            time.sleep(0.5)
            if drives:
                session.request(PhaseEvent.PAUSE_RESUME, "benchmark")
            time.sleep(seconds)
            session.request(EpisodeSignal.SUCCESS, "benchmark")
            time.sleep(0.5)
            session.request(EpisodeSignal.QUIT, "benchmark")

        operator = threading.Thread(target=operate)
        operator.start()
        try:
            return session.run()
        finally:
            operator.join()


def _bare(seconds: float) -> TimingStats:
    """The beat alone: what this machine does to a thread that only waits."""
    pace = Pace(FPS)
    for _ in range(round(seconds * FPS)):
        pace.wait()
    return pace.stats()


@pytest.mark.benchmark(group="robot cell")
def bench_replayed_cameras(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Three 480x640 cameras from the replay robot, recorded as H.264, beside the bare beat.

    The bar: a mean of at least 29 Hz, and 99 of 100 ticks within 5 ms of their beat, on a machine
    that does nothing else.
    """
    recording = {"base_dir": tmp_path / "recordings", "disk_reserve_bytes": 0}
    source = CellConfig.model_validate(
        {"robot": {"kind": "synthetic", "fps": FPS}, "inputs": NO_KEYS, "recording": recording}
    )
    directory = _run(source, RECORDED_S, drives=True).directory
    replayed = CellConfig.model_validate(
        {
            "robot": {"kind": "replay", "path": directory, "memory_mib": 1024},
            "inputs": NO_KEYS,
            "recording": {**recording, "base_dir": tmp_path / "again"},
        }
    )
    bare = _bare(10)
    end = benchmark.pedantic(_run, (replayed, SECONDS), {"drives": False}, rounds=1, iterations=1)
    benchmark.extra_info.update(
        mean_hz=end.timing.mean_hz,
        jitter_p99_ms=end.timing.jitter_p99_ms,
        jitter_max_ms=end.timing.jitter_max_ms,
        late_ticks=end.timing.num_late,
        bare_jitter_p99_ms=bare.jitter_p99_ms,
        jitter_over_bare=end.timing.jitter_p99_ms / bare.jitter_p99_ms,
        dropped_images=sum(episode.num_dropped for episode in end.episodes),
        frames=sum(episode.num_frames for episode in end.episodes),
    )
