"""``recap lineage`` and ``recap bundle``, as a user meets them."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from deployments.cli.lineage_text import size, spans
from deployments.cli.main import run
from recap_core.lineage.iterations import iteration_records
from recap_core.lineage.store import Store
from tests.generated_store import GeneratedStore


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: object
    out: str
    err: str


type Recap = Callable[..., Answer]


@pytest.fixture
def recap(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    eight_rounds: GeneratedStore,
) -> Recap:
    """Runs a command line on the generated store, or on another one."""

    def call(*arguments: object, home: Path | None = None) -> Answer:
        monkeypatch.setenv("RECAP_HOME", str(home or eight_rounds.store.home))
        monkeypatch.setattr(sys, "argv", ["recap", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run()
        printed = capsys.readouterr()
        return Answer(left.value.code, printed.out, printed.err)

    return call


def test_show_folds_what_is_many(recap: Recap) -> None:
    """Eight rounds of rollouts are two lines and a number; refs, rounds and sizes are there."""
    text = recap("lineage", "show", "round-8-policy").out

    assert "refs: handover/aloha/candidate" in text
    assert "rounds: handover/aloha/round-8" in text
    assert "shared with no other artifact" in text
    assert "more of kind dataset ..." in text
    assert len(text.splitlines()) < 80


def test_what_was_removed_is_still_shown(
    recap: Recap, eight_rounds: GeneratedStore, tmp_path: Path
) -> None:
    """Its manifest, when and why it went, what it was made from and what it led to."""
    shutil.copytree(eight_rounds.store.home, tmp_path / "home")
    store = Store(tmp_path / "home")
    removed = store.get(str(iteration_records(store, "handover")[0].id("merged")))
    store.remove(removed, reason="too large")

    text = recap("lineage", "show", removed.id[:8], home=store.home).out
    assert text.startswith(f"dataset round-1-merged-{removed.id[:8]}, removed\n")
    assert "removed_because: too large" in text
    assert "recording demonstrations-" in text
    assert "labels round-1-" in text
    facts = json.loads(recap("lineage", "show", removed.id, "--json", home=store.home).out)
    assert (facts["id"], facts["removed_because"]) == (removed.id, "too large")
    assert facts["ancestors"]


def test_graph_without_an_artifact_lists_the_rounds(recap: Recap) -> None:
    """Of every project, with success, label share and verdict; --all draws everything."""
    text = recap("lineage", "graph").out

    assert text.index("handover/aloha") < text.index("pegs/arm")
    assert len([line for line in text.splitlines() if "[" in line]) == 8 + 1 + 2  # two heads
    one = recap("lineage", "graph", "--project", "pegs").out
    assert "handover" not in one
    assert "iteration round-8" in recap("lineage", "graph", "--all").out
    graph = json.loads(recap("lineage", "graph", "--json").out)
    assert {"nodes", "edges"} == set(graph)
    part = json.loads(recap("lineage", "graph", "--json", "--project", "pegs").out)
    names = {name for node in part["nodes"] for name in (*node["refs"], *node["rounds"])}
    assert {name.rpartition("/")[0] for name in names} == {"pegs/arm"}
    assert len(part["nodes"]) < len(graph["nodes"])


def test_graph_of_an_artifact_goes_both_ways(recap: Recap) -> None:
    """Rounds are made from everything, so the tree leaves them out."""
    text = recap("lineage", "graph", "round-3-dataset").out

    back, _, forward = text.partition("led to")
    assert "recording: recording round-3" in back
    assert "policy_checkpoint round-8" in forward or "more of kind" in forward
    assert "iteration" not in forward


def test_a_store_without_rounds_shows_what_it_has(recap: Recap, tmp_path: Path) -> None:
    """Which is nothing at first; a project that is not there is an error."""
    assert "no artifacts in" in recap("lineage", "graph", home=tmp_path / "none").out
    for option in ("--all", "--json", "--mermaid"):
        wrong = recap("lineage", "graph", "--project", "lab", option)
        assert wrong.code == 2
        assert "no project 'lab'" in wrong.err
        assert "handover/aloha, pegs/arm" in wrong.err


def test_diff_tells_what_changed(recap: Recap) -> None:
    """In words, and as JSON."""
    text = recap("lineage", "diff", "round-3", "round-4").out

    assert "iteration.label.positive_share: 0.4 -> 0.38" in text
    assert "difference: 0.0 points [-8.8, +8.8], undecided" in text
    assert "(40 same seeds: 0 gained, 0 lost)" in text
    assert "added: 8 episodes" in text
    found = json.loads(recap("lineage", "diff", "round-3", "round-4", "--json").out)
    assert found["flips"]["num_changed_episodes"] > 0
    assert found["flips"]["examples"][0]["recording"]["name"]
    assert found["decision"]["new"]["verdict"] in {"promoted", "kept"}
    quick = recap("lineage", "diff", "round-3", "round-4", "--no-labels", "--json")
    assert json.loads(quick.out)["flips"] is None


def test_diff_of_a_round_that_fell_back(recap: Recap) -> None:
    """What cannot be compared is a note, not an error."""
    text = recap("lineage", "diff", "round-6", "round-7").out
    assert "note: labels not compared: none on the new side" in text
    assert "NOT healthy" in text


def test_trace_answers_both_questions(recap: Recap, eight_rounds: GeneratedStore) -> None:
    """What made this policy, and what learned from this recording."""
    made = recap("lineage", "trace", "round-3-policy").out
    assert "learned from" in made
    assert "4 recordings" in made
    ref = next(ref for ref in eight_rounds.store.refs() if "handover/aloha/recording-" in ref)
    led = recap("lineage", "trace", ref).out
    assert "in use: handover/aloha/current" in led
    both = json.loads(recap("lineage", "trace", ref, "--back", "--forward", "--json").out)
    assert both["origin"]
    assert both["uses"]


def test_a_ref_of_two_projects_is_an_error_of_one_line(recap: Recap) -> None:
    """It names both, and the option."""
    answer = recap("lineage", "trace", "current")
    assert answer.code == 1
    assert "--project" in answer.err
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_a_policy_goes_to_another_machine(recap: Recap, tmp_path: Path, name: str) -> None:
    """And gets its ref there; what it was made from stays known by its ids."""
    there = tmp_path / "there"
    sent = recap("bundle", "export", "round-8-policy", tmp_path / name)
    assert "3 artifacts that they were made from are not in it" in sent.out

    got = recap("bundle", "import", tmp_path / name, "--ref", "lab/arm/current", home=there)

    assert "1 artifact published" in got.out
    assert "(not here)" in recap("lineage", "trace", "current", home=there).out


def test_a_project_without_a_recording_in_the_bundle_is_told_so(
    recap: Recap, tmp_path: Path
) -> None:
    """--project points to recordings; what points to a policy is named."""
    recap("bundle", "export", "round-8-policy", tmp_path / "b")

    got = recap("bundle", "import", tmp_path / "b", "--project", "lab/arm", home=tmp_path / "there")

    assert "no recording in it" in got.out
    assert "--ref lab/arm/NAME" in got.out


def test_what_does_not_fit_in_a_line_goes_on_below(
    recap: Recap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indented further; names keep their ids, and nothing is wider than the terminal."""
    monkeypatch.setattr("deployments.cli.options.FILE_WIDTH", 80)
    for lines in (
        recap("lineage", "trace", "round-3-policy").out.splitlines(),
        recap("lineage", "diff", "round-3", "round-4").out.splitlines(),
    ):
        assert max(map(len, lines)) <= 80
        assert not any("…" in line for line in lines)
        begins = lines.index("labelled") if "labelled" in lines else lines.index("labels")
        for line in lines[begins + 1 : lines.index("", begins)]:
            assert line.startswith(("  ", "task", "transfer", "insert")), line


