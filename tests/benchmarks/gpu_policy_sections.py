"""The policy's sections of ``gpu_report``: pi0.5's train step and sampler, ours and openpi's.

``bench_policy`` builds both sides; it reads size, batch and remat from the environment when it is
imported, so every section sets them first.
"""

import gc
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu_report_rows import (
    IS_FULL,
    NO_TRITON,
    SIZE,
    compiled_together,
    device_peak_gib,
    emit,
    measured,
    noted,
    on_gpu,
)

BATCH = 32 if IS_FULL else 2
SMALL_BATCH = 4 if IS_FULL else 1


def bench_policy(batch: int) -> Any:  # noqa: ANN401 - a module
    """The module, for one batch size and with every layer recomputed."""
    os.environ |= {
        "RECAP_BENCH_SIZE": SIZE,
        "RECAP_BENCH_BATCH": str(batch),
        "RECAP_BENCH_REMAT": "full",
    }
    from tests.benchmarks import bench_policy as module

    return module


def our_step(*, lora: bool, batch: int, kernel: Any, skip_last: bool = False) -> Any:  # noqa: ANN401
    """Our train step before it is compiled.

    Args:
        lora: Of the adapted architecture.
        batch: Samples.
        kernel: Of the attention.
        skip_last: Leave the VLM's last update, which nobody reads, out of the loop by a condition.
    """
    import jax

    from recap_core.models import gemma
    from recap_core.models.attention import attention_kernel
    from recap_core.training.state import initial_state, with_frozen_in_bfloat16
    from tests.benchmarks.value_side import Traced

    bench = bench_policy(batch)
    config, train = bench.model_config(lora=lora), bench.TrainConfig(ema_decay=None)
    policy = bench.policy_of(config)
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    mask = bench.trainable_mask(config, shapes)

    def arguments() -> tuple[Any, ...]:
        params = with_frozen_in_bfloat16(bench.params_of(config), mask)
        optimizer = bench.make_optimizer(train.optimizer)
        return initial_state(params, optimizer, mask, with_ema=False), bench.batch_of(config)

    step: Any = bench.make_train_step(bench.policy_loss(policy), train, trainable=mask)
    gemma_class: Any = gemma.Gemma
    is_last = gemma_class._is_last
    if skip_last:
        depth = config.vlm.depth
        gemma_class._is_last = lambda _, **__: jax.numpy.arange(depth) == depth - 1
    try:
        with attention_kernel(kernel):
            lowered = step.lower(*jax.eval_shape(arguments))
    finally:
        gemma_class._is_last = is_last
    return Traced(lowered, arguments, carries_state=True)


def measure_ours(variants: dict[str, dict[str, Any]], *, lora: bool, batch: int) -> None:
    """Compile variants side by side, then time one after the other."""
    from recap_core.training.flops import policy_flops

    flops = policy_flops(bench_policy(batch).model_config(lora=lora)).train
    traced, options = {}, {}
    for name, variant in variants.items():
        settings = dict(variant)
        if settings.pop("no_triton", False) and on_gpu():
            options[name] = NO_TRITON
        with noted(name):
            traced[name] = our_step(lora=lora, batch=batch, **settings)
    for name, ready in compiled_together(traced, options).items():
        gc.collect()
        with noted(name):
            measured(name, ready, batch=batch, flops=flops, device_gib=device_peak_gib())


def policy_lora() -> None:
    """LoRA at a large batch: attention, Triton, the last layer."""
    variants = {
        "ours, einsum": {"kernel": "einsum"},
        "ours, fused": {"kernel": "fused"},
        "ours, fused, no triton": {"kernel": "fused", "no_triton": True},
        "ours, fused, last layer skipped": {"kernel": "fused", "skip_last": True},
    }
    measure_ours(variants, lora=True, batch=BATCH)


def policy_lora_24gb() -> None:
    """LoRA in the memory of a 24 GB card: the process may take no more."""
    measure_ours({"ours, einsum": {"kernel": "einsum"}}, lora=True, batch=SMALL_BATCH)
    emit("peak", device_gib=device_peak_gib())


