"""The report of a round against the one before, from artifacts."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from recap_core.config.changes import SettingChange, setting_changes
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.gate import GateConfig, GateDecision
from recap_core.config.stages import ReportConfig
from recap_core.evaluation.gate_words import STOPPED_EARLY
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.lineage.artifacts import Artifact, Evaluation, Report
from recap_core.lineage.iterations import IterationRecord, iteration_records
from recap_core.lineage.store import Store
from recap_core.stages.evaluate import EPISODES_FILE, publish_outcomes
from recap_core.stages.index_pages import Site
from recap_core.stages.index_rounds import LABEL_FLIPS, Rounds
from recap_core.stages.index_snapshot import read_snapshot
from recap_core.stages.judge import episodes_of, judge
from recap_core.stages.label_diff import diff_labels
from recap_core.stages.label_references import Labelled
from recap_core.stages.report import PAGE, write_report
from recap_core.stages.report_numbers import NUMBERS_FILE, read_numbers
from recap_core.stages.report_parts import NEW, START, Evaluations, comparisons
from tests.generated_store import PROJECT, ROBOT, GeneratedStore
from tests.judged_policies import make_policy


@pytest.fixture(scope="module")
def store(finished_rounds: GeneratedStore, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A copy of the store, to which reports are added."""
    home = tmp_path_factory.mktemp("reports") / "home"
    shutil.copytree(finished_rounds.store.home, home)
    return Store(home)


@pytest.fixture(scope="module")
def rounds(store: Store) -> list[IterationRecord]:
    """Three rounds."""
    return iteration_records(store, PROJECT, ROBOT)


def part(store: Store, record: IterationRecord, role: str) -> Any:  # noqa: ANN401 - of any kind
    """A round's part."""
    return store.get(str(record.id(role)))


def settings_of(store: Store, record: IterationRecord) -> dict[str, Any]:
    """The settings of a round."""
    return record.record(store).settings


@pytest.fixture(scope="module")
def report(store: Store, rounds: list[IterationRecord]) -> Report:
    """Of round 2 as on a real robot: nothing was evaluated, a person decides."""
    first, second, _ = rounds
    settings = settings_of(store, second)
    settings = {**settings, "iteration": {**settings["iteration"], "value_start": "vlm/base"}}
    return write_report(
        None,
        None,
        control=None,
        policy=part(store, second, "policy"),
        dataset=part(store, second, "relabeled"),
        value_model=part(store, second, "value_model"),
        values=part(store, second, "values"),
        labels=part(store, second, "labels"),
        previous=first.artifact,
        config=ReportConfig(
            title="Round 2",
            decision=GateDecision(verdict="candidate", reasons=("Nobody has tried it yet.",)),
            settings=settings,
            num_value_curves=0,
        ),
        name="round-2",
        store=store,
    )


def page_of(store: Store, report: Artifact) -> str:
    """Its file."""
    return (store.path(report) / PAGE).read_text(encoding="utf-8")


def test_flips_are_those_of_the_label_diff(
    store: Store, rounds: list[IterationRecord], report: Report
) -> None:
    """The number that pages over all rounds show is what ``recap label diff`` counts."""
    sides = [
        Labelled(part(store, record, "relabeled"), part(store, record, "labels"))
        for record in rounds[:2]
    ]
    diff = diff_labels(*sides, store=store)
    changed = diff.by_task.sum() - sum(task.trace() for task in diff.by_task)

    metrics = store.manifest(report).metrics

    assert metrics[LABEL_FLIPS] == pytest.approx(changed / len(diff.frames_before))
    assert metrics["label_frames_compared"] == len(diff.frames_before)


def test_numbers_for_other_pages_lie_beside_the_report(
    store: Store, rounds: list[IterationRecord], report: Report
) -> None:
    """Flips by task add up; sizes are those of what this round made, and of nothing else."""
    numbers = read_numbers(store, store.manifest(report))
    metrics = store.manifest(report).metrics

    assert len(numbers.label_flips) == 2
    assert sum(task.gained for task in numbers.label_flips) == metrics["label_gained"]
    assert set(numbers.new_bytes) > {part(store, rounds[1], role).id for role in ("labels", "copy")}
    assert part(store, rounds[0], "policy").id not in numbers.new_bytes
    assert numbers.total_bytes == metrics["new_bytes"]


def test_an_older_report_has_no_numbers(
    store: Store, rounds: list[IterationRecord], tmp_path: Path
) -> None:
    """Version 3 wrote the page alone: nothing is known of disk and tasks, and pages go on."""
    home = tmp_path / "home"
    shutil.copytree(store.home, home)
    old = Store(home)
    record = rounds[1]
    file = old.path(part(old, record, "report")) / NUMBERS_FILE
    file.parent.chmod(0o755)
    file.unlink()

    row = Rounds(read_snapshot(old)).of(PROJECT, ROBOT)[1]

    assert (row.new_bytes, row.flips) == (None, ())
    assert row.flipped is not None
    assert f"round {row.round_index}" in Site(old).project(PROJECT, ROBOT)


