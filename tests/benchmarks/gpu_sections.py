"""What ``gpu_report`` measures, each section in a process of its own.

    python -m tests.benchmarks.gpu_sections value_ours

``RECAP_BENCH_SIZE`` is ``full``, or ``tiny`` to rehearse on a CPU. A failing variant is noted and
the next one measured.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import gpu_policy_sections as policy
from tests.benchmarks.gpu_report_rows import (
    IS_FULL,
    NO_TRITON,
    ROUND_S,
    SIZE,
    compiled_together,
    emit,
    measured,
    noted,
    on_gpu,
)

BATCH = 64 if IS_FULL else 4
TRAIN_BATCH = 16 if IS_FULL else 4
VALUES = Path(tempfile.gettempdir()) / f"recap-bench-values-{SIZE}.npz"


def matmul_jax() -> None:
    """The rate of a large product in XLA, and of the value model's own shapes."""
    import jax
    import jax.numpy as jnp

    from tests.benchmarks.value_side import seconds_per_call

    device = jax.devices()[0]
    emit("device", kind=device.device_kind, jax=jax.__version__)
    n = 8192 if IS_FULL else 256
    rows = 2 * BATCH * 256
    shapes = {"square": (n, n, n)}
    if IS_FULL:
        shapes |= {
            "siglip mlp": (rows, 1152, 4304),
            "siglip qkv": (rows, 1152, 1152),
            "gemma mlp": (560 * BATCH, 640, 2048),
        }
    product = jax.jit(lambda a, b: a @ b)
    for name, (m, k, o) in shapes.items():
        with noted(name):
            a = jax.random.normal(jax.random.key(0), (m, k), jnp.bfloat16)
            b = jax.random.normal(jax.random.key(1), (k, o), jnp.bfloat16)
            seconds = seconds_per_call(lambda a=a, b=b: product(a, b), round_s=ROUND_S)
            emit(name, seconds=seconds, tflop=2 * m * k * o / 1e12)
    with noted("copy"):
        x = jax.random.normal(jax.random.key(0), (2**28 if IS_FULL else 2**16,), jnp.bfloat16)
        copy = jax.jit(lambda x: -x)
        seconds = seconds_per_call(lambda: copy(x), round_s=ROUND_S)
        emit("copy", seconds=seconds, tb_per_s=2 * x.nbytes / seconds / 1e12)


def matmul_torch() -> None:
    """The same rate in PyTorch."""
    import torch

    from tests.benchmarks.value_side import seconds_per_call

    device, wait = torch_device()
    emit("device", torch=torch.__version__)
    n = 8192 if IS_FULL else 256
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = seconds_per_call(lambda: a @ b, wait, round_s=ROUND_S)
    emit("square", seconds=seconds, tflop=2 * n**3 / 1e12)


def torch_device() -> tuple[str, Callable[[Any], None]]:
    """The device, and a call that waits for it."""
    import torch

    if not torch.cuda.is_available():
        return "cpu", lambda _: None
    return "cuda", lambda _: torch.cuda.synchronize()


def value_ours() -> None:
    """Inference: attention and weights' types first, then batches and views of the fastest."""
    import jax
    import numpy as np

    from recap_core.training.flops import value_flops
    from tests.benchmarks import value_side as side

    config = side.value_config(SIZE)
    params = jax.tree.map(jax.numpy.asarray, side.random_params(config))
    inputs = side.random_inputs(config, BATCH)
    variants: dict[str, Any] = {
        "einsum, float32 weights": {"kernel": "einsum", "cast": False},
        "einsum": {"kernel": "einsum", "cast": True},
        "fused without mask": {"kernel": "fused_unmasked", "cast": True},
        "fused": {"kernel": "fused", "cast": True},
        "fused, no triton": {"kernel": "fused", "cast": True},
    }
    options = {name: NO_TRITON for name in variants if "triton" in name and on_gpu()}
    traced = {}
    for name, variant in variants.items():
        with noted(name):
            traced[name] = side.inference(config, params, inputs, **variant)
    seconds, values = {}, {}
    flops = value_flops(config, train=False)
    for name, ready in compiled_together(traced, options).items():
        with noted(name):
            seconds[name], first = measured(name, ready, batch=BATCH, flops=flops, views=2)
            values[name.replace(", ", "_").replace(" ", "_")] = np.asarray(first)[:8]
            np.savez(VALUES, **values)
    best = min(seconds, key=seconds.__getitem__)
    emit("fastest", variant=best)
    _value_sweep(params, variants[best], options.get(best, {}))


