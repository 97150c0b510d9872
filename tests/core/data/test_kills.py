"""SIGKILL at random moments of everything that writes a dataset.

``make check`` kills a few times; ``make stress`` sets ``RECAP_KILLS`` and kills hundreds of times.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.config.base import Config
from recap_core.config.dataset import ConvertConfig, MergeConfig
from recap_core.config.import_dataset import ImportConfig
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_recording
from recap_core.lineage.artifacts import Dataset, Recording
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.convert import convert_recording
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.import_dataset import import_dataset
from recap_core.stages.merge import merge_datasets

NUM_KILLS = int(os.environ.get("RECAP_KILLS", "2"))
"""Per operation."""
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "recap_core.data.convert", "recap_core.data.merge"])


class Inputs:
    """What operations work on: a store with a recording and a dataset in it."""

    def __init__(self, home: Path) -> None:
        self.store = Store(home)
        self.recording = self.store.produce(
            Stage("synthetic", 1, Recording), Config(), {}, name="day", build=_record
        )
        self.dataset = convert_recording(
            self.recording, ConvertConfig(task="stack"), name="source", store=self.store
        )


def _record(area: Build) -> Built:
    write_synthetic_recording(area.output, robot=SyntheticRobot())
    return Built(
        {
            "num_episodes": 4,
            "num_frames": 46,
            "num_successes": 2,
            "num_intervention_frames": 5,
            "fps": 10,
            "task": "transfer cube",
            "mode": "rollout",
            "round_index": 1,
        }
    )


def convert(store: Store, recording: Recording, dataset: Dataset) -> Path:
    del dataset
    # 12 fps is not the recording's rate: every video is encoded anew, which takes longest.
    config = ConvertConfig(target_fps=12)
    return store.path(convert_recording(recording, config, name="killed", store=store))


def merge(store: Store, recording: Recording, dataset: Dataset) -> Path:
    del recording
    config = MergeConfig(repeats=(5,))
    return store.path(merge_datasets([dataset], config, name="killed", store=store))


def copy(store: Store, recording: Recording, dataset: Dataset) -> Path:
    del recording
    return store.path(copy_dataset(dataset, name="killed", store=store))


def adopt(store: Store, recording: Recording, dataset: Dataset) -> Path:
    del recording
    source = store.path(dataset)
    return store.path(import_dataset(source, ImportConfig(), name="killed", store=store))


OPERATIONS: dict[str, Callable[..., Path]] = {
    "convert": convert,
    "merge": merge,
    "copy": copy,
    "import": adopt,
}


def _child(
    operation: str, home: Path, recording: Recording, dataset: Dataset, ready: Connection
) -> None:
    store = Store(home)
    ready.send("started")
    path = OPERATIONS[operation](store, recording, dataset)
    ready.send(path)


def _run(
    operation: str, inputs: Inputs, *, kill_after_s: float | None
) -> tuple[Path | None, float]:
    """Run an operation in a child; its result, None if it was killed before, and the seconds."""
    mine, its = PROCESSES.Pipe()
    arguments: Any = (operation, inputs.store.home, inputs.recording, inputs.dataset, its)
    process = PROCESSES.Process(target=_child, args=arguments)
    process.start()
    its.close()
    assert mine.recv() == "started"
    began, path = time.monotonic(), None
    if kill_after_s is None or mine.poll(kill_after_s):
        path = mine.recv()
    else:
        process.kill()
    seconds = time.monotonic() - began
    process.join()
    return path, seconds


def _visible(store: Store) -> set[str]:
    """Artifacts that anybody can see, each of them verified."""
    found = [manifest.artifact() for manifest in Store(store.home).artifacts()]
    for artifact in found:
        store.verify(artifact)
    return {artifact.name for artifact in found}


@pytest.mark.timeout(1800 if NUM_KILLS > 10 else 600)
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_kill_leaves_nothing_and_the_next_run_succeeds(operation: str, tmp_path: Path) -> None:
    """No partial dataset, sources byte-identical, and in the end the same result."""
    inputs = Inputs(tmp_path / "home")
    store, rng = inputs.store, np.random.default_rng(len(operation))
    sources = [store.path(inputs.recording), store.path(inputs.dataset)]
    before = [tree_digest(path, None) for path in sources]
    whole, duration_s = _run(operation, inputs, kill_after_s=None)
    assert whole is not None
    expected = tree_digest(whole, None)

    num_kills = 0
    while num_kills < NUM_KILLS:
        (artifact,) = (m.artifact() for m in store.artifacts() if m.name == "killed")
        store.remove(artifact)
        path = None
        while path is None:
            moment_s = None if num_kills >= NUM_KILLS else rng.uniform(0, duration_s)
            path, _ = _run(operation, inputs, kill_after_s=moment_s)
            num_kills += path is None
            assert _visible(store) <= {"day", "source", "killed"}
        assert tree_digest(path, None) == expected

    assert [tree_digest(path, None) for path in sources] == before
    assert _visible(store) == {"day", "source", "killed"}
    # Small files of a killed process are swept when they are an hour old.
    left = [path.name for path in store.home.glob(".tmp-*") if ".tmp-file-" not in path.name]
    assert not left
