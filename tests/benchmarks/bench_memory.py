"""Peak memory of everything that passes over a whole dataset, at 1x and 10x its length."""

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    write_synthetic_dataset,
    write_synthetic_recording,
)

SIZES = (5, 50)
"""Episodes of 60 frames, three cameras at 96 px."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("memory")
    for size in SIZES:
        episodes, robot = [SyntheticEpisode(length=60)] * size, SyntheticRobot(image_px=96)
        write_synthetic_recording(root / str(size) / "recording", episodes, robot)
        write_synthetic_dataset(root / str(size) / "dataset", episodes, robot)
    return root


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize(
    "operation", ["convert", "merge", "relabel", "norm_stats", "export", "validate"]
)
def bench_memory_is_flat(
    benchmark: BenchmarkFixture, sources: Path, tmp_path: Path, operation: str
) -> None:
    """Peak of a process that does it to 10 times as much, over that of one that does it once."""
    megabytes: dict[int, float] = {}

    def both() -> None:
        for size in SIZES:
            command = [sys.executable, str(Path(__file__).with_name("dataset_memory.py"))]
            arguments = [operation, str(sources / str(size)), str(tmp_path / str(size))]
            found = subprocess.run(  # noqa: S603 - our own script
                command + arguments, check=True, capture_output=True, text=True
            )
            megabytes[size] = float(found.stdout)

    benchmark.pedantic(both, rounds=1)
    benchmark.extra_info |= {f"mb_of_{n}_episodes": mb for n, mb in megabytes.items()}
    benchmark.extra_info["ratio"] = megabytes[SIZES[1]] / megabytes[SIZES[0]]
