"""``recap doctor data`` as a user meets it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli.doctor_command import doctor
from deployments.cli.main import app
from recap_core.config.presets import plumbing_project
from recap_core.data.dataset_writer import DatasetSummary
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ArtifactError, ConfigError, RecapError
from recap_core.lineage.project_files import save_project
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import MERGE, NORM_STATS, NoSettings

EPISODES = [
    SyntheticEpisode(length=20, interventions=tuple(range(5)), success=i < 2) for i in range(4)
]


def write_dataset(root: Path) -> DatasetSummary:
    return write_synthetic_dataset(root, EPISODES, SyntheticRobot(cameras=()))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "dataset")
    return tmp_path / "dataset"


def test_a_healthy_dataset(dataset: Path) -> None:
    """What was looked at, one calm line, exit code 0."""
    done = CliRunner().invoke(doctor, ["data", str(dataset)])

    assert done.exit_code == 0
    assert "LeRobot dataset of 4 episodes, 80 frames at 10 fps, 0 cameras, 1 task" in done.stdout
    assert done.stdout.splitlines()[-1] == "All is well: nothing to report."


def test_a_broken_dataset(dataset: Path) -> None:
    """A table with what, where and what to do; a verdict; exit code 1."""
    (dataset / "data/chunk-000/copy.parquet").write_bytes(b"")
    (dataset / "data/notes.txt").write_text("[bold]not markup[/bold]")

    done = CliRunner().invoke(doctor, ["data", str(dataset)], env={"COLUMNS": "120"})

    assert done.exit_code == 1
    text = " ".join(done.stdout.split())
    assert text.index("error") < text.index("warning")
    assert "data/chunk-000/copy.parquet" in text
    assert "→ move it out of data/" in text
    assert text.endswith("Do not train on this: 2 errors, 1 warning.")


def test_json_for_programs(dataset: Path) -> None:
    """Every finding with its fields, and the counts."""
    (dataset / "data/notes.txt").write_text("")

    done = CliRunner().invoke(doctor, ["data", str(dataset), "--json", "--decode", "none"])

    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["is_valid"], answer["num_warnings"]) == (0, True, 1)
    (finding,) = answer["findings"]
    assert finding["where"]["file"] == "data/notes.txt"
    assert {"severity", "check", "value", "rule", "fix", "num_places"} <= set(finding)


def test_an_artifact_by_name(recap_home: Path) -> None:
    """A dataset in the store is found like anywhere else; other kinds are refused."""

    def build(area: Build) -> Built:
        return Built(write_dataset(area.output)._asdict())

    def numbers(area: Build) -> Built:
        (area.output / "numbers.txt").write_text("1")
        return Built({"num_frames": 1})

    store = Store(recap_home)
    stored = store.produce(MERGE, NoSettings(), {}, name="merged", build=build)
    stats = store.produce(NORM_STATS, NoSettings(), {}, name="stats", build=numbers)

    done = CliRunner().invoke(doctor, ["data", stored.id[:8]])
    assert done.exit_code == 0
    assert "All is well" in done.stdout
    refused = CliRunner().invoke(doctor, ["data", stats.id[:8]])
    assert isinstance(refused.exception, RecapError)
    unknown = CliRunner().invoke(doctor, ["data", "nothing"])
    assert isinstance(unknown.exception, ArtifactError)


def test_a_recording_of_another_robot(dataset: Path, tmp_path: Path) -> None:
    """It is read with the map of that robot, as ``recap convert`` does; datasets have none."""
    episode = tmp_path / "session" / "episode_0"
    episode.mkdir(parents=True)
    np.save(episode / "timestamps.npy", 1_700_000_000 + np.arange(10) / 10)
    np.save(episode / "joints.npy", np.arange(30.0).reshape(10, 3))
    (episode / "metadata.json").write_text(json.dumps({"task_instruction": "stack the bricks"}))
    (episode / "SUCCESS").touch()
    part = [{"file": "joints.npy"}]
    robot_map, narrow = tmp_path / "map.json", tmp_path / "narrow.json"
    robot_map.write_text(json.dumps({"state": part, "action": part, "cameras": {}}))
    part = [{"file": "joints.npy", "dims": [7]}]
    narrow.write_text(json.dumps({"robot": {"state": part, "action": part, "cameras": {}}}))

    def checked(path: Path, *options: str) -> Result:
        return CliRunner().invoke(doctor, ["data", str(path), "--json", *options])

    assert "has no 'arms'" in checked(episode.parent).stdout
    assert checked(episode.parent, "--robot", str(robot_map)).exit_code == 0
    wrong = checked(episode.parent, "--robot", str(narrow))
    assert (wrong.exit_code, "takes column 7 of joints.npy" in wrong.stdout) == (1, True)
    assert isinstance(checked(dataset, "--robot", str(robot_map)).exception, ConfigError)


@pytest.fixture
def nightly_home(recap_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a project whose inbox is not there, and one whose settings are damaged."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    config = plumbing_project(cameras=False)
    settings = config.iteration.model_copy(update={"inbox": str(recap_home / "inbox")})
    save_project(recap_home, config.model_copy(update={"iteration": settings}))
    (recap_home / "projects/plumbing/other.yaml").write_text("project: plumbing\nrobott: other\n")
    return recap_home


def machine_findings(*options: str) -> dict[str, dict]:
    """What ``recap doctor machine`` finds, by the name of the check."""
    done = CliRunner().invoke(doctor, ["machine", "--json", *options])
    answer = json.loads(done.stdout)
    assert done.exit_code == int(not answer["can_run"])
    return {finding["check"]: finding for finding in answer["findings"]}


def test_what_a_night_would_fail_on(nightly_home: Path) -> None:
    """Inbox, settings, a port; without a server that is no error, for recap up starts one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        found = machine_findings("--port", port, "--pages-port", port)

    assert found["inbox"]["severity"] == "error"
    assert str(nightly_home / "inbox") in found["inbox"]["value"]
    assert found["project"]["severity"] == "error"
    assert found["project"]["where"]["file"] == "plumbing/other"
    assert (found["ports"]["severity"], found["ports"]["where"]["file"]) == (
        "warning",
        f"127.0.0.1:{port}",
    )
    assert found["server"]["severity"] == "note"
    assert "GB are free" in found["disk"]["value"]


def test_a_named_server_that_does_not_answer(
    nightly_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flow would fail on it."""
    del nightly_home
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    found = machine_findings()["server"]

    assert (found["severity"], found["where"]["file"]) == ("error", "http://127.0.0.1:9")
    assert "unset PREFECT_API_URL" in found["fix"]


def test_help_ends_with_an_example() -> None:
    """That can be copied; the data panel of ``recap --help`` names the group."""
    done = CliRunner().invoke(app, ["doctor", "data", "--help"], env={"COLUMNS": "120"})
    overview = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})

    assert "Example: recap doctor data" in done.stdout
    assert "--json" in done.stdout
    assert "doctor" in overview.stdout.partition("Data, stage by stage")[2]


def test_a_wrong_name_is_one_line(tmp_path: Path) -> None:
    """Through the real command: an error, the next step, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli.main", "doctor", "data", "nowhere"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "RECAP_HOME": str(tmp_path)},
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere is neither a directory nor an artifact")
    assert len(done.stderr.splitlines()) == 1
