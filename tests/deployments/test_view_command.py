"""``recap view`` as a user meets it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ConfigError, DataError, EpisodeError

ROBOT = SyntheticRobot(arms=("left",), cameras=("head_camera",))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes."""
    root = tmp_path_factory.mktemp("data") / "monday"
    write_synthetic_dataset(root, robot=ROBOT)
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which a store would be made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECAP_HOME", str(tmp_path / "home"))
    return tmp_path


def recap_view(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["view", *map(str, arguments)])


def test_a_page_is_the_default(dataset: Path, here: Path) -> None:
    """Named after the dataset; nothing else is written, not even a store."""
    done = recap_view(dataset)

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("monday.html: 4 episodes, 0.")
    assert [path.name for path in here.iterdir()] == ["monday.html"]


def test_a_page_is_replaced_only_when_asked(dataset: Path, here: Path) -> None:
    """What was there stays."""
    (here / "x.html").write_text("mine")

    refused = recap_view(dataset, "--html", "x.html").exception

    assert isinstance(refused, DataError)
    assert "--force" in str(refused)
    assert (here / "x.html").read_text() == "mine"
    assert recap_view(dataset, "--html", "x.html", "--limit", 1, "--force").exit_code == 0
    assert "<!DOCTYPE html>" in (here / "x.html").read_text()


def test_chosen_episodes_as_a_recording(dataset: Path, here: Path) -> None:
    """Facts as JSON; the file is as large as they say."""
    pytest.importorskip("rerun", reason="rerun-sdk is not installed: pip install rerun-sdk")
    path = here / "some.rrd"

    done = recap_view(dataset, "--episode", 3, "-e", "0-1", "-o", path, "--json")

    assert json.loads(done.stdout) == {
        "path": str(path),
        "bytes": path.stat().st_size,
        "episodes": [3, 0, 1],
        "num_left_out": 1,
        "values": None,
        "labels": None,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--episodes", "1-9"), "the dataset has episodes 0 to 3"),
        (("--episodes", "2-1"), "the dataset has episodes 0 to 3"),
        (("--episodes", "two"), "'two' is not a number or a range"),
        (("--output", "x.mp4"), "neither .rrd nor .html"),
        (("--output", "x.rrd", "--html", "x.html"), "both given"),
    ],
)
def test_a_wrong_option_is_refused(
    dataset: Path, here: Path, *, arguments: tuple[str, ...], message: str
) -> None:
    """Before anything is written."""
    refused = recap_view(dataset, *arguments).exception

    assert isinstance(refused, ConfigError)
    assert message in str(refused)
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", ["x.html", "x.rrd"])
def test_a_damaged_video_leaves_nothing(dataset: Path, here: Path, name: str) -> None:
    """The error names the file; no part of the output stays."""
    shutil.copytree(dataset, here / "broken")
    next((here / "broken" / "videos").rglob("*.mp4")).write_bytes(b"")

    refused = recap_view(here / "broken", "-o", name, "--limit", 4).exception

    assert isinstance(refused, EpisodeError)
    assert ".mp4" in str(refused)
    assert [path.name for path in here.iterdir()] == ["broken"]


def test_an_error_is_one_line(here: Path) -> None:
    """The command line, not Python, answers."""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", "deployments.cli.main", "view", str(here)],
        check=False,
        capture_output=True,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "is no LeRobot dataset" in done.stderr