def _value_sweep(params: Any, variant: Any, options: Any) -> None:  # noqa: ANN401 - a tree
    """Other batches, other numbers of views, SigLIP's tokens given."""
    from recap_core.training.flops import value_flops
    from tests.benchmarks import value_side as side

    cases = {
        f"batch {BATCH * 4}": (2, BATCH * 4, False),
        "1 view": (1, BATCH, False),
        "3 views": (3, BATCH, False),
        "features given": (2, BATCH, True),
        "batch 1": (2, 1, False),
        f"batch {BATCH // 4}": (2, BATCH // 4, False),
    }
    traced = {}
    for name, (views, batch, features) in cases.items():
        with noted(name):
            config = side.value_config(SIZE, views)
            inputs = side.random_inputs(config, batch)
            if features:
                inputs = side.random_features(config, inputs)
            traced[name] = side.inference(config, params, inputs, **variant)
    for name, ready in compiled_together(traced, dict.fromkeys(cases, options)).items():
        views, batch, features = cases[name]
        flops = value_flops(side.value_config(SIZE, views), train=False, cached_features=features)
        with noted(name):
            measured(name, ready, batch=batch, flops=flops, views=views)


def value_torch(*, with_compile: bool = False) -> None:
    """Inference of the peer, eager or compiled, and how far its values are from ours."""
    import torch

    from recap_core.training.flops import value_flops
    from tests.benchmarks import value_side as side
    from tests.benchmarks.torch_value import torch_inputs, torch_value_model

    device, wait = torch_device()
    dtype = torch.bfloat16 if IS_FULL else torch.float32
    config = side.value_config(SIZE)
    params = side.random_params(config)
    inputs = side.random_inputs(config, BATCH)
    flops = value_flops(config, train=False)
    if not with_compile:
        with noted("float32 reference"), torch.inference_mode():
            torch.backends.cudnn.allow_tf32 = False
            exact = torch_value_model(config, params, device=device, dtype=torch.float32)
            few = tuple(x[:8] for x in torch_inputs(inputs, device=device, dtype=torch.float32))
            compare_values("float32 reference", exact.value(*few).cpu().numpy())
            del exact
            torch.backends.cudnn.allow_tf32 = True
    model = torch_value_model(config, params, device=device, dtype=dtype)
    batches = (BATCH,) if with_compile else (BATCH, BATCH * 4)
    function: Any = model.value
    if with_compile:
        function = torch.compile(model.value)
    for batch in batches:
        name = "compiled" if with_compile else f"eager, batch {batch}"
        with noted(name), torch.inference_mode():
            x = torch_inputs(side.random_inputs(config, batch), device=device, dtype=dtype)
            began = time.perf_counter()
            values = function(*x).float().cpu().numpy()[:8]
            compile_s = time.perf_counter() - began
            seconds = side.seconds_per_call(lambda x=x: function(*x), wait, round_s=ROUND_S)
            emit(
                name,
                seconds=seconds,
                batch=batch,
                tflop=batch * flops / 1e12,
                frames_per_s=batch / seconds,
                gib=torch_peak_gib(),
                compile_s=compile_s,
                views=2,
            )
            if batch == BATCH:
                compare_values(name, values)


def value_torch_compiled() -> None:
    """Inference of the peer after ``torch.compile``."""
    value_torch(with_compile=True)


def compare_values(name: str, theirs: Any) -> None:  # noqa: ANN401 - an array
    """Largest difference of V from each of our variants, beside how far V differs by frame."""
    import numpy as np

    with np.load(VALUES, allow_pickle=False) as ours:
        differences = {key: float(np.abs(ours[key] - theirs).max()) for key in ours}
    emit(f"values: {name}", std=float(theirs.std()), **differences)


def torch_peak_gib() -> float:
    """Largest allocation of PyTorch so far, GiB; 0 without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


TRAINED: dict[str, tuple[Any, Any, bool]] = {
    "none": ("none", "none", False),
    "none, recomputed": ("none", "full", False),
    "all_backbones": ("all_backbones", "auto", False),
    "all_backbones, features given": ("all_backbones", "auto", True),
}
"""Name to what is frozen, what the backward pass recomputes, and whether SigLIP is left out."""


def train_ours() -> None:
    """Train steps by what is frozen; attention other than fused for one of them."""
    from recap_core.training.flops import value_flops
    from tests.benchmarks import value_side as side

    config, traced = side.value_config(SIZE), {}
    params, inputs = side.random_params(config), side.random_inputs(config, TRAIN_BATCH)
    cases: dict[str, tuple[Any, ...]] = {
        f"{name}, {kernel}": (kernel, *case)
        for kernel in ("fused", "einsum", "fused_unmasked")
        for name, case in TRAINED.items()
        if kernel == "fused" or name == "none"
    }
    for name, (kernel, freeze, remat, features) in cases.items():
        with noted(name):
            x = side.random_features(config, inputs) if features else inputs
            traced[name] = side.train_step(
                config, params, x, freeze=freeze, remat=remat, kernel=kernel
            )
    for name in ("none", "all_backbones"):
        same = f"{name}, fused"
        if same in traced and on_gpu():
            traced[f"{same}, no triton"], cases[f"{same}, no triton"] = traced[same], cases[same]
    options = {name: NO_TRITON for name in traced if "triton" in name}
    for name, ready in compiled_together(traced, options).items():
        _, freeze, _, features = cases[name]
        flops = value_flops(config, train=True, freeze=freeze, cached_features=features)
        with noted(name):
            measured(name, ready, batch=TRAIN_BATCH, flops=flops)


def train_torch() -> None:
    """Train steps of the peer in autocast, nothing recomputed."""
    import gc

    import torch

    from recap_core.training.flops import value_flops
    from tests.benchmarks import value_side as side
    from tests.benchmarks.torch_value import torch_inputs, torch_train_step, torch_value_model

    device, wait = torch_device()
    config = side.value_config(SIZE)
    params, inputs = side.random_params(config), side.random_inputs(config, TRAIN_BATCH)
    targets = side.random_targets(config, TRAIN_BATCH)
    for name, (freeze, remat, features) in TRAINED.items():
        if remat == "full":
            continue
        with noted(name):
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            x = side.random_features(config, inputs) if features else inputs
            model = torch_value_model(config, params, device=device, dtype=torch.float32)
            step = torch_train_step(
                model,
                torch_inputs(x, device=device, dtype=torch.float32),
                targets,
                frozen=side.FROZEN_GROUPS[freeze],
                autocast=IS_FULL,
            )
            loss = float(step())
            seconds = side.seconds_per_call(step, wait, round_s=ROUND_S)
            flops = value_flops(config, train=True, freeze=freeze, cached_features=features)
            emit(
                name,
                seconds=seconds,
                batch=TRAIN_BATCH,
                tflop=TRAIN_BATCH * flops / 1e12,
                frames_per_s=TRAIN_BATCH / seconds,
                gib=torch_peak_gib(),
                loss=loss,
            )
            del model, step


SECTIONS: dict[str, Callable[[], None]] = {
    section.__name__: section
    for section in (
        matmul_jax,
        matmul_torch,
        value_ours,
        value_torch,
        value_torch_compiled,
        train_ours,
        train_torch,
        policy.policy_lora_24gb,
        policy.policy_lora,
        policy.openpi_lora,
        policy.policy_full,
        policy.openpi_full,
        policy.policy_sampler,
        policy.checkpoint,
    )
}

if __name__ == "__main__":
    SECTIONS[sys.argv[1]]()
