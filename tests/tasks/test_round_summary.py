"""What the time line says of a round."""

import pytest

from recap_core.lineage.snapshot import Snapshot
from tasks.round_summary import page_link, round_line, round_summary
from tasks.summaries import summary_key
from tests.generated_store import UNHEALTHY_ROUND, GeneratedStore


@pytest.fixture(scope="module")
def snapshot(eight_rounds: GeneratedStore) -> Snapshot:
    """The store, read once."""
    return Snapshot(eight_rounds.store)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, eight_rounds: GeneratedStore) -> None:
    """Tasks find the generated store."""
    monkeypatch.setenv("RECAP_HOME", str(eight_rounds.store.home))


@pytest.mark.usefixtures("home")
def test_a_round_says_what_was_decided_and_what_changed(
    snapshot: Snapshot, eight_rounds: GeneratedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision, scores, changes, parts, origin; no links without pages."""
    monkeypatch.delenv("RECAP_PAGES_URL", raising=False)
    record = eight_rounds.main.records[3]

    text = round_summary(record, snapshot)

    assert text.startswith("# Round 4 of handover on aloha\n\nNew policy `round-4-")
    assert record.reasons[0] in text
    assert "| **new policy** | **" in text
    assert "## What changed since round 3" in text
    assert "- 8 episodes added" in text
    assert "- setting `iteration.label.positive_share`: 0.4 → 0.38" in text
    assert "became positive and" in text
    assert "| part | artifact | seconds | what it is |" in text
    [row] = [line for line in text.splitlines() if line.startswith("| value model | `round-4-")]
    float(row.split("|")[3])
    assert "recording round-4-evening" in text
    assert "http" not in text
    assert round_line(record, snapshot).startswith("Round 4: ")


@pytest.mark.usefixtures("home")
def test_a_round_whose_value_model_was_not_healthy_says_so(
    snapshot: Snapshot, eight_rounds: GeneratedStore
) -> None:
    """With the reason, and what was done instead."""
    text = round_summary(eight_rounds.main.records[UNHEALTHY_ROUND - 1], snapshot)

    assert "**not healthy** (rank correlation 0.10" in text
    assert "the collector's labels were used" in text


@pytest.mark.usefixtures("home")
def test_names_are_links_where_pages_are_served(
    snapshot: Snapshot, eight_rounds: GeneratedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page per round, report and artifact; the first round has nothing to compare with."""
    monkeypatch.setenv("RECAP_PAGES_URL", "http://robot:4300/")
    record = eight_rounds.main.records[0]

    text = round_summary(record, snapshot)

    assert page_link(record) == f"http://robot:4300/iterations/{record.id}"
    assert f"[all of this round](http://robot:4300/iterations/{record.id})" in text
    assert "[all rounds](http://robot:4300/projects/handover/aloha/)" in text
    assert "[report with plots and pictures](http://robot:4300/reports/" in text
    policy = eight_rounds.main.policies[0]
    assert f"(http://robot:4300/artifacts/{policy.id})" in text
    assert "What changed" not in text


def test_a_stage_has_one_key_for_all_rounds() -> None:
    """So that the versions of a summary are the rounds."""
    assert summary_key("train-policy", "round-3") == summary_key("train-policy", "round-12")
    assert summary_key("train-policy", "round-3") == "train-policy-round"
    assert summary_key("relabel", "round-3-relabeled") == "relabel-round-relabeled"
    assert summary_key("train-policy", "sft") == "train-policy-sft"
