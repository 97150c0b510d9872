"""Trainings on eight simulated devices, and on two hosts, equal those on one device.

Equal up to the order of sums: every leaf of parameters and average within 1e-5 of its largest
number after three steps (1.5e-6 was seen), every metric within 1e-5 (1.4e-6 was seen). Adam's eps
is 1e-3 here: at 1e-8, where a gradient is zero but for rounding, steps are arbitrary on any number
of devices.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.config.training import TrainRuntime
from recap_core.errors import ConfigError
from recap_core.training.loop import train
from tests.core.training import regression
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 500
PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=500"
"""A device that is late, because another process has its core, ends no training."""
ONE = {"num_devices": 1}
BOTH = {"fsdp_devices": 4}
EIGHT = {"data": {}, "fsdp": {"fsdp_devices": 8}}
IS_LONG = bool(os.environ.get("RECAP_LONG"))
LONG = pytest.mark.skipif(
    not IS_LONG, reason="minutes of compiling: `make stress` runs it, with RECAP_LONG=1"
)
NUM_SPLIT = 104
"""Leaves of the small model's state that are split: those of two axes and 512 bytes or more."""

type Run = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Leaves of the final state, and the report."""
type Runs = Callable[[str], Run]


class _Process:
    """One that trains, its output in a file: nobody has to empty a pipe."""

    def __init__(self, folder: Path, jobs: list[dict], num_devices: int, *more: str) -> None:
        flags = f"--xla_force_host_platform_device_count={num_devices} {PATIENT}"
        arguments = [str(folder), json.dumps(jobs), *more]
        self._output = folder / f"output{num_devices}{''.join(more[:1])}.txt"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-m", "tests.core.training.many_devices", *arguments],
                cwd=ROOT,
                env=os.environ | {"XLA_FLAGS": f"{flags} --xla_backend_optimization_level=0"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> None:
        """Wait for its success."""
        try:
            code = self._process.wait(TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
        assert code == 0, self._output.read_text()[-4000:]


def _read(folder: Path, name: str) -> Run:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays), json.loads((folder / f"{name}.json").read_text())


def _job(name: str, num_steps: int, runtime: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"name": name, "work": name, "num_steps": num_steps, "runtime": runtime} | more


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """What was trained in one process with eight devices."""
    folder = tmp_path_factory.mktemp("eight")
    jobs = [_job("one", 3, ONE), _job("fsdp", 3, EIGHT["fsdp"])]
    # Saved on eight devices and resumed on one, and the other way round.
    jobs += [_job("to one", 2, BOTH), _job("to one", 3, ONE)]
    if IS_LONG:
        parts = BOTH | {"micro_batches": 2}
        jobs += [_job("to eight", 2, ONE), _job("to eight", 3, BOTH)]
        jobs += [_job("data", 3, EIGHT["data"])]
        jobs += [_job("lora one", 3, ONE, lora=True), _job("lora", 3, parts, lora=True)]
    _Process(folder, jobs, 8).finish()
    return lambda name: _read(folder, name)


def _assert_same_training(found: Run, expected: Run) -> None:
    (leaves, report), (expected_leaves, expected_report) = found, expected
    assert leaves.keys() == expected_leaves.keys()
    for path, leaf in expected_leaves.items():
        if "opt_state" not in path:
            np.testing.assert_allclose(
                leaves[path], leaf, rtol=0, atol=1e-5 * np.abs(leaf).max(), err_msg=path
            )
    for row, expected_row in zip(report["metrics"], expected_report["metrics"], strict=True):
        for name in ("loss", "grad_norm", "loss_positive", "loss_dropped", "param_norm"):
            assert row.get(name) == pytest.approx(expected_row.get(name), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("data", marks=LONG), "fsdp"])
def test_three_steps_equal_those_of_one_device(eight: Runs, name: str) -> None:
    """Whatever the mesh."""
    found = eight(name)

    _assert_same_training(found, eight("one"))
    assert found[1]["split"] == (0 if name == "data" else NUM_SPLIT)


@LONG
@pytest.mark.slow
def test_adapters_train_alike_on_many_devices(eight: Runs) -> None:
    """LoRA with frozen bfloat16 leaves, FSDP and micro-batches together."""
    _assert_same_training(eight("lora"), eight("lora one"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["to one", pytest.param("to eight", marks=LONG)])
def test_a_checkpoint_resumes_on_another_number_of_devices(eight: Runs, name: str) -> None:
    """Two steps there, one step here: the same as three steps here."""
    found = eight(name)

    _assert_same_training(found, eight("one"))
    assert len(found[1]["metrics"]) == 3
    assert found[1]["split"] == (0 if name == "to one" else NUM_SPLIT)


@LONG
@pytest.mark.slow
def test_two_hosts_train_as_one(tmp_path: Path) -> None:
    """Two processes, each with half of the rows and of the state: save, resume, one set of files.

    The second training of the pair continues from what both wrote together.
    """
    split = {"fsdp_devices": 2, "micro_batches": 2, "save_interval": 2}
    jobs = [_job("two", 2, split), _job("two", 3, split)]
    coordinator = f"127.0.0.1:{free_port()}"
    hosts = [_Process(tmp_path, jobs, 1, str(host), coordinator) for host in range(2)]
    alone = _Process(tmp_path, [_job("alone", 3, {})], 1)

    for process in (*hosts, alone):
        process.finish()

    found = _read(tmp_path, "two")
    _assert_same_training(found, _read(tmp_path, "alone"))
    assert found[1]["split"] == NUM_SPLIT
    checkpoints = sorted(path.name for path in (tmp_path / "two").glob("*step*"))
    assert checkpoints == ["step_00000002", "step_00000003"]


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ({"micro_batches": 3}, "batch_size is 4, which cannot be shared evenly by 1 devices in 3"),
        ({"micro_batches": 2}, "this loss cannot be computed in parts"),
        ({"fsdp_devices": 2}, "fsdp_devices is 2, which does not divide the 1 devices"),
        ({"num_devices": 2}, "num_devices is 2, but there are 1"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    tmp_path: Path, runtime: dict[str, int], message: str
) -> None:
    """Before the first step, with the numbers that do not fit."""
    with pytest.raises(ConfigError, match=message):
        train(
            regression.loss,
            regression.params(),
            regression.LineBatches(),
            regression.config(2),
            TrainRuntime.model_validate(runtime),
            work=tmp_path,
        )


def test_hosts_are_named_completely() -> None:
    """A coordinator without a number of processes is a mistake."""
    with pytest.raises(ValueError, match="set all three, or none"):
        TrainRuntime(coordinator="127.0.0.1:1234")
