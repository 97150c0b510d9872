"""The training stage at a small size: adapters, cameras, every option of the loss, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from recap_core.checkpoints.params import load_params
from recap_core.checkpoints.trees import flatten
from recap_core.config.policy import LoraConfig
from recap_core.errors import CheckpointError, IncompatibleError
from recap_core.lineage.artifacts import Artifact, PolicyCheckpoint
from recap_core.lineage.store import Store
from recap_core.stages.train_policy import train_policy
from tests.core.stages.policy_training import ADAPTED, MODEL, config, inputs, trained
from tests.ports import free_port

pytestmark = pytest.mark.timeout(300)  # trains and compiles; a busy machine takes minutes

ROOT = Path(__file__).parents[3]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With a full policy of one step."""
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def full(store: Store) -> PolicyCheckpoint:
    """A policy without adapters."""
    return trained(store, MODEL, 1)


@pytest.fixture(scope="module")
def adapted(store: Store, full: PolicyCheckpoint) -> PolicyCheckpoint:
    """Six steps of adapters on it."""
    return trained(store, ADAPTED, 6, start=full)


def _params(store: Store, policy: Artifact) -> dict[str, Any]:
    return flatten(load_params(store.path(policy) / "params"))


def test_adapters_train_on_a_full_policy(
    store: Store, full: PolicyCheckpoint, adapted: PolicyCheckpoint
) -> None:
    """Frozen leaves are the start's, in bfloat16; all others, the vision encoder too, moved."""
    before, after = _params(store, full), _params(store, adapted)

    assert {path for path in after if path not in before} == {p for p in after if "lora" in p}
    for path, leaf in after.items():
        if "llm" in path and "lora" not in path:
            assert leaf.dtype == BFLOAT16
            np.testing.assert_array_equal(leaf, before[path].astype(BFLOAT16))
        else:
            assert leaf.dtype == np.float32
    moved = [path for path in before if after[path].dtype == np.float32]
    assert sum(bool((after[path] != before[path]).any()) for path in moved) > len(moved) // 2


def test_the_metrics_say_how_fast_and_how_large(store: Store, adapted: PolicyCheckpoint) -> None:
    """One line per step, with losses by class, rates and memory."""
    lines = (store.path(adapted) / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]

    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    wanted = {"loss", "grad_norm", "lr", "steps_per_s", "samples_per_s", "data_wait", "host_gb"}
    assert wanted <= rows[-1].keys()
    # The peak of a CPU is not known.
    assert "mfu" not in rows[-1]
    assert any("loss_none" in row for row in rows)
    assert any("loss_positive" in row for row in rows)
    assert any("loss_dropped" in row for row in rows)


def test_a_robot_may_lack_a_wrist_camera(store: Store) -> None:
    """The model has two views and the robot one camera: the other view is black and masked."""
    wider = MODEL.model_copy(update={"views": ("base_0_rgb", "right_wrist_0_rgb")})

    policy = trained(store, wider, 1)

    assert policy.num_steps == 1


def test_norm_stats_of_other_actions_are_refused(store: Store) -> None:
    """Statistics of relative joints say nothing of absolute ones."""
    dataset, stats = inputs(store)
    settings = config(MODEL, 1)
    embodiment = settings.policy.embodiment.model_copy(update={"delta_mask": ()})
    policy = settings.policy.model_copy(update={"embodiment": embodiment})

    with pytest.raises(IncompatibleError, match=rf"{stats.id[:8]}.*delta_mask \(\(1, -1, 1, -1\)"):
        train_policy(
            dataset,
            stats,
            None,
            settings.model_copy(update={"policy": policy}),
            name="absolute",
            store=store,
        )


def test_a_start_keeps_its_normalisation(store: Store, full: PolicyCheckpoint) -> None:
    """The same statistics, used as z-scores instead of quantiles, would shift every action."""
    dataset, stats = inputs(store)
    settings = config(MODEL, 1)
    embodiment = settings.policy.embodiment.model_copy(update={"normalization": "z_score"})
    policy = settings.policy.model_copy(update={"embodiment": embodiment})

    with pytest.raises(IncompatibleError, match=r"normalization \(quantile, not z_score\)"):
        train_policy(
            dataset,
            stats,
            full,
            settings.model_copy(update={"policy": policy}),
            name="z-scores",
            store=store,
        )


def test_a_full_policy_does_not_start_from_adapters(
    store: Store, adapted: PolicyCheckpoint
) -> None:
    """The other way round the adapters would be lost in silence."""
    with pytest.raises(CheckpointError, match="lora"):
        trained(store, MODEL, 2, start=adapted)


def test_adapters_of_another_scale_are_refused(store: Store, adapted: PolicyCheckpoint) -> None:
    """The leaves have the same shapes, but would be multiplied by another factor."""
    other = ADAPTED.model_copy(
        update={"vlm": ADAPTED.vlm.model_copy(update={"lora": LoraConfig(rank=2, alpha=4)})}
    )

    with pytest.raises(IncompatibleError, match=r"policy\.model\.vlm\.lora is .*alpha=4"):
        trained(store, other, 2, start=adapted)


def _process(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (home.parent / f"output{'-'.join(arguments[1:3])}.txt").open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-m", "tests.core.stages.policy_training", str(home), *arguments],
            cwd=ROOT,
            env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
            stdout=output,
            stderr=output,
        )


def _wait_for_steps(home: Path, num_steps: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        files = home.glob("work/*/training/metrics.jsonl")
        if any(len(file.read_text().splitlines()) >= num_steps for file in files):
            return
        time.sleep(0.02)
    raise AssertionError(f"{num_steps} steps took too long")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sigterm_loses_nothing(tmp_path: Path) -> None:
    """A killed stage ends with an error and a checkpoint; run again, it has the same bits."""
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    uninterrupted = _process(whole, "150", "fresh")
    process = _process(stopped, "150", "fresh")
    _wait_for_steps(stopped, 3)
    process.send_signal(signal.SIGTERM)

    assert process.wait(300) != 0
    (work,) = stopped.glob("work/*/training")
    done = len((work / "metrics.jsonl").read_text().splitlines())
    assert 3 <= done < 150
    assert (work / f"step_{done:08d}").is_dir()

    assert _process(stopped, "150", "fresh").wait(600) == 0
    assert uninterrupted.wait(600) == 0
    found, expected = (
        _params(Store(home), Store(home).get((home / "result.txt").read_text()))
        for home in (stopped, whole)
    )
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_make_one_artifact(tmp_path: Path) -> None:
    """Both return the same policy, which the first one published."""
    home = tmp_path / "home"
    coordinator = f"127.0.0.1:{free_port()}"
    # The inputs first: two processes would make them twice.
    inputs(Store(home))

    processes = [_process(home, "3", "fresh", str(i), coordinator) for i in range(2)]

    assert [process.wait(600) for process in processes] == [0, 0]
    first, second = ((home / f"result{i}.txt").read_text() for i in range(2))
    assert first == second
    policy = Store(home).get(first)
    assert isinstance(policy, PolicyCheckpoint)
    assert policy.num_steps == 3
