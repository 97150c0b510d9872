"""SIGKILL at random moments of value inference, of labelling and of the relabel.

Counts are printed; run with ``make stress``, which kills 50 times each (``RECAP_KILLS``).
"""

import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from recap_core.config.inference import InferRuntime
from recap_core.config.labels import LabelConfig
from recap_core.config.stages import InferValuesConfig
from recap_core.lineage.artifacts import Artifact, DatasetCopy, Labels, Values
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.store import Store
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.infer_values import infer_values
from recap_core.stages.label import label_dataset
from recap_core.stages.relabel import relabel_dataset
from tests.core.stages.value_inference import Inputs, store_inputs

NUM_KILLS = int(os.environ.get("RECAP_KILLS", "50"))
"""Per operation."""
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "tests.core.stages.value_inference"])
# A hundred shards of four calls: most moments are amid inference, some amid a file.
RUNTIME = InferRuntime(batch_size=2, shard_frames=8)


class Made(NamedTuple):
    """What operations work on, besides the dataset and the value model."""

    values: Values
    labels: Labels
    copy: DatasetCopy


def infer(inputs: Inputs, made: Made) -> Artifact:
    del made
    dataset, model, store = inputs
    config = InferValuesConfig(frames="rollouts")
    return infer_values(dataset, model, config, RUNTIME, name="killed", store=store)


def label(inputs: Inputs, made: Made) -> Artifact:
    config = LabelConfig(lookahead=7)
    return label_dataset(inputs.dataset, made.values, config, name="killed", store=inputs.store)


def relabel(inputs: Inputs, made: Made) -> Artifact:
    return relabel_dataset(made.copy, made.labels, name="killed", store=inputs.store)


OPERATIONS: dict[str, Callable[[Inputs, Made], Artifact]] = {
    "infer": infer,
    "label": label,
    "relabel": relabel,
}
RESULT_FILES = {"infer": "values.npy", "label": "labels.parquet", "relabel": "meta/info.json"}


def _child(operation: str, inputs: tuple[Any, Any, Path], made: Made, ready: Connection) -> None:
    for name in ("recap_core.data.relabel", "recap_core.data.label_table", "jax"):
        importlib.import_module(name)  # moments are to be amid the work
    importlib.import_module("recap_core.valuation.inference")
    dataset, model, home = inputs
    store = Store(home)
    ready.send("started")
    ready.send(store.path(OPERATIONS[operation](Inputs(dataset, model, store), made)))


def _run(
    operation: str,
    inputs: Inputs,
    made: Made,
    *,
    kill_after_s: float | None,
    kill_at_shards: int | None = None,
) -> tuple[Path | None, float]:
    """Run an operation in a child; its result, None if it was killed before, and the seconds.

    It is killed some time after it began, or after it has finished so many shards.
    """
    mine, its = PROCESSES.Pipe()
    passed = (inputs.dataset, inputs.value_model, inputs.store.home)
    process = PROCESSES.Process(target=_child, args=(operation, passed, made, its))
    process.start()
    its.close()
    assert mine.recv() == "started"
    began, path = time.monotonic(), None
    while kill_at_shards and not mine.poll(0.001):
        if _num_shards(inputs.store) >= kill_at_shards:
            break
    if kill_after_s is None or mine.poll(kill_after_s):
        path = mine.recv()
    else:
        process.kill()
    seconds = time.monotonic() - began
    process.join()
    return path, seconds


def _prepared(home: Path) -> tuple[Inputs, Made]:
    inputs = store_inputs(home, length=400)
    dataset, model, store = inputs
    values = infer_values(dataset, model, InferValuesConfig(), RUNTIME, name="v", store=store)
    labels = label_dataset(dataset, values, LabelConfig(), name="l", store=store)
    return inputs, Made(values, labels, copy_dataset(dataset, name="c", store=store))


def _check_visible(store: Store) -> None:
    """Whatever is there is listed, and has the content that it was published with."""
    directories = {path for kind in store.home.glob("artifacts/[a-z]*") for path in kind.iterdir()}
    found = [manifest.artifact() for manifest in Store(store.home).artifacts()]
    assert {store.path(artifact) for artifact in found} == directories
    for artifact in found:
        store.verify(artifact)


def _num_shards(store: Store) -> int:
    """Finished shards now, while a process may be removing them."""
    try:
        return sum(1 for _ in store.home.glob("work/*/values/*.values"))
    except FileNotFoundError:
        return 0


def _finished_shards(store: Store) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every finished shard."""
    files = store.home.glob("work/*/values/*.values")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_killed_operation_goes_on(operation: str, tmp_path: Path) -> None:
    """Finished shards are never made again, nothing partial is visible, the bytes are the same."""
    inputs, made = _prepared(tmp_path / "home")
    store, rng = inputs.store, np.random.default_rng(len(operation))
    sources = [manifest.artifact() for manifest in store.artifacts()]
    whole, _ = _run(operation, inputs, made, kill_after_s=None)
    assert whole is not None
    expected = tree_digest(whole, None), (whole / RESULT_FILES[operation]).read_bytes()
    _forget(store)
    again, duration_s = _run(operation, inputs, made, kill_after_s=None)  # programs are compiled
    assert again is not None

    num_kills = num_runs = num_amid = 0
    while num_kills < NUM_KILLS:
        _forget(store)
        path, shards = None, {}
        while path is None:
            moment_s = None if num_kills >= NUM_KILLS else rng.uniform(0, 1.1 * duration_s)
            num_shards = None
            if operation == "infer" and moment_s is not None and rng.random() < 0.7:
                moment_s, num_shards = rng.uniform(0, 0.01), len(shards) + int(rng.integers(1, 30))
            path, _ = _run(
                operation, inputs, made, kill_after_s=moment_s, kill_at_shards=num_shards
            )
            num_runs += 1
            num_kills += path is None
            kept = _finished_shards(store)
            is_published = any(m.name == "killed" for m in store.artifacts())
            num_amid += not is_published and len(kept) > len(shards)
            if not is_published:  # else they are being removed
                assert {name: kept[name] for name in shards} == shards, "a shard was made again"
            shards = kept
            _check_visible(store)
        found = tree_digest(path, None), (path / RESULT_FILES[operation]).read_bytes()
        assert found == expected

    for artifact in sources:
        store.verify(artifact)
    assert not list(store.home.glob("work/*/values"))
    sys.stdout.write(
        f"{operation}: {num_kills} kills of {num_runs} runs ({1e3 * duration_s:.0f} ms each), "
        f"{num_amid} after new shards\n"
    )


def _forget(store: Store) -> None:
    (artifact,) = (m.artifact() for m in store.artifacts() if m.name == "killed")
    store.remove(artifact)
