"""``recap import`` as a user meets it."""

import json
import sys
from pathlib import Path

import pytest

from deployments.cli.import_command import default_name
from deployments.cli.main import run
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset


@pytest.fixture
def rollouts(tmp_path: Path) -> Path:
    """A success and a failure without cameras."""
    episodes = [SyntheticEpisode(length=4, interventions=(1,)), SyntheticEpisode(5, success=False)]
    write_synthetic_dataset(tmp_path / "My Rollouts", episodes, SyntheticRobot(cameras=()))
    return tmp_path / "My Rollouts"


@pytest.fixture
def recap(recap_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # noqa: ANN201 - a function of the arguments
    """The command in this process: exit code, stdout, stderr."""
    del recap_home

    def call(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["recap", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run()
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    return call


def test_what_people_see(rollouts: Path, recap) -> None:  # noqa: ANN001 - as above
    """Counts, shares, and where every column comes from."""
    code, out, err = recap("import", rollouts)

    assert (code, err) == (0, "")
    assert out.startswith("dataset my-rollouts-")
    assert "2 episodes (1 success, 1 failure), 9 frames, 10 fps, 11.1% intervention" in out
    assert "intervention column intervention\n" in out
    assert "outcome      reward above 0 at the last frame\n" in out
    assert "adv_ind      kept\n" in out


def test_outcomes_from_a_file_as_json(rollouts: Path, recap, tmp_path: Path) -> None:  # noqa: ANN001
    """Columns that disagree with it are written anew when told."""
    (tmp_path / "marks.csv").write_text("episode_index,success\n0,failure\n1,success\n")
    options = ("--outcomes", tmp_path / "marks.csv", "--round", 3, "--json", "--name", "marked")

    code, _, err = recap("import", rollouts, *options)
    assert code == 1
    assert err.startswith("error: reward[3] of episode 0 is 1.0, but it is 0,")
    code, out, _ = recap("import", rollouts, *options, "--recompute", "all")

    assert code == 0
    told = json.loads(out)
    assert told["import"]["num_successes"] == 1
    assert told["name"] == "marked"
    assert Path(told["path"]).is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--rename", "action"], 2, "--rename 'action' is not OLD=NEW"),
        (["--all-success", "--all-failure"], 2, "--all-success and --all-failure contradict"),
        (["--all-success", "--demonstrations"], 2, "demonstrations and all_outcomes each decide"),
        (["--recompute", "speed"], 2, "recompute.0: Input should be 'intervention', 'reward'"),
        (["--drop", "speed"], 2, "drop names 'speed', but"),
        (["--name", "a b"], 1, "'a b' is no valid artifact name"),
    ],
)
def test_errors_are_one_line(
    rollouts: Path,
    recap,  # noqa: ANN001
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """And exit with 2 where the command was wrong."""
    found, out, err = recap("import", rollouts, *arguments)

    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_directory_that_is_no_dataset(tmp_path: Path, recap) -> None:  # noqa: ANN001
    """Is named."""
    code, _, err = recap("import", tmp_path / "nothing")

    assert code == 1
    assert "nothing is no LeRobot dataset" in err


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/Pick & Place", "pick-place"),
        ("/cache/datasets--lerobot--PushT_image/snapshots/0f1e2d", "pusht_image"),
        ("/data/...", "imported"),
    ],
)
def test_the_default_name(path: str, name: str) -> None:
    """The directory's, or the dataset's in a download cache, as an artifact may be called."""
    assert default_name(Path(path)) == name
