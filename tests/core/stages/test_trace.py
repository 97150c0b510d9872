"""Back from a policy, and forward from a recording."""

import json
from pathlib import Path

import pytest

from recap_core.data.synthetic import write_synthetic_recording
from recap_core.errors import IncompatibleError
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store
from recap_core.stages.ingest import describe_session, ingest_recording
from recap_core.stages.trace import recordings_behind, trace
from tests.generated_store import UNHEALTHY_ROUND, GeneratedStore


@pytest.fixture(scope="module")
def snapshot(eight_rounds: GeneratedStore) -> Snapshot:
    """The store, read once."""
    return Snapshot(eight_rounds.store)


def test_a_policy_leads_back_to_every_recording_and_to_no_earlier_policy(
    snapshot: Snapshot, eight_rounds: GeneratedStore
) -> None:
    """Round 3: demonstrations and three recordings, its own labels and value model only."""
    main = eight_rounds.main
    found = trace(snapshot, main.policies[2])
    origin = found.origin
    assert origin is not None
    assert found.uses is None

    names = [recording.of.name for recording in origin.recordings]
    assert names == ["demonstrations", "round-1", "round-2", "round-3"]
    assert [p.of.name for p in origin.policies] == ["round-3", "sft"]
    assert [labels.of.name for labels in origin.labels] == ["round-3"]
    assert [model.of.name for model in origin.value_models] == ["round-3"]
    assert "the top 40% of each task" in origin.labels[0].rule
    assert (origin.rounds[0].round, origin.rounds[0].role) == ("handover/aloha/round-3", "policy")
    assert origin.annotations[0].num_excluded == 1  # made after round 2
    assert origin.missing == ()


def test_a_recording_tells_who_was_there(snapshot: Snapshot, eight_rounds: GeneratedStore) -> None:
    """Episodes, outcomes, frames by hand, the policy that drove, robot and operator."""
    policy = eight_rounds.main.policies[1]
    origin = trace(snapshot, policy).origin
    assert origin is not None
    recording = origin.recordings[-1]

    assert (recording.num_episodes, recording.num_successes) == (4, 2)
    assert 0 < recording.intervention_share < 0.5
    assert recording.collector is not None
    assert recording.collector.id == eight_rounds.main.policies[0].id
    assert (recording.robot, recording.operator) == ("toy-arm", "ada")


def test_a_simulated_clock_does_not_say_when_it_was(tmp_path: Path) -> None:
    """Every simulated session begins on the same day; it was recorded when it was published."""
    store = Store(tmp_path / "home")
    session = write_synthetic_recording(tmp_path / "session")
    real = ingest_recording(
        session, describe_session(session, store=store), name="real", store=store
    )
    for path in session.glob("*/metadata.json"):
        said = json.loads(path.read_text()) | {"clock": "simulated"}
        path.unlink()  # the store's is the same file
        path.write_text(json.dumps(said))
    simulated = ingest_recording(
        session, describe_session(session, store=store), name="simulated", store=store
    )

    snapshot = Snapshot(store)
    [of_real], [of_simulated] = (recordings_behind(snapshot, r.id) for r in (real, simulated))
    assert of_real.recorded_at is not None
    assert of_simulated.recorded_at is None


def test_a_recording_leads_forward_to_what_is_in_use(
    snapshot: Snapshot, eight_rounds: GeneratedStore
) -> None:
    """From round 7: two policies learned from it, of which one is the candidate."""
    main = eight_rounds.main
    recording = main.recordings[7]  # round 4 has two
    assert recording.name == "round-7"
    uses = trace(snapshot, recording).uses
    assert uses is not None

    assert [policy.name for policy, _ in uses.policies] == ["round-7", "round-8"]
    assert all(len(evaluations) == 1 for _, evaluations in uses.policies)
    assert uses.in_use["handover/aloha/candidate"] == main.policies[7].id
    assert [named.name for named in uses.by_kind["labels"]] == ["round-8"]
    assert [one.round for one in uses.rounds] == ["handover/aloha/round-7"]


def test_a_dataset_goes_both_ways(snapshot: Snapshot, eight_rounds: GeneratedStore) -> None:
    """And any artifact goes the way that is asked for."""
    found = trace(snapshot, eight_rounds.main.rollouts[0])
    assert found.origin is not None
    assert found.uses is not None

    assert trace(snapshot, eight_rounds.main.rollouts[0], "back").uses is None
    assert json.loads(found.model_dump_json())["subject"]["name"] == "round-1"


def test_a_round_stands_for_its_policy(snapshot: Snapshot, eight_rounds: GeneratedStore) -> None:
    """Also one whose value model was not healthy: it has no labels of a value model."""
    main = eight_rounds.main
    found = trace(snapshot, main.records[UNHEALTHY_ROUND - 1])

    assert found.subject.id == main.policies[UNHEALTHY_ROUND - 1].id
    assert found.origin is not None
    assert found.origin.labels == found.origin.value_models == ()


def test_a_report_without_a_policy_cannot_be_traced(
    snapshot: Snapshot, eight_rounds: GeneratedStore
) -> None:
    """It says so, and what to do."""
    report = next(m.artifact() for m in snapshot.manifests.values() if m.kind == "report")
    without = Snapshot(eight_rounds.store)
    del without.manifests[without.parents(report.id, "policy")[0]]

    with pytest.raises(IncompatibleError, match=r"not in this store.*recap lineage show"):
        trace(without, report)
