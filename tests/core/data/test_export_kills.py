"""SIGKILL at random moments of an export, which happens outside of any store.

``make check`` kills a few times; ``make stress`` sets ``RECAP_KILLS`` and kills hundreds of times.
"""

import multiprocessing
import os
import shutil
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from recap_core.data.export_v21 import export_v21
from recap_core.data.merge import merge_datasets
from recap_core.lineage.atomic_directory import atomic_directory
from recap_core.lineage.digests import tree_digest

NUM_KILLS = int(os.environ.get("RECAP_KILLS", "2"))
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "recap_core.data.export_v21"])


def _child(source: Path, target: Path, ready: Connection) -> None:
    ready.send("started")
    with atomic_directory(target) as draft:
        export_v21(source, draft)
    ready.send("finished")


def _run(source: Path, target: Path, *, kill_after_s: float | None) -> tuple[bool, float]:
    """Export in a child; whether it was killed before it finished, and the seconds."""
    mine, its = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_child, args=(source, target, its))
    process.start()
    its.close()
    assert mine.recv() == "started"
    began = time.monotonic()
    is_killed = kill_after_s is not None and not mine.poll(kill_after_s)
    if is_killed:
        process.kill()
    else:
        assert mine.recv() == "finished"
    seconds = time.monotonic() - began
    process.join()
    return is_killed, seconds


@pytest.mark.timeout(1800 if NUM_KILLS > 10 else 600)
def test_a_killed_export_is_invisible_and_the_next_one_succeeds(
    dataset: Path, tmp_path: Path
) -> None:
    """The directory is not there, the source is untouched, and the next export is the same."""
    source, target = tmp_path / "source", tmp_path / "out" / "v21"
    merge_datasets([dataset], source, repeats=[4])
    before = tree_digest(source, None)
    _, duration_s = _run(source, tmp_path / "whole", kill_after_s=None)
    expected = tree_digest(tmp_path / "whole", None)
    rng, num_kills = np.random.default_rng(0), 0

    while num_kills < NUM_KILLS:
        is_killed, _ = _run(source, target, kill_after_s=rng.uniform(0, duration_s))
        num_kills += is_killed
        if target.exists():  # not killed, or after the rename
            assert tree_digest(target, None) == expected
            shutil.rmtree(target)
        else:
            assert is_killed

    _run(source, target, kill_after_s=None)
    assert tree_digest(target, None) == expected
    assert tree_digest(source, None) == before
    assert [path.name for path in target.parent.iterdir()] == ["v21"]
