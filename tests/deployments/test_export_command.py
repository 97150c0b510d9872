"""``recap export`` as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.cli.export_command import Format, export
from recap_core.data.import_v21 import import_v21
from recap_core.data.layout import read_meta
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import RecapError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import CONVERT, NORM_STATS, NoSettings


def recap(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command with a store of its own."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", "deployments.cli.main", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "RECAP_HOME": str(home)},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a dataset, which has a reference, and norm stats."""
    store = Store(tmp_path_factory.mktemp("store") / "home")

    def write_dataset(area: Build) -> Built:
        episodes = [SyntheticEpisode(length=4), SyntheticEpisode(length=3)]
        robot = SyntheticRobot(cameras=("head_camera",))
        return Built(write_synthetic_dataset(area.output, episodes, robot)._asdict())

    def write_stats(area: Build) -> Built:
        (area.output / "numbers.txt").write_text("1 2 3")
        return Built({"num_frames": 3})

    dataset: Artifact = store.produce(CONVERT, NoSettings(), {}, name="demos", build=write_dataset)
    store.produce(NORM_STATS, NoSettings(), {}, name="stats", build=write_stats)
    store.set_ref("demo/sim-aloha/dataset", dataset)
    return store.home


def test_an_artifact_becomes_a_v21_directory(home: Path, tmp_path: Path) -> None:
    """By reference; the answer says what and where, and the result is complete."""
    done = recap("export", "demo/sim-aloha/dataset", str(tmp_path / "v21"), home=home)

    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("LeRobot v2.1 dataset: 2 episodes, 7 frames, 2 videos, ")
    assert second == str(tmp_path / "v21")
    assert import_v21(tmp_path / "v21", tmp_path / "v30").num_frames == 7


def test_json_is_all_that_is_printed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For programs; a directory is accepted where an artifact is, and a v3.0 copy is made."""
    (source,) = (home / "artifacts" / "datasets").iterdir()

    export(str(source), tmp_path / "v30", version=Format.v30, json=True)

    facts = json.loads(capsys.readouterr().out)
    assert (facts["format"], facts["num_episodes"]) == ("v3.0", 2)
    assert facts["directory"] == str(tmp_path / "v30")
    assert read_meta(tmp_path / "v30").num_frames == 7
    assert not (tmp_path / "v30" / "artifact.json").exists()


def test_a_mistake_is_one_line_and_an_exit_code(home: Path, tmp_path: Path) -> None:
    """No traceback."""
    done = recap("export", "./nowhere", str(tmp_path / "out"), home=home)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: there is no directory nowhere. Check the path.\n"


@pytest.mark.parametrize(
    ("dataset", "directory", "message"),
    [
        ("stats", "out", "no artifact 'stats'"),
        ("STATS", "out", "is norm_stats stats-.*, but a dataset was expected"),
        ("demo/sim-aloha/dataset", "SOURCE/out", "is inside of the dataset"),
        ("demo/sim-aloha/dataset", ".", "is not empty"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(
    *,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dataset: str,
    directory: str,
    message: str,
) -> None:
    """Unknown artifacts, other kinds of them, and directories that must not be written."""
    (source,) = (home / "artifacts" / "datasets").iterdir()
    (stats,) = (home / "artifacts" / "norm-stats").iterdir()
    (tmp_path / "mine").touch()
    monkeypatch.setenv("RECAP_HOME", str(home))
    target = source / "out" if directory == "SOURCE/out" else tmp_path / directory

    with pytest.raises(RecapError, match=message):
        export(stats.name if dataset == "STATS" else dataset, target)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert not (source / "out").exists()
