"""The value model's inference and train steps beside PyTorch's, in one run.

    make bench                                  tiny, on any machine
    python -m tests.benchmarks.gpu_report ...   the published sizes on a GPU

Both sides have the same weights, so their values must be equal.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.training.flops import value_flops
from tests.benchmarks import value_side as side
from tests.benchmarks.torch_value import torch_inputs, torch_train_step, torch_value_model

pytestmark = pytest.mark.benchmark(group="value")

BATCH, ROUNDS = 8, 7
CONFIG = side.value_config("tiny")


@pytest.mark.parametrize("num_views", [1, 2, 3])
def bench_value_inference(benchmark: BenchmarkFixture, num_views: int) -> None:
    """Frames per second of V, and how many of ours fit into one of PyTorch's."""
    config = side.value_config("tiny", num_views)
    params, inputs = side.random_params(config), side.random_inputs(config, BATCH)
    model = torch_value_model(config, params, device="cpu", dtype=torch.float32)
    given = torch_inputs(inputs, device="cpu", dtype=torch.float32)
    traced = side.inference(config, params, inputs, kernel="einsum", cast=True)
    ours = side.compiled(traced)().call

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            return model.value(*given)

    np.testing.assert_allclose(ours(), theirs().numpy(), atol=1e-5)
    compare(benchmark, ours, theirs)
    benchmark.extra_info["gflop_per_frame"] = value_flops(config, train=False) / 1e9


@pytest.mark.parametrize(
    ("freeze", "has_features"),
    [("none", False), ("all_backbones", False), ("all_backbones", True)],
    ids=["none", "all_backbones", "features_given"],
)
def bench_value_train_step(
    benchmark: BenchmarkFixture,
    freeze: Any,  # noqa: ANN401 - a literal
    has_features: bool,  # noqa: FBT001 - a case
) -> None:
    """Seconds per optimiser step, beside PyTorch's; frozen weights are float32 there."""
    params, inputs = side.random_params(CONFIG), side.random_inputs(CONFIG, BATCH)
    if has_features:
        inputs = side.random_features(CONFIG, inputs)
    traced = side.train_step(CONFIG, params, inputs, freeze=freeze, kernel="einsum")
    theirs = torch_train_step(
        torch_value_model(CONFIG, params, device="cpu", dtype=torch.float32),
        torch_inputs(inputs, device="cpu", dtype=torch.float32),
        side.random_targets(CONFIG, BATCH),
        frozen=side.FROZEN_GROUPS[freeze],
        autocast=False,
    )
    ours = side.compiled(traced)().call

    assert float(ours()["loss"].total) == pytest.approx(float(theirs()), rel=1e-2)
    compare(benchmark, ours, theirs)


def compare(
    benchmark: BenchmarkFixture, ours: Callable[[], Any], theirs: Callable[[], Any]
) -> None:
    """Time both in turns, and note the ratio of their medians."""
    seconds: dict[str, list[float]] = {"ours": [], "torch": []}
    for _ in range(ROUNDS):
        for name, call in (("ours", ours), ("torch", theirs)):
            began = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - began)
    benchmark.pedantic(lambda: jax.block_until_ready(ours()), rounds=3)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    benchmark.extra_info |= {
        "frames_per_s": BATCH / medians["ours"],
        "times_faster_than_torch": medians["torch"] / medians["ours"],
    }
