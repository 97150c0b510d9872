"""Rounds as artifacts: found in order, with their parts by role."""

from pathlib import Path

import pytest

from recap_core.config.base import Config
from recap_core.config.gate import GateDecision
from recap_core.config.iteration import RecordIterationConfig
from recap_core.lineage.artifacts import Iteration, Recording
from recap_core.lineage.iterations import iteration_records
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.record_iteration import record_iteration
from recap_core.stages.registry import RECORD_ITERATION, stage_call

SOURCE = Stage("source", 1, Recording)
DETAILS = {
    "num_episodes": 1, "num_frames": 1, "num_successes": 0, "num_intervention_frames": 0,
    "fps": 10, "task": "t", "mode": "rollout", "round_index": 1,
}  # fmt: skip


class _Number(Config):
    number: int


def _recording(store: Store, number: int) -> Recording:
    def build(area: Build) -> Built:
        (area.output / "x").write_text(str(number))
        return Built(DETAILS)

    return store.produce(SOURCE, _Number(number=number), {}, name="r", build=build)


def _round(store: Store, k: int, project: str = "p") -> Iteration:
    parts = {
        "recordings": [_recording(store, k), _recording(store, 100 + k)],
        "values": None,
        "earlier": (),
    }
    config = RecordIterationConfig(
        project=project,
        robot="arm",
        round_index=k,
        decision=GateDecision(verdict="kept", reasons=("not better",)),
        settings={"seed": k},
    )
    return record_iteration(parts, config, name=f"round-{k}", store=store)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_rounds_are_found_in_their_order(store: Store) -> None:
    """By round, not by the time at which they ended; other projects apart."""
    second, first, other = _round(store, 2), _round(store, 1), _round(store, 1, "q")

    assert [r.artifact for r in iteration_records(store, "p")] == [first, second]
    assert [r.artifact for r in iteration_records(store)] == [first, second, other]


def test_a_round_names_its_parts(store: Store) -> None:
    """Every recording, in order; nothing for a role that it does not have."""
    _round(store, 1)
    (record,) = iteration_records(store)

    assert record.ids("recordings") == (_recording(store, 1).id, _recording(store, 101).id)
    assert record.id("values") is None


def test_a_round_keeps_its_decision_and_settings(store: Store) -> None:
    """They come back as they were given."""
    _round(store, 3)
    (record,) = iteration_records(store)

    said = record.record(store)
    assert said.decision == GateDecision(verdict="kept", reasons=("not better",))
    assert said.settings == {"seed": 3}


def test_the_same_round_again_is_the_same_artifact(store: Store) -> None:
    """Recording a round twice adds nothing."""
    assert _round(store, 1) == _round(store, 1)
    assert len(iteration_records(store)) == 1


def test_a_role_without_parts_changes_no_key(store: Store) -> None:
    """What a task computes of its arguments is what the stage publishes under."""
    parts = {"recordings": [_recording(store, 1)], "earlier": (), "values": None}
    config = RecordIterationConfig(
        project="p",
        robot="arm",
        round_index=1,
        decision=GateDecision(verdict="kept"),
        settings={},
    )
    made = record_iteration(parts, config, name="round-1", store=store)

    call = stage_call(RECORD_ITERATION, {"parts": parts, "config": config, "name": "round-1"})
    assert store.find(*call) == made
