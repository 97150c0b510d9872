"""``recap label``, as a user meets it."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from deployments.cli.configuration import load_settings
from deployments.cli.main import run
from recap_core.config.labels import LABEL_PRESETS
from recap_core.config.presets import tiny_project
from recap_core.lineage.artifacts import AnyDataset, Labels, RelabeledDataset, Values
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import INFER_VALUES
from recap_core.valuation.values import write_values
from tests.core.stages.label_shelf import EPISODES, Shelf, keyed, made_dataset, make_shelf


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: object
    out: str
    err: str


class Recap:
    """The command, run in this process with a store of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = patch, capture

    def __call__(self, *arguments: object) -> Answer:
        """Run ``recap label`` with these arguments."""
        self._patch.setattr(sys, "argv", ["recap", "label", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run()
        printed = self._capture.readouterr()
        return Answer(left.value.code, printed.out, printed.err)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A store with values and labels."""
    return make_shelf(Store(tmp_path_factory.mktemp("home")))


@pytest.fixture
def recap(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shelf: Shelf
) -> Recap:
    """Runs a command line."""
    monkeypatch.setenv("RECAP_HOME", str(shelf.store.home))
    return Recap(monkeypatch, capsys)


def made_rollout_values(store: Store, dataset: AnyDataset) -> Values:
    """V of the rollouts alone: the six frames of the demonstration have none."""

    def build(area: Build) -> Built:
        values = np.full(dataset.num_frames, -0.5, dtype=np.float32)
        values[:6] = np.nan
        write_values(area.output, values, is_wanted=np.isfinite(values))
        return Built({"num_frames": dataset.num_frames, "frames": "rollouts", "num_missing": 6})

    inputs = {"dataset": dataset}
    return store.produce(INFER_VALUES, keyed("rollouts"), inputs, name="values", build=build)


def test_labels_by_a_named_rule(recap: Recap, shelf: Shelf) -> None:
    """Preset and single settings, in text and as JSON; again, it is the same artifact."""
    arguments = ("apply", shelf.values.id, "--preset", "reference", "-s", "positive_share=0.5")

    text = recap(*arguments)
    plain = json.loads(recap(*arguments, "--json").out)

    assert text.code == 0
    assert "the top 50% of the dataset (pool: autonomous frames) are positive" in text.out
    # The pause counts as autonomous: 27 frames, floor(26 * 0.5) + 1 = 14.
    assert "14 of 27 positive" in text.out
    assert plain["kind"] == "labels"
    assert plain["rule"]["positive_share"] == 0.5
    assert plain["id"][:8] in text.out


def test_a_relabelled_dataset_in_one_command(recap: Recap, shelf: Shelf) -> None:
    """Labels, copy and relabel; the source keeps its labels."""
    answer = recap("apply", shelf.values.id, "--preset", "paper_speed", "--relabel", "--json")

    facts = json.loads(answer.out)
    dataset = shelf.store.get(facts["id"])
    assert isinstance(dataset, RelabeledDataset)
    assert isinstance(shelf.store.get(facts["labels"]["id"]), Labels)
    assert dataset.parents[1] == facts["labels"]["id"]
    shelf.store.verify(shelf.dataset)


def test_presets_are_listed(recap: Recap) -> None:
    """Each with its rule in words."""
    text, plain = recap("presets").out, json.loads(recap("presets", "--json").out)

    assert list(plain) == list(LABEL_PRESETS)
    assert "rlinf\n  Advantage over 10 frames; the top 30% of the dataset, with ties" in text


def test_a_sweep_prints_its_grid_and_writes_a_page(
    recap: Recap, shelf: Shelf, tmp_path: Path
) -> None:
    """One row per point; the page is not overwritten by accident."""
    page = tmp_path / "sweep.html"
    arguments = ("sweep", shelf.values.id, "--lookahead", "4,episode", "--share", "0.2,0.4")

    text = recap(*arguments, "--html", page)
    again = recap(*arguments, "--html", page)
    plain = json.loads(recap(*arguments, "--base", shelf.labels.id, "--json").out)

    assert text.code == 0
    assert "26 autonomous frames, 4 points" in text.out
    assert page.read_text().count('class="cell') > 4
    assert again.code == 1
    assert "exists" in again.err
    assert [(p["lookahead"], p["share"]) for p in plain["points"]] == [
        (4, 0.2), (4, 0.4), (None, 0.2), (None, 0.4),
    ]  # fmt: skip
    assert plain["points"][1]["gained"] == plain["points"][1]["lost"] == 0


def test_a_diff_prints_flips(recap: Recap, shelf: Shelf, tmp_path: Path) -> None:
    """Across datasets of two rounds."""
    page = tmp_path / "diff.html"
    arguments = ("diff", shelf.labels.id, shelf.later_labels.id)

    text = recap(*arguments, "--html", page)
    plain = json.loads(recap(*arguments, "--json").out)

    assert "36 frames of 4 episodes compared; 0 only before, 1 only after" in text.out
    assert plain["frames"] == 36
    assert "data:image/jpeg" in page.read_text()


def test_a_frame_is_explained(recap: Recap, shelf: Shelf) -> None:
    """In words and as JSON."""
    arguments = ("explain", shelf.labels.id, "-e", "1", "-f", "3")

    text, plain = recap(*arguments).out, json.loads(recap(*arguments, "--json").out)

    assert text.startswith(f"{plain['label']}: its advantage is number ")
    assert "over 4 frames, to the end of the lookahead" in text
    assert f"{plain['threshold']['rank']} of 26" in text
    assert f"labels monday-labels-{shelf.labels.id[:8]}" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("apply", "VALUES", "--preset", "mine"), 2, "no label preset 'mine'; there are reference"),
        (("apply", "VALUES", "-s", "positive_shar=1"), 2, "did you mean 'positive_share'?"),
        (("apply", "LABELS"), 1, "values or a dataset was expected"),
        (("sweep", "VALUES", "--lookahead", "x"), 2, "--lookahead 'x' is no number of frames"),
        (("sweep", "VALUES", "--share", "0.3,a"), 2, "--share 'a' is no number"),
        (("sweep", "VALUES", "--share", ","), 2, "--share is empty"),
        (("apply", "VALUES", "-s", "lookahead"), 2, "write KEY=VALUE, such as lookahead=3"),
        (("sweep", "VALUES", "--share", "2"), 2, "must be in (0, 1], got 2.0"),
        (("explain", "LABELS", "-e", "9", "-f", "0"), 2, "there is no episode 9"),
    ],
)
def test_a_mistake_is_one_line(
    recap: Recap, shelf: Shelf, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """Exit code 2 for settings, 1 for artifacts."""
    ids = {"VALUES": shelf.values.id, "LABELS": shelf.labels.id}

    answer = recap(*(ids.get(argument, argument) for argument in arguments))

    assert (answer.code, answer.out) == (code, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_hints_are_commands_that_work(recap: Recap, shelf: Shelf) -> None:
    """Infer takes the value model first; the rule's settings have no prefix."""
    lacking = made_dataset(shelf.store, "wednesday", EPISODES[:2])

    answer = recap("apply", lacking.id)

    assert answer.code == 1
    assert f"recap value infer <value model> {lacking.id[:8]}" in answer.err
    for command in ("apply", "sweep"):
        assert "iteration.label" not in recap(command, "--help").out


def test_newer_values_of_rollouts_do_not_hide_those_of_all_frames(
    recap: Recap, shelf: Shelf
) -> None:
    """A pool of all frames takes values of all frames, as the error would ask for."""
    later = made_rollout_values(shelf.store, shelf.dataset)

    whole = json.loads(recap("apply", shelf.dataset.id, "--preset", "rlinf", "--json").out)
    partly = json.loads(recap("apply", shelf.dataset.id, "--preset", "reference", "--json").out)

    assert whole["parents"] == [shelf.dataset.id, shelf.values.id]
    assert partly["parents"] == [shelf.dataset.id, later.id]


def test_a_project_names_its_rule(tmp_path: Path) -> None:
    """In YAML and on the command line, also with a setting on top."""
    file = tmp_path / "recap.yaml"
    file.write_text("iteration: {label: paper_speed}\n")

    named = load_settings(tiny_project(), file=file, overrides=[])
    overrides = ["iteration.label=rlinf", "iteration.label.lookahead=7"]
    changed = load_settings(tiny_project(), file=file, overrides=overrides)

    assert named.iteration.label == LABEL_PRESETS["paper_speed"]
    assert changed.iteration.label == LABEL_PRESETS["rlinf"].model_copy(update={"lookahead": 7})
