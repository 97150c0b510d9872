"""The policy's train step and sampler beside openpi's own, in one run.

    OPENPI_CHECKOUT=/path/to/openpi make bench                   tiny, on any machine
    RECAP_BENCH_SIZE=small|full RECAP_BENCH_BATCH=8 ...          wider layers; the published sizes

At ``full`` the two sides run one after the other, since a card holds one training run, and a
measured bfloat16 matmul gives the rate that utilisation (MFU) is a share of. Without the checkout
our side is measured alone.
"""

import gc
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from recap_core.config.policy import (
    VIEWS,
    GemmaConfig,
    LoraConfig,
    PolicyModelConfig,
    SiglipConfig,
)
from recap_core.config.sizes import PI05, PI05_LORA
from recap_core.config.training import TrainConfig
from recap_core.models.layers import LayerLoop
from recap_core.models.policy import Policy, PolicyInputs, trainable_mask
from recap_core.training.flops import policy_flops
from recap_core.training.optimizer import make_optimizer
from recap_core.training.policy_loss import PolicyBatch, policy_loss
from recap_core.training.state import initial_state, with_frozen_in_bfloat16
from recap_core.training.step import make_train_step
from tests.benchmarks import openpi_peer

# openpi's imports warn of what its pinned versions still had; we warn where it is absent.
pytestmark = [pytest.mark.benchmark(group="policy"), pytest.mark.filterwarnings("default")]

SIZE = os.environ.get("RECAP_BENCH_SIZE", "tiny")
BATCH = int(os.environ.get("RECAP_BENCH_BATCH", "2"))
ROUNDS = int(os.environ.get("RECAP_BENCH_ROUNDS", "7"))
NUM_STEPS = 10
MATMUL_SIZE = 8192
OPTIMISED = {"xla_backend_optimization_level": "3"}
"""XLA's default; tests/conftest.py turns it off for the tests."""


@pytest.fixture(autouse=True)
def loose_ranks() -> Iterator[None]:
    """Allow broadcasts between ranks, as openpi has them; our tests forbid them."""
    with jax.numpy_rank_promotion("allow"):
        yield


def model_config(*, lora: bool) -> PolicyModelConfig:
    """The architecture under test."""
    if SIZE == "full":
        return PI05_LORA if lora else PI05
    scale = {"tiny": 1, "small": 4}[SIZE]
    vlm = GemmaConfig(
        width=64 * scale, depth=3, mlp_dim=96 * scale, num_heads=4, num_kv_heads=1, head_dim=16
    )
    expert = vlm.model_copy(update={"width": 32 * scale, "mlp_dim": 48 * scale})
    if lora:
        vlm = vlm.model_copy(update={"lora": LoraConfig(rank=4, alpha=4)})
        expert = expert.model_copy(update={"lora": LoraConfig(rank=6, alpha=6)})
    return PolicyModelConfig(
        vlm=vlm,
        expert=expert,
        siglip=SiglipConfig(width=32 * scale, depth=2, mlp_dim=48 * scale, num_heads=4),
        vocab_size=512,
        action_horizon=8,
        max_token_len=200,
        compute_dtype="float32",
    )


def params_of(config: PolicyModelConfig) -> Any:  # noqa: ANN401 - a tree
    """Random parameters, made on the device; both sides start from equal ones."""
    return jax.jit(Policy(config).init)(jax.random.key(0))