def test_an_interval_is_the_gates(store: Store, rounds: list[IterationRecord]) -> None:
    """Page, diff and decision say the same of the same two evaluations."""
    record = rounds[2]
    current, after = part(store, record, "current"), part(store, record, "after")
    decision = judge(current, after, GateConfig(), offline=None, store=store)

    [found], _ = comparisons(store, Evaluations(None, current, None, after), confidence=0.95)

    assert decision.overall is not None
    assert (found.low, found.high) == (decision.overall.low, decision.overall.high)


def test_an_evaluation_that_was_stopped_early_is_said_to_be(
    store: Store, rounds: list[IterationRecord]
) -> None:
    """Once, on whichever side it is."""
    current, after = (part(store, rounds[2], role) for role in ("current", "after"))
    config = EvaluationConfig.model_validate(store.manifest(after).config)
    early = publish_outcomes(
        episodes_of(after, store), make_policy(store, "early"), config,
        name="early", store=store, num_allowed=10 * config.num_episodes,
    )  # fmt: skip

    for evaluations, notes in (
        (Evaluations(None, current, None, after), []),
        (Evaluations(None, current, None, early), [STOPPED_EARLY]),
        (Evaluations(current, early, None, after), [STOPPED_EARLY]),
    ):
        _, found = comparisons(store, evaluations, confidence=0.95)
        assert [note.text for note in found] == notes


def test_a_round_without_evaluation_has_a_report(store: Store, report: Report) -> None:
    """Decision, reasons and what changed stand there; a headline does not."""
    page = page_of(store, report)

    assert "A person decides" in page
    assert "Nobody has tried it yet." in page
    assert "Against round 1" in page
    assert "vlm/base" in page
    assert 'aria-label="Verdict"' not in page


def test_stages_are_those_of_the_round(
    store: Store, rounds: list[IterationRecord], report: Report
) -> None:
    """What an earlier round made is counted, and stands in the graph only where it was used."""
    page = page_of(store, report)
    first, second, _ = rounds
    stages = page.split('id="stages"')[1].split("</section>")[0]

    assert part(store, second, "policy").id in stages
    assert part(store, first, "policy").id not in stages
    assert "results of earlier rounds" in stages
    assert f'id="artifact-{part(store, second, "start").id}"' in page


def test_other_seeds_are_two_samples(store: Store, rounds: list[IterationRecord]) -> None:
    """A robot's evaluation has scenes of its own: they tell less, and the page says so."""
    after, before = (part(store, rounds[1], role) for role in ("after", "before"))
    path = store.path(before) / EPISODES_FILE
    rows = path.read_text()
    path.chmod(0o644)
    other = EpisodeOutcome(seed=7, success=True, num_frames=3, best_stage=4)
    path.write_text(f"[{other.model_dump_json()}]")
    try:
        [found], notes = comparisons(store, Evaluations(before, None, None, after), confidence=0.95)
    finally:
        path.write_text(rows)

    assert found.method == "40 and 1 episodes, not the same seeds"
    assert found.outcome == "undecided"
    assert found.high - found.low > 0.5
    assert not notes


def test_the_policy_in_use_is_compared_first(store: Store, rounds: list[IterationRecord]) -> None:
    """The decision is about it; an evaluation that stands for two policies is shown once."""
    record = rounds[2]
    before, current, after = (
        part(store, record, role) if record.id(role) else None
        for role in ("before", "current", "after")
    )
    assert isinstance(before, Evaluation)
    evaluations = Evaluations(before, current, None, after)

    found, _ = comparisons(store, evaluations, confidence=0.95)

    assert {comparison.candidate for comparison in found} == {NEW}
    assert found[-1].baseline == START
    same = Evaluations(before, before, None, after).named()
    assert [name for name, *_ in same] == [START, NEW]


def test_setting_changes_name_path_and_values() -> None:
    """Nested, added, removed and listed settings; what every round sets by itself is left out."""
    before = {
        "a": {"b": 1, "c": [1, 2]},
        "gone": None,
        "iteration": {"collect": {"round_index": 1}},
    }
    after = {
        "a": {"b": 1.5, "c": [1]},
        "new": True,
        "empty": [],
        "iteration": {"collect": {"round_index": 2}},
    }

    assert setting_changes(before, after) == [
        SettingChange("a.b", "1", "1.5"),
        SettingChange("a.c", "1, 2", "1"),
        SettingChange("gone", "none", "not set"),
        SettingChange("new", "not set", "yes"),
        SettingChange("empty", "not set", "empty"),
    ]
    assert not setting_changes(after, after)
