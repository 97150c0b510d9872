"""Two rounds beside each other."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.config.evaluation import EvaluationConfig
from recap_core.data.label_table import LABELS_FILE, read_label_table
from recap_core.errors import IncompatibleError
from recap_core.evaluation.gate_words import STOPPED_EARLY
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store
from recap_core.stages.evaluate import publish_outcomes
from recap_core.stages.judge import episodes_of
from recap_core.stages.lineage_diff import diff_lineage
from tests.generated_store import UNHEALTHY_ROUND, GeneratedStore
from tests.judged_policies import make_evaluation, make_policy


@pytest.fixture(scope="module")
def snapshot(eight_rounds: GeneratedStore) -> Snapshot:
    """The store, read once."""
    return Snapshot(eight_rounds.store)


def test_two_rounds_side_by_side(snapshot: Snapshot, eight_rounds: GeneratedStore) -> None:
    """Experience, decisions, success, settings, value model."""
    records = eight_rounds.main.records
    diff = diff_lineage(snapshot, records[2], records[3])

    assert [r.of.name for r in diff.recordings_added] == ["round-4", "round-4-evening"]
    assert diff.recordings_removed == ()
    assert diff.num_recordings_in_both == 4  # demonstrations, and three rounds
    changed = {change.key: (change.old, change.new) for change in diff.settings}
    assert changed["iteration.label.positive_share"] == (0.4, 0.38)
    assert diff.decision.new is not None
    assert diff.decision.new.verdict == records[3].verdict
    assert diff.evaluation.old is not None
    assert diff.evaluation.new is not None
    assert diff.difference is not None
    rates = diff.evaluation.new.success_rate - diff.evaluation.old.success_rate
    assert diff.difference.difference == pytest.approx(rates)
    assert diff.difference.rests_on.startswith("40 same seeds: ")
    assert diff.value_model.new is not None
    assert diff.value_model.new.metrics["spearman"] is not None
    assert diff.notes == ()


def test_an_evaluation_that_was_stopped_early_is_said_to_be(tmp_path: Path) -> None:
    """Its difference flatters whoever leads; one of a fixed number does not."""
    store = Store(tmp_path / "home")
    old, new = (make_evaluation(store, make_policy(store, n), [n == "new"] * 40)
                for n in ("old", "new"))  # fmt: skip
    early = publish_outcomes(
        episodes_of(new, store), make_policy(store, "early"), EvaluationConfig(num_episodes=40),
        name="early", store=store, num_allowed=300,
    )  # fmt: skip

    assert diff_lineage(Snapshot(store), old, new).notes == ()
    assert diff_lineage(Snapshot(store), old, early).notes == (STOPPED_EARLY,)
    assert diff_lineage(Snapshot(store), early, new).notes == (STOPPED_EARLY,)


def test_flips_are_counted_as_by_hand(snapshot: Snapshot, eight_rounds: GeneratedStore) -> None:
    """The datasets of rounds 1 and 2 begin alike, up to the episodes of round 2."""
    records = eight_rounds.main.records[:2]
    flips = diff_lineage(snapshot, *records).flips
    assert flips is not None

    labels = [snapshot.artifact(IterationRecord(r, snapshot.manifests[r.id]).id("labels"))
              for r in records]  # fmt: skip
    marks = [
        read_label_table(snapshot.store.path(found) / LABELS_FILE).adv_ind
        for found in labels
        if found
    ]
    n = len(marks[0])
    assert flips.num_frames == n
    assert flips.only_after == 4
    changed = int((marks[0] != marks[1][:n]).sum())
    assert sum(task.gained + task.lost + task.other for task in flips.tasks) == changed
    assert len(flips.examples) == min(5, flips.num_changed_episodes) > 1
    assert all(example.recording.kind == "recording" for example in flips.examples)
    first = flips.examples[0]
    assert sum(first.transitions.values()) >= sum(flips.examples[-1].transitions.values())
    assert first.frames
    assert np.all(np.diff(first.frames) > 0)


def test_a_round_without_labels_says_so(snapshot: Snapshot, eight_rounds: GeneratedStore) -> None:
    """The value model of round 7 was not healthy."""
    records = eight_rounds.main.records
    diff = diff_lineage(snapshot, records[UNHEALTHY_ROUND - 2], records[UNHEALTHY_ROUND - 1])

    assert diff.flips is None
    assert diff.labels.new is None
    assert diff.notes == ("labels not compared: none on the new side",)


@pytest.mark.parametrize("ref", ["policy", "relabeled"])
def test_policies_and_datasets_lead_to_their_labels(
    snapshot: Snapshot, eight_rounds: GeneratedStore, ref: str
) -> None:
    """Settings are those of the stages behind them."""
    pair = [eight_rounds.main.find(f"round-{k}-{ref}") for k in (3, 4)]
    diff = diff_lineage(snapshot, *pair, with_labels=False)

    assert [r.of.name for r in diff.recordings_added] == ["round-4", "round-4-evening"]
    assert diff.flips is None
    assert diff.labels.new is not None
    keys = {change.key for change in diff.settings}
    assert "label.positive_share" in keys
    assert (diff.evaluation.new is not None) == (ref == "policy")


def test_labels_evaluations_and_value_models(
    snapshot: Snapshot, eight_rounds: GeneratedStore
) -> None:
    """Each knows the parts that belong to it."""
    record = IterationRecord(
        eight_rounds.main.records[1], snapshot.manifests[eight_rounds.main.records[1].id]
    )
    for role, has_labels in (("labels", True), ("values", False), ("value_model", False)):
        artifact = snapshot.artifact(record.id(role))
        assert artifact is not None
        diff = diff_lineage(snapshot, artifact, artifact)
        assert (diff.labels.new is not None) == has_labels
        assert diff.value_model.new is not None
        assert diff.settings == ()
    after = snapshot.artifact(record.id("after"))
    assert after is not None
    same = diff_lineage(snapshot, after, after)
    assert same.difference is not None
    # Tango, no seed went differently: z^2 / (n + z^2) of 40 seeds.
    assert same.difference.text() == "0.0 points [-8.8, +8.8], undecided"


def test_only_equals_are_compared(snapshot: Snapshot, eight_rounds: GeneratedStore) -> None:
    """A policy and a dataset, or two reports, are not."""
    main = eight_rounds.main
    with pytest.raises(
        IncompatibleError, match=r"policy checkpoint and .* of kind dataset: compare two"
    ):
        diff_lineage(snapshot, main.policies[0], main.rollouts[0])
    report = next(m.artifact() for m in snapshot.manifests.values() if m.kind == "report")
    with pytest.raises(IncompatibleError, match=r"is report; rounds, policies"):
        diff_lineage(snapshot, report, report)
