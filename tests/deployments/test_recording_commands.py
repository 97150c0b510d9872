"""``recap ingest`` and ``convert``."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import app
from deployments.cli.recording_commands import artifact_name
from recap_core.config.presets import plumbing_project
from recap_core.data.frames import read_frames
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_recording
from recap_core.errors import ArtifactNotFoundError, ConfigError, DataError, RecapError
from recap_core.lineage.artifacts import Recording
from recap_core.lineage.project_files import project_name, save_project
from recap_core.lineage.store import Store
from tests.deployments.waiting_runs import wait_for_episodes

NO_CAMERA = SyntheticRobot(cameras=())


@pytest.fixture(autouse=True)
def home(recap_home: Path) -> Path:
    return recap_home


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A success of 12 frames, and a failure of 10 with two corrected ones, 10 Hz."""
    episodes = [
        SyntheticEpisode(length=12),
        SyntheticEpisode(length=10, success=False, interventions=(4, 5)),
    ]
    return write_synthetic_recording(tmp_path / "Fold the Shirt_2026", episodes, NO_CAMERA)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def answer(*arguments: str) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json").stdout)


def refused(error: type[RecapError], *arguments: str) -> str:
    with pytest.raises(error) as caught:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return str(caught.value)


def test_ingest_then_convert(session: Path) -> None:
    """The recording is named after its directory, and the dataset after the recording."""
    recording = answer("ingest", str(session), "--round", "2")
    dataset = answer("convert", recording["id"][:8], "--target-fps", "5", "--task", "fold")

    assert recording["name"] == "fold-the-shirt_2026"
    assert (recording["num_episodes"], recording["num_frames"]) == (2, 22)
    assert (recording["mode"], recording["round_index"]) == ("rollout", 2)
    assert dataset["parents"] == [recording["id"]]
    assert (dataset["name"], dataset["tasks"]) == (recording["name"], ["fold"])
    assert (dataset["num_frames"], dataset["fps"]) == (11, 5)
    assert dataset["metrics"] == {"success_share": 0.5, "intervention_share": 1 / 11}


def test_a_session_is_taken_in_for_a_project(session: Path, recap_home: Path) -> None:
    """Its next round learns from it, and a run that waits for episodes is told, or named."""
    config = plumbing_project()
    name = project_name(config)
    save_project(recap_home, config)
    wait_for_episodes(recap_home, name, run_name="round-1")

    result = run("ingest", str(session), "--project", name)

    assert f"{name} has 2 new episodes for its next round" in result.stdout
    assert "round-1 looks again once a server runs" in result.stdout
    store = Store(recap_home)
    (ref,) = [ref for ref in store.refs() if ref.startswith(f"{name}/recording-")]
    recording = store.get(ref)
    assert isinstance(recording, Recording)
    assert recording.round_index == 1
    assert "other" in refused(ConfigError, "ingest", str(session), "--project", "other")


def test_a_directory_is_ingested_first(session: Path) -> None:
    """And found again by its content the second time."""
    first = answer("convert", str(session))
    second = answer("convert", str(session), "--success-only", "--name", "good")

    assert first["parents"] == second["parents"] == [answer("ingest", str(session))["id"]]
    assert (second["name"], second["num_episodes"]) == ("good", 1)


def test_people_read_counts_shares_and_warnings(session: Path) -> None:
    """9 % corrected is below the band of 10 to 60 %; 50 % successes are within theirs."""
    result = run("convert", str(session))

    assert "2 episodes, 22 frames, 10 fps" in result.stdout
    assert "1 successes, 1 failures (50%)" in result.stdout
    assert "9.1% of the frames by a human, 0.0% paused" in result.stdout
    assert "cameras: none" in result.stdout
    assert result.stderr.count("warning: ") == 1
    assert "9.1% of the frames were corrected, below 10%" in result.stderr


def test_demonstrations_that_failed_are_mentioned(session: Path) -> None:
    """They count as successes, as the reference does it."""
    result = run("convert", str(session), "--demo")

    assert "2 successes, 0 failures (100%)" in result.stdout
    assert "100.0% of the frames by a human" in result.stdout
    assert "1 demonstrations are not marked as a success, and count as one" in result.stderr


def test_another_robot_comes_as_a_file(session: Path, tmp_path: Path) -> None:
    """The map alone, or the ``robot`` section of a project's settings."""
    parts = "[{file: left_states.npz, array: joint_pos}]"
    (tmp_path / "map.yaml").write_text(f"robot: {{state: {parts}, robot_type: half}}")

    dataset = answer("convert", str(session), "--robot", str(tmp_path / "map.yaml"))

    meta = read_frames(Path(dataset["path"])).meta
    assert meta.features["observation.state"]["shape"] == [6]
    assert meta.robot_type == "half"


def test_arms_are_chosen_one_by_one(session: Path) -> None:
    """One arm has 7 dimensions; two come in the order given."""
    one = answer("convert", str(session), "--include-arms", "right")
    two = answer("convert", str(session), "--include-arms", "right,left")

    assert read_frames(Path(one["path"])).meta.features["action"]["shape"] == [7]
    names = read_frames(Path(two["path"])).meta.features["action"]["names"]
    assert (names[0], names[13]) == ("right_joint_0", "left_gripper_0")


def test_wrong_arguments_are_one_clear_error(session: Path, tmp_path: Path) -> None:
    """Each names what is wrong, and what there is."""
    spelt = tmp_path / "map.yaml"
    spelt.write_text("robot_typ: so101")

    assert "recorded left, right" in refused(
        ConfigError, "convert", str(session), "--include-arms", "middle"
    )
    assert f"{spelt}: unknown setting 'robot_typ'; did you mean 'robot_type'?" in refused(
        ConfigError, "convert", str(session), "--robot", str(spelt)
    )
    assert "nowhere/at/all is no directory, and" in refused(
        ArtifactNotFoundError, "convert", "nowhere/at/all"
    )
    assert "holds no finished episode" in refused(DataError, "ingest", str(tmp_path))
    rollouts = answer("ingest", str(session))["id"]
    assert "holds rollout episodes" in refused(ConfigError, "convert", rollouts, "--demo")


@pytest.mark.parametrize(
    ("directory", "name"),
    [("Fold the Shirt_2026", "fold-the-shirt_2026"), ("_x", "x"), ("日本", "recording")],
)
def test_names_of_directories_become_names_of_artifacts(directory: str, name: str) -> None:
    """Lower case, at most 64 characters of a-z, 0-9, dot, dash and underscore."""
    assert artifact_name(Path("/data") / directory) == name
