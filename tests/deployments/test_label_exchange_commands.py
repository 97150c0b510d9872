"""``recap label``, as a user meets it."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from deployments.cli.main import run
from recap_core.data.label_table import LABELS_FILE, LabelTable, write_label_table
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.artifacts import Dataset, Labels
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import CONVERT, LABEL, NoSettings


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
        """Run it with these arguments."""
        self._patch.setattr(sys, "argv", ["recap", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run()
        printed = self._capture.readouterr()
        return Answer(left.value.code, printed.out, printed.err)


@pytest.fixture
def recap(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> Recap:
    """Runs a command line."""
    monkeypatch.setenv("RECAP_HOME", str(home))
    return Recap(monkeypatch, capsys)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one dataset and labels of it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def dataset(home: Path) -> Dataset:
    """46 frames without cameras."""

    def build(area: Build) -> Built:
        robot = SyntheticRobot(arms=("left",), num_joints=1, cameras=())
        return Built(write_synthetic_dataset(area.output, robot=robot)._asdict())

    return Store(home).produce(CONVERT, NoSettings(), {}, name="merged", build=build)


@pytest.fixture(scope="module")
def labels(home: Path, dataset: Dataset) -> Labels:
    """Every second frame positive, the first one without a label."""

    def build(area: Build) -> Built:
        adv_ind = (np.arange(46) % 2 + 1).astype(np.int8)
        adv_ind[0] = 0
        advantage = adv_ind.astype(np.float32)
        rank = np.full(46, -1)
        write_label_table(area.output / LABELS_FILE, LabelTable(advantage, adv_ind, rank))
        counts = {"num_positive": 23, "num_negative": 22, "num_none": 1}
        return Built({"num_frames": 46, "autonomous_positive_share": 0.5, **counts})

    inputs = {"dataset": dataset}
    return Store(home).produce(LABEL, NoSettings(), inputs, name="ours", build=build)


def test_labels_go_out_and_come_back(
    recap: Recap, dataset: Dataset, labels: Labels, tmp_path: Path
) -> None:
    """Two commands, in text and as JSON."""
    out = tmp_path / "out"

    exported = recap("label", "export", labels.id, out, "--format", "kai0")
    imported = recap("label", "import", dataset.id, out, "--format", "kai0", "--json")
    again = recap("label", "import", dataset.id, out, "--format", "kai0")

    assert exported == (0, f"{out}\nkai0 has no place for: advantage\n", "")
    facts = json.loads(imported.out)
    assert (facts["num_positive"], facts["num_negative"], facts["num_none"]) == (23, 22, 1)
    assert again.out == (
        f"labels kai0-labels-{facts['id'][:8]}\n  46 frames: 23 positive, 22 negative, 1 none\n"
        f"  {facts['path']}\n"
    )


def test_the_threshold_that_opentau_needs_is_printed(
    recap: Recap, labels: Labels, tmp_path: Path
) -> None:
    """Its file does not hold it."""
    options = ("--format", "opentau", "--none-as", "negative")

    text = recap("label", "export", labels.id, tmp_path / "a", *options)
    plain = recap("label", "export", labels.id, tmp_path / "b", *options, "--json")

    assert "set advantage_threshold to 2.000000" in text.out
    facts = {"directory": str(tmp_path / "b"), "threshold": 2.0, "left_out": []}
    assert json.loads(plain.out) == facts


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--format", "rlinf"), 1, "1 of 46 frames are labelled none"),
        (("--format", "kai0", "--tag", "r1"), 2, "error: tag is 'r1', which kai0 has no use for"),
        (("--format", "rlinf", "--tag", "../../r1"), 2, "tag is '../../r1'"),
        (("--format", "evo_rl", "--signs"), 2, "error: signs is True, which evo_rl has no use for"),
        (("--format", "kai0", "--none-as", "positive"), 2, "kai0 has no use for"),
        (("--format", "rlinf", "--failure-reward", "300"), 2, "failure_reward is 300.0"),
    ],
)
def test_a_wrong_export_is_one_line_and_writes_nothing(  # noqa: PLR0917 - a fixture each
    recap: Recap,
    labels: Labels,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """Exit code 2 for settings, 1 for data."""
    answer = recap("label", "export", labels.id, tmp_path / "out", *options)

    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_import_is_one_line(
    recap: Recap, dataset: Dataset, labels: Labels, tmp_path: Path
) -> None:
    """OpenTau without a threshold, labels in place of a dataset, and a path with nothing in it."""
    arguments = ("label", "import")

    threshold = recap(*arguments, dataset.id, tmp_path, "--format", "opentau")
    kind = recap(*arguments, labels.id, tmp_path, "--format", "kai0")
    path = recap(*arguments, dataset.id, tmp_path, "--format", "kai0")

    assert threshold.code == 2
    assert threshold.err.startswith("error: OpenTau's files hold advantages and no labels; give")
    assert kind.code == 1
    assert "but a dataset was expected" in kind.err
    assert path.code == 1
    assert "so it is no dataset" in path.err


@pytest.mark.parametrize("command", ["import", "export"])
def test_help_ends_with_an_example(recap: Recap, command: str) -> None:
    """That can be copied."""
    answer = recap("label", command, "--help")

    assert f"Example: recap label {command}" in answer.out
    assert "--json" in answer.out