def test_recordings_arrive_in_a_project(recap: Recap, tmp_path: Path) -> None:
    """Its next round finds them by the refs that ingesting sets too."""
    recap("bundle", "export", "round-2-dataset", tmp_path / "b", "--with-ancestors", "--json")
    there = tmp_path / "there"
    got = json.loads(
        recap("bundle", "import", tmp_path / "b", "--project", "lab/arm", "--json", home=there).out
    )

    store = Store(there)
    recordings = [m for m in store.artifacts() if m.kind == "recording"]
    assert len(recordings) > 1
    assert got["refs"] == {f"lab/arm/recording-{m.id[:8]}": m.id for m in recordings}
    assert store.refs() == got["refs"]


def test_a_ref_needs_one_artifact(recap: Recap, tmp_path: Path) -> None:
    """Two were exported."""
    recap("bundle", "export", "round-2-policy", "round-3-policy", tmp_path / "b")
    answer = recap("bundle", "import", tmp_path / "b", "--ref", "a/b/c", home=tmp_path / "there")
    assert answer.code == 1
    assert "made for 2" in answer.err


def test_words_for_sizes_and_rounds() -> None:
    """Short ones."""
    assert [size(n) for n in (7, 1500, 2_000_000, 3e13)] == ["7 B", "1.5 kB", "2.0 MB", "30.0 TB"]
    assert spans(["p/r/round-1", "p/r/round-2", "p/r/round-4", "q/r/round-3"]) == [
        "p/r/round-1 to 2",
        "p/r/round-4",
        "q/r/round-3",
    ]
