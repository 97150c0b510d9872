"""What all sections of ``gpu_report`` share: sizes, rows of the report, compiling and timing."""

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZE = os.environ.get("RECAP_BENCH_SIZE", "tiny")
IS_FULL = SIZE == "full"
REPORT = "RECAP_GPU_REPORT"
"""Path of the JSON lines; unset: rows are only printed."""
ROUND_S = 0.4 if IS_FULL else 0.05
NO_TRITON = {"xla_gpu_enable_triton_gemm": False}


def emit(name: str, **numbers: Any) -> None:  # noqa: ANN401 - JSON values
    """Append a row to the report and print it."""
    row = json.dumps({"section": sys.argv[1], "name": name} | numbers)
    print(row, flush=True)  # noqa: T201 - this is a command
    if path := os.environ.get(REPORT):
        with Path(path).open("a") as file:
            file.write(row + "\n")


@contextmanager
def noted(name: str) -> Iterator[None]:
    """Note an error under ``name`` and go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a variant fails with
        traceback.print_exc()
        emit(name, error=f"{type(error).__name__}: {str(error)[:300]}")


def compiled_together(traced: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Compile programs side by side; those that fail are noted and left out."""
    from tests.benchmarks.value_side import compiled

    with ThreadPoolExecutor(max(1, len(traced))) as pool:
        futures = {
            name: pool.submit(compiled, program, options.get(name, {}))
            for name, program in traced.items()
        }
    ready = {}
    for name, future in futures.items():
        with noted(name):
            ready[name] = future.result()
    return ready


def measured(name: str, ready: Any, *, batch: int, flops: int, **more: Any) -> tuple[float, Any]:  # noqa: ANN401 - a program
    """Time a program and note it; returns seconds per call, and the result of the first call."""
    from tests.benchmarks.value_side import seconds_per_call

    program = ready()
    first = program.call()
    seconds = seconds_per_call(program.call, round_s=ROUND_S)
    emit(
        name,
        seconds=seconds,
        batch=batch,
        tflop=batch * flops / 1e12,
        frames_per_s=batch / seconds,
        gib=program.gib,
        compile_s=program.compile_s,
        **more,
    )
    return seconds, first


def on_gpu() -> bool:
    """Whether JAX runs on one."""
    import jax

    return jax.default_backend() == "gpu"


def device_peak_gib() -> float:
    """Largest allocation of JAX on the device so far, GiB; 0 where it is not counted."""
    import jax

    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30