def policy_full() -> None:
    """Full fine-tuning, without a running average."""
    variants = {
        "ours, fused, no triton": {"kernel": "fused", "no_triton": True},
        "ours, einsum": {"kernel": "einsum"},
    }
    measure_ours(variants, lora=False, batch=BATCH)


def openpi_step(*, lora: bool) -> None:
    """Openpi's train step at the same batch."""
    from recap_core.training.flops import policy_flops

    bench = bench_policy(BATCH)
    config, train = bench.model_config(lora=lora), bench.TrainConfig(ema_decay=None)
    flops = policy_flops(config).train
    began = time.perf_counter()
    side = bench.their_train_step(config, train)
    timed_side("openpi", side, began, batch=BATCH, flops=flops)


def openpi_lora() -> None:
    """Openpi's LoRA step."""
    openpi_step(lora=True)


def openpi_full() -> None:
    """Openpi's full fine-tuning step."""
    openpi_step(lora=False)


def policy_sampler() -> None:
    """Ten denoising steps of one observation: ours, with guidance, openpi's."""
    import jax

    from recap_core.models.attention import attention_kernel
    from recap_core.models.policy import Policy
    from recap_core.training.flops import sampling_flops

    bench = bench_policy(1)
    config = bench.model_config(lora=False)
    params, batch = bench.served(config), bench.batch_of(config)
    policy, flops = Policy(config), sampling_flops(config, num_steps=bench.NUM_STEPS)

    def sampler(guidance: float) -> Callable[..., Any]:
        def run(params: Any, inputs: Any, noise: Any) -> Any:  # noqa: ANN401 - trees
            return policy.sample_actions(
                params,
                jax.random.key(0),
                inputs,
                num_steps=bench.NUM_STEPS,
                noise=noise,
                guidance=guidance,
                unconditional=inputs,
            )

        return run

    for kernel in ("einsum", "fused"):
        for guidance in (1.0, 2.0):
            name = f"ours, guidance {guidance:.0f}, {kernel}"
            with noted(name), attention_kernel(kernel):
                began = time.perf_counter()
                run = sampler(guidance)
                arguments = (params, batch.inputs, batch.actions)
                side = bench.compiled_side(run, *arguments, carries_state=False)
                timed_side(name, side, began, batch=1, flops=flops * (2 if guidance > 1 else 1))
    with noted("openpi"):
        began = time.perf_counter()
        theirs, state = bench.openpi_peer.OpenpiPolicy(config).sampler(params, bench.NUM_STEPS)
        side = bench.compiled_side(theirs, state, batch.inputs, batch.actions, carries_state=False)
        timed_side("openpi", side, began, batch=1, flops=flops)


def timed_side(name: str, side: Any, began: float, *, batch: int, flops: int) -> None:  # noqa: ANN401 - a Side
    """Time a side of ``bench_policy`` and note it."""
    compile_s = time.perf_counter() - began
    seconds = []
    side.call()
    for _ in range(5):
        start = time.perf_counter()
        side.call()
        seconds.append(time.perf_counter() - start)
    emit(
        name,
        seconds=statistics.median(seconds),
        batch=batch,
        tflop=batch * flops / 1e12,
        frames_per_s=batch / statistics.median(seconds),
        gib=side.peak_gib,
        compile_s=compile_s,
        device_gib=device_peak_gib(),
        value=side.value,
    )


def checkpoint() -> None:
    """Host memory that a checkpoint of full-size float32 parameters takes on top."""
    import jax

    from recap_core.checkpoints.train_state import save_train_state

    bench = bench_policy(1)
    params = jax.block_until_ready(bench.params_of(bench.model_config(lora=False)))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    work = Path(tempfile.mkdtemp())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    save_train_state(work, params, step=0)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shutil.rmtree(work)
    extra = (after - before) / 2**20
    emit("save", seconds=seconds, tree_gib=size / 2**30, extra_gib=extra, before_gib=before / 2**20)