def batch_of(config: PolicyModelConfig) -> PolicyBatch:
    """A batch of random observations on the device."""
    rng = np.random.default_rng(0)
    chunk = (BATCH, config.action_horizon, config.action_dim)
    length = config.max_token_len
    image = rng.uniform(-1, 1, (BATCH, config.image_px, config.image_px, 3)).astype(np.float32)
    inputs = PolicyInputs(
        images=dict.fromkeys(VIEWS, image),
        image_masks=dict.fromkeys(VIEWS, np.ones(BATCH, bool)),
        state=rng.standard_normal((BATCH, config.action_dim), dtype=np.float32),
        tokens=rng.integers(3, config.vocab_size, (BATCH, length), dtype=np.int32),
        token_mask=np.broadcast_to(np.arange(length) < length // 2, (BATCH, length)),
    )
    actions = rng.standard_normal(chunk, dtype=np.float32)
    return jax.device_put(PolicyBatch(inputs, actions, np.zeros(BATCH, np.int32)))


class Side(NamedTuple):
    """One implementation: a compiled call that waits for its result, and what it needs."""

    call: Callable[[], None]
    peak_gib: float
    """Arguments, outputs and scratch of the compiled program; 0 where the backend does not say."""


def compiled_side(
    function: Callable[..., Any],
    *arguments: Any,  # noqa: ANN401 - what ``function`` takes
    carries_state: bool,
) -> Side:
    """Compile ``function``; a train step gets back the state that it returned."""
    donated = (0,) if carries_state else ()
    lowered = jax.jit(function, donate_argnums=donated).lower(*arguments)
    program = lowered.compile(compiler_options=OPTIMISED)
    held = list(arguments)

    def call() -> None:
        result = program(*held)
        if carries_state:
            held[0] = result[0]
        jax.block_until_ready(result)

    call()  # the first call allocates
    return Side(call, peak_gib(program))


def peak_gib(program: Any) -> float:  # noqa: ANN401 - a compiled program
    """Memory of a compiled program, GiB, by XLA's own account."""
    memory = program.memory_analysis()
    if memory is None:
        return 0.0
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return (total - memory.alias_size_in_bytes) / 2**30


def our_train_step(config: PolicyModelConfig, train: TrainConfig) -> Side:
    """Our step, from fresh parameters."""
    params = params_of(config)
    trainable = trainable_mask(config, params)
    state = initial_state(
        with_frozen_in_bfloat16(params, trainable),
        make_optimizer(train.optimizer),
        trainable,
        with_ema=train.ema_decay is not None,
    )
    step = make_train_step(policy_loss(policy_of(config)), train, trainable=trainable)
    return compiled_side(step, state, batch_of(config), carries_state=True)


def their_train_step(config: PolicyModelConfig, train: TrainConfig) -> Side:
    """Openpi's step, from the same parameters."""
    peer = openpi_peer.OpenpiPolicy(config)
    step, state = peer.train_step(params_of(config), train)
    return compiled_side(step, state, batch_of(config), carries_state=True)


def our_sampler(config: PolicyModelConfig) -> Side:
    """Ten steps of our sampler with parameters as served."""
    policy = Policy(config)
    sample = partial(policy.sample_actions, num_steps=NUM_STEPS)

    def run(params: Any, inputs: PolicyInputs, noise: jax.Array) -> jax.Array:  # noqa: ANN401
        return sample(params, jax.random.key(0), inputs, noise=noise)

    batch = batch_of(config)
    return compiled_side(run, served(config), batch.inputs, batch.actions, carries_state=False)


def their_sampler(config: PolicyModelConfig) -> Side:
    """Ten steps of openpi's."""
    run, state = openpi_peer.OpenpiPolicy(config).sampler(served(config), NUM_STEPS)
    batch = batch_of(config)
    return compiled_side(run, state, batch.inputs, batch.actions, carries_state=False)


def served(config: PolicyModelConfig) -> Any:  # noqa: ANN401 - a tree
    """Parameters in the type that serving holds them in."""
    dtype = jnp.dtype(config.compute_dtype)
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params_of(config))


def policy_of(config: PolicyModelConfig) -> Policy:
    """As training builds it: full size recomputes each layer in the backward pass."""
    return Policy(config, loop=LayerLoop(remat=True) if SIZE == "full" else None)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def bench_train_step(benchmark: BenchmarkFixture, *, lora: bool) -> None:
    """Seconds per optimiser step, and how many of ours fit into one of openpi's."""
    config, train = model_config(lora=lora), TrainConfig(ema_decay=None if lora else 0.99)
    compare(
        benchmark, partial(our_train_step, config, train), partial(their_train_step, config, train)
    )
    report_utilisation(benchmark, BATCH * policy_flops(config).train)


def bench_sampler(benchmark: BenchmarkFixture) -> None:
    """Seconds for ten denoising steps, beside openpi's."""
    config = model_config(lora=False)
    compare(benchmark, partial(our_sampler, config), partial(their_sampler, config))


def compare(
    benchmark: BenchmarkFixture, ours: Callable[[], Side], theirs: Callable[[], Side]
) -> None:
    """Time both sides, in turns where both fit, and note the ratio of their medians."""
    reason = openpi_peer.missing()
    builders = {"ours": ours} if reason else {"ours": ours, "openpi": theirs}
    seconds = {}
    for sides in groups(builders):
        for _ in range(ROUNDS):
            for name, side in sides.items():
                began = time.perf_counter()
                side.call()
                seconds.setdefault(name, []).append(time.perf_counter() - began)
        for name, side in sides.items():
            benchmark.extra_info[f"{name}_gib"] = side.peak_gib
        if "ours" in sides:
            benchmark.pedantic(sides["ours"].call, rounds=3)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    benchmark.extra_info |= {f"{name}_s": value for name, value in medians.items()}
    if reason:
        warnings.warn(f"openpi is not beside us: {reason}", stacklevel=2)
    else:
        benchmark.extra_info["times_faster_than_openpi"] = medians["openpi"] / medians["ours"]


def groups(builders: dict[str, Callable[[], Side]]) -> Iterator[dict[str, Side]]:
    """Both sides at once, or one after the other where only one fits."""
    if SIZE != "full":
        yield {name: build() for name, build in builders.items()}
        return
    for name, build in builders.items():
        yield {name: build()}
        gc.collect()


def report_utilisation(benchmark: BenchmarkFixture, flops: float) -> None:
    """Share of a measured bfloat16 matmul rate, on an accelerator."""
    info = benchmark.extra_info
    info["samples_per_s"] = BATCH / info["ours_s"]
    info["tflop_per_step"] = flops / 1e12
    if jax.default_backend() == "cpu":
        return
    rate = matmul_rate()
    info["matmul_tflop_per_s"] = rate / 1e12
    for name in ("ours", "openpi"):
        if f"{name}_s" in info:
            info[f"{name}_mfu"] = flops / info[f"{name}_s"] / rate


def matmul_rate() -> float:
    """Operations per second of a large bfloat16 matrix product."""
    a = jnp.ones((MATMUL_SIZE, MATMUL_SIZE), jnp.bfloat16)
    product = jax.jit(lambda x: x @ x).lower(a).compile()
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * MATMUL_SIZE**3 / min(seconds)
