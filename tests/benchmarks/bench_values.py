"""Value inference end to end, beside a plain loop over ``LeRobotDataset`` with the same model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


@pytest.mark.benchmark(group="values")
def bench_values_beside_lerobot(benchmark: BenchmarkFixture, filmed: Path, tmp_path: Path) -> None:
    """Frames per second (three 224 px cameras each) of both, with a tiny model and without.

    Theirs is ``LeRobotDataset[i]`` in order through a ``DataLoader``: ``plain`` in its own process,
    ``workers`` with two of them. The bar for feeding is 10. The shares are of our time: waiting for
    images, and for the device.
    """
    told: dict[str, float] = {}

    def measure() -> None:
        command = [sys.executable, "-m", "tests.benchmarks.value_rates", str(filmed), str(tmp_path)]
        environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
        done = subprocess.run(  # noqa: S603 - our own script
            command,
            cwd=Path(__file__).parents[2],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        told.update(json.loads(done.stdout))

    benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info |= told
