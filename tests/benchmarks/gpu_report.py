"""Measure on a GPU within a time limit: sections in processes of their own, then one table.

    python -m tests.benchmarks.gpu_report --out OUT --limit-s 330 matmul_jax value_ours ...

Needs no test runner and nothing that this repository adds to JAX, PyTorch and pydantic. A section
that fails or takes too long costs its own rows. ``--size tiny`` rehearses all on a CPU.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LIMITS_S = {
    "matmul_jax": 45,
    "matmul_torch": 40,
    "value_ours": 200,
    "value_torch": 75,
    "value_torch_compiled": 110,
    "train_ours": 170,
    "train_torch": 75,
    "policy_lora_24gb": 90,
    "policy_lora": 150,
    "openpi_lora": 120,
    "policy_full": 130,
    "openpi_full": 120,
    "policy_sampler": 150,
    "checkpoint": 90,
}
SMALL_CARD_GIB = 22.3
"""What a process can have of a 24 GB card."""


def memory_fraction(name: str) -> str:
    """Share of the card that JAX takes in a section."""
    if "24gb" not in name:
        return "0.94"
    try:
        query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        total = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout  # noqa: S603
        return f"{SMALL_CARD_GIB * 1024 / float(total.split()[0]):.4f}"
    except (OSError, subprocess.SubprocessError, ValueError):
        return "0.94"


def run_section(name: str, out: Path, size: str, limit_s: float) -> str:
    """Run one section; returns how it ended."""
    environment = os.environ | {
        "RECAP_BENCH_SIZE": size,
        "RECAP_GPU_REPORT": str(out / "report.jsonl"),
        "JAX_COMPILATION_CACHE_DIR": "/tmp/recap-xla",  # noqa: S108 - lives as long as the machine
        "XLA_PYTHON_CLIENT_MEM_FRACTION": memory_fraction(name),
        # JAX only makes the weights there, and must leave the card to PyTorch.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false" if "torch" in name else "true",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if "torch" in name:
        environment["JAX_PLATFORMS"] = "cpu"  # JAX makes the weights, and would take the card
    command = [sys.executable, "-m", "tests.benchmarks.gpu_sections", name]
    with (out / "log.txt").open("a") as log:
        log.write(f"\n==== {name}\n")
        log.flush()
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"stopped after {limit_s:.0f} s"
    return "done" if code == 0 else f"exit code {code}"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One line per row: time, frames per second, rate and its share of the best product's."""
    rates = [
        row["tflop"] / row["seconds"]
        for row in rows
        if row["section"].startswith("matmul") and row["name"] == "square" and "seconds" in row
    ]
    best = max(rates, default=0.0)
    lines = [f"matmul rate: {best:.0f} TFLOP/s"]
    for row in rows:
        known = {"section", "name", "seconds", "tflop", "frames_per_s", "batch"}
        cells = [f"{row['section']:<21}{row['name']:<36}"]
        if "seconds" in row:
            cells.append(f"b{row.get('batch', 1):<4}{1e3 * row['seconds']:9.2f} ms")
        if "frames_per_s" in row:
            cells.append(f"{row['frames_per_s']:8.1f}/s")
        if "tflop" in row:
            rate = row["tflop"] / row["seconds"]
            cells.append(f"{rate:7.1f} TF/s {100 * rate / best if best else 0:5.1f} %")
        rest = {key: _short(value) for key, value in row.items() if key not in known}
        cells.extend(f"{key}={value}" for key, value in rest.items())
        lines.append(" ".join(cells))
    return lines


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def read_rows(out: Path) -> list[dict[str, Any]]:
    """All rows noted so far."""
    path = out / "report.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Run sections until the time is over, then print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", default=list(LIMITS_S))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit-s", type=float, default=330)
    parser.add_argument("--size", default="full")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    ends, began = {}, time.monotonic()
    for name in arguments.sections or LIMITS_S:
        left = arguments.limit_s - (time.monotonic() - began)
        if left < 10:
            ends[name] = "no time left"
            continue
        started = time.monotonic()
        limit_s = min(left, LIMITS_S.get(name, 120))
        end = run_section(name, arguments.out, arguments.size, limit_s)
        ends[name] = f"{end}, {time.monotonic() - started:.0f} s"
        print(f"{name}: {ends[name]}", flush=True)  # noqa: T201
    lines = [*table(read_rows(arguments.out)), *(f"{name}: {end}" for name, end in ends.items())]
    (arguments.out / "table.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
