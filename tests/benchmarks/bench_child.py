"""What a child process adds to a stage: start, import, job and result."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.inference import InferRuntime
from recap_core.config.stages import InferValuesConfig
from recap_core.progress import Silent
from recap_core.stages.infer_values import infer_values
from tasks.child import run_in_child
from tests.core.stages.value_inference import store_inputs

NUM_ROUNDS = 3


@pytest.mark.benchmark(group="child")
def bench_child_start(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Values of 40 frames in a child process (Python, JAX and compiled programs loaded anew)."""
    dataset, model, store = store_inputs(tmp_path / "home")
    runtime = InferRuntime()
    inputs = {"dataset": dataset, "value_model": model}
    arguments = {**inputs, "config": InferValuesConfig(), "runtime": runtime, "name": "values"}

    def in_child() -> None:
        log = logging.getLogger("child")
        made = run_in_child(
            "infer_values", arguments, runtime, store=store, progress=Silent(), log=log
        )
        store.remove(made)

    def inline() -> None:
        store.remove(infer_values(**arguments, store=store))

    inline()  # compiles, for both
    inline_s = float(np.median([_seconds(inline) for _ in range(NUM_ROUNDS)]))
    benchmark.pedantic(in_child, rounds=NUM_ROUNDS)
    assert benchmark.stats is not None
    benchmark.extra_info["inline_s"] = inline_s
    benchmark.extra_info["added_s"] = benchmark.stats["median"] - inline_s
    benchmark.extra_info["load"] = os.getloadavg()[0]


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
