"""The plumbing demo through the real command line: server, simulator, videos, training, report."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recap_core.data.lerobot_bridge import open_dataset
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.store import Store
from recap_core.stages.registry import STAGES
from tests.stage_processes import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_STAGES = 19
FROM_OUTSIDE = {
    "align_value",
    "import_policy",
    "import_value",
    "annotate",
    "check_policy",
    "score_recording",
    "record_evaluation",
    "ingest",
    "import_dataset",
    "import_labels",
    "load_norm_stats",
}
"""Stages that begin with something a person brings; the demo has no person."""


@pytest.fixture(scope="module")
def first(recap: Callable[..., subprocess.CompletedProcess[str]]) -> dict:
    """A demo in an empty store."""
    import json

    done = recap("demo", "--plumbing", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _processes_of(home: Path) -> list[int]:
    """Live processes whose environment names the store."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"RECAP_HOME={home}".encode() in environment.split(b"\0"):
                found.append(int(entry.name))
    return found


def test_the_demo_runs_every_stage(first: dict) -> None:
    """Bootstrap, one round and the control; nothing was cached, nothing is missing."""
    assert len(first["stages"]) == NUM_STAGES
    assert not any(stage["cached"] for stage in first["stages"])
    ran = {stage["stage"].replace("-", "_") for stage in first["stages"]}
    assert ran == set(STAGES) - FROM_OUTSIDE


def test_the_demo_leaves_no_process_behind(first: dict, home: Path) -> None:
    """Server and simulator probes are gone when the command has returned."""
    del first
    until(lambda: not _processes_of(home))


def test_a_second_demo_executes_nothing(
    first: dict,
    recap: Callable[..., subprocess.CompletedProcess[str]],
    answer_of: Callable[[subprocess.CompletedProcess[str]], dict],
) -> None:
    """Every stage is cached, and is the artifact of the first run."""
    again = answer_of(recap("demo", "--plumbing", "--json"))

    assert all(stage["cached"] for stage in again["stages"])
    assert [s["id"] for s in again["stages"]] == [s["id"] for s in first["stages"]]


def test_the_dataset_opens_in_lerobot(first: dict, home: Path) -> None:
    """The relabelled dataset: every column, and videos where cameras were rendered."""
    [stage] = [s for s in first["stages"] if s["kind"] == "relabeled_dataset"]
    store = Store(home)
    dataset = open_dataset(store.path(store.get(stage["id"])))

    frame: Any = dataset[len(dataset) - 1]

    assert len(dataset) == stage["num_frames"]
    assert frame["adv_ind"] in {"positive", "negative", "none"}
    assert {"intervention", "reward", "reward_label", "value_label"} <= set(frame)
    for camera in stage["cameras"]:
        assert tuple(frame[camera].shape) == (3, 64, 64)


def test_relabelling_left_its_source_untouched(first: dict, home: Path) -> None:
    """The merged dataset still has the digest it was published with, file by file."""
    [stage] = [s for s in first["stages"] if s["stage"] == "merge"]
    store = Store(home)
    merged = store.get(stage["id"])

    assert tree_digest(store.path(merged), None) == merged.digest


def test_the_report_is_one_page_with_the_numbers(first: dict, home: Path) -> None:
    """What the table says stands in the report."""
    [stage] = [s for s in first["stages"] if s["kind"] == "report"]
    store = Store(home)
    page = (store.path(store.get(stage["id"])) / "index.html").read_text()

    for evaluation in (s for s in first["stages"] if s["kind"] == "evaluation"):
        assert f"{evaluation['num_successes']} of {evaluation['num_episodes']}" in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_another_label_rule_re_executes_only_what_depends_on_it(
    first: dict,
    recap: Callable[..., subprocess.CompletedProcess[str]],
    answer_of: Callable[[subprocess.CompletedProcess[str]], dict],
) -> None:
    """Labels, relabelled data, policy, evaluation, report and record are new; the rest is not."""
    changed = answer_of(
        recap("demo", "--plumbing", "--json", "-s", "iteration.label.positive_share=0.5")
    )

    new = {(s["stage"], s["name"]) for s in changed["stages"] if not s["cached"]}
    assert new == {
        ("label", "round-1"),
        ("relabel", "round-1-relabeled"),
        ("train-policy", "round-1"),
        ("evaluate", "round-1"),
        ("report", "round-1"),
        ("record-iteration", "round-1"),
    }
    assert len(changed["stages"]) == len(first["stages"])
