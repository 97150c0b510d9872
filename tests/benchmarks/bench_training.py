"""What the training loop costs beside its bare step: batches, metrics, guard, memory accounts."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.sizes import TINY_POLICY
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from recap_core.training.loop import train
from recap_core.training.optimizer import make_optimizer
from recap_core.training.policy_loss import PolicyBatch, policy_loss
from recap_core.training.state import all_trainable, initial_state
from recap_core.training.step import make_train_step

NUM_STEPS = 100
BATCH_SIZE = 128
RUNTIME = TrainRuntime(log_interval=25, save_interval=NUM_STEPS)


class Batches:
    """The tiny preset's batches, made anew for every step."""

    def __call__(self, step: int) -> PolicyBatch:
        """Noise."""
        rng, model = np.random.default_rng(step), TINY_POLICY
        arrays: list[Any] = [
            {},
            {},
            rng.standard_normal((BATCH_SIZE, 21), np.float32),
            rng.integers(0, model.vocab_size, (BATCH_SIZE, model.max_token_len)).astype(np.int32),
            np.ones((BATCH_SIZE, model.max_token_len), bool),
        ]
        shape = (BATCH_SIZE, model.action_horizon, model.action_dim)
        actions: Any = rng.standard_normal(shape, np.float32)
        classes: Any = rng.integers(0, 4, BATCH_SIZE).astype(np.int32)
        return PolicyBatch(PolicyInputs(*arrays), actions, classes)

    def frames(self, step: int) -> np.ndarray:
        """Of no dataset."""
        del step
        return np.arange(BATCH_SIZE)

    def places(self, step: int) -> np.ndarray:
        """All in one episode."""
        return np.stack([np.zeros(BATCH_SIZE, int), self.frames(step)], axis=1)


def _bare(loss: Any, params: Params, config: TrainConfig) -> float:  # noqa: ANN401 - a loss
    """Seconds of the steps alone, on one batch that is there already."""
    trainable = all_trainable(params)
    state = initial_state(params, make_optimizer(config.optimizer), trainable, with_ema=True)
    step = make_train_step(loss, config, trainable=trainable)
    batch = jax.device_put(Batches()(0))
    state, metrics = step(state, batch)
    jax.block_until_ready(state.step)
    began = time.perf_counter()
    for _ in range(NUM_STEPS):
        state, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    return time.perf_counter() - began


@pytest.mark.benchmark(group="training")
def bench_loop_beside_its_step(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Rates as the metrics give them, without compiling; the time is that of the whole loop."""
    policy = Policy(TINY_POLICY)
    loss, params = policy_loss(policy), jax.jit(policy.init)(jax.random.key(0))
    config = TrainConfig(num_steps=NUM_STEPS, batch_size=BATCH_SIZE)

    def loop() -> float:
        work = tmp_path / str(time.monotonic_ns())
        train(loss, params, Batches(), config, RUNTIME, work=work)
        lines = (work / "metrics.jsonl").read_text().splitlines()
        rates = [float(line.split('"steps_per_s": ')[1].split(",")[0]) for line in lines]
        return float(np.median(rates))

    bare = NUM_STEPS / min(_bare(loss, params, config) for _ in range(2))
    looped = benchmark.pedantic(loop, rounds=1)

    benchmark.extra_info["loop_over_bare"] = looped / bare
    benchmark.extra_info["steps_per_s"] = looped
