"""``recap annotate``, ``merge`` and ``stats``."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli.main import app
from recap_core.config.base import Config
from recap_core.data.norm_stats import load_norm_stats
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_dataset
from recap_core.errors import ColumnError, ConfigError, DataError, IncompatibleError, RecapError
from recap_core.lineage.artifacts import Dataset
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store


@pytest.fixture(autouse=True)
def store(recap_home: Path) -> Store:
    """A store with the dataset ``rollouts`` in it: 4 episodes, 46 frames, no cameras."""

    def build(area: Build) -> Built:
        summary = write_synthetic_dataset(area.output, robot=SyntheticRobot(cameras=()))
        return Built(summary._asdict())

    store = Store(recap_home)
    stage = Stage("synthetic", 1, Dataset)
    dataset = store.produce(stage, Config(), {}, name="rollouts", build=build)
    store.set_ref("demo/robot/rollouts", dataset)
    return store


def recap(*arguments: str) -> dict[str, Any]:
    """The JSON answer of a command."""
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(error: type[RecapError], *arguments: str) -> str:
    """The error that a command ends with."""
    with pytest.raises(error) as caught:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return str(caught.value)


def test_one_correction_is_one() -> None:
    """Numbers agree with their nouns."""
    arguments = ["annotate", "demo/robot/rollouts", "-e", "0", "--outcome", "failure"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)

    assert "1 outcome corrected, 0 episodes excluded" in result.stdout


def test_annotate_then_merge(store: Store) -> None:
    """Exclude one episode, correct another, take the rest twice."""
    first = recap("annotate", "demo/robot/rollouts", "-e", "0", "--exclude", "--note", "cable")
    both = recap(
        "annotate", "demo/robot/rollouts", "-e", "3", "--outcome", "success", "--on", first["id"]
    )

    merged = recap("merge", "demo/robot/rollouts", "--repeat", "2", "--annotations", both["id"][:8])

    assert (both["num_changed"], both["num_excluded"]) == (1, 1)
    assert (merged["num_episodes"], merged["num_frames"]) == (6, 68)
    assert merged["parents"] == [store.get("demo/robot/rollouts").id, both["id"]]
    assert Path(merged["path"]).is_dir()


def test_annotations_of_a_project_add_up(store: Store) -> None:
    """The ref moves on; what was said before stays said."""
    recap("annotate", "demo/robot/rollouts", "-e", "0", "--exclude", "--project", "demo/robot")
    recap("annotate", "demo/robot/rollouts", "-e", "1", "--exclude", "--project", "demo/robot")

    assert store.get("demo/robot/annotations").details() == {"num_changed": 0, "num_excluded": 2}


def test_annotations_from_a_file(tmp_path: Path) -> None:
    """A list in YAML; a wrong word in it is named with its field."""
    file = tmp_path / "corrections.yaml"
    file.write_text("- {episode: '2', outcome: success}\n- {episode: '3', excluded: true}\n")
    result = recap("annotate", "demo/robot/rollouts", "--file", str(file))
    assert (result["num_changed"], result["num_excluded"]) == (1, 1)

    file.write_text("- {episode: '2', outcome: great}\n")
    message = refused(ConfigError, "annotate", "demo/robot/rollouts", "--file", str(file))
    assert "outcome: Input should be 'success', 'failure' or 'recorded' (got 'great')" in message


def test_nothing_to_annotate_is_refused() -> None:
    """Without episodes, without a statement, or about an episode that is not there."""
    said = "annotate", "demo/robot/rollouts"
    assert "--episode" in refused(ConfigError, *said, "--exclude")
    assert "--outcome" in refused(ConfigError, *said, "-e", "0")
    assert "no episode '9'" in refused(DataError, *said, "-e", "9", "--exclude")


def test_stats_are_computed_or_loaded(tmp_path: Path) -> None:
    """Delta actions; released statistics are padded; those of another robot are refused."""
    stats = recap("stats", "demo/robot/rollouts", "--delta-mask", "6,-1,6,-1", "--exact")
    path = Path(stats["path"]) / "norm_stats.json"
    loaded = recap("stats", "demo/robot/rollouts", "--load", str(path), "--name", "loaded")

    assert loaded["name"] == "loaded"
    assert path.read_bytes() == (Path(loaded["path"]) / "norm_stats.json").read_bytes()
    assert load_norm_stats(path)["actions"].mean.shape == (14,)

    padded = tmp_path / "padded.json"
    content = json.loads(path.read_text())
    for feature in content["norm_stats"].values():
        feature.update({field: [*values, *[0.0] * 18] for field, values in feature.items()})
    padded.write_text(json.dumps(content))
    taken = recap("stats", "demo/robot/rollouts", "--load", str(padded), "--embodiment", "aloha")
    assert load_norm_stats(Path(taken["path"]) / "norm_stats.json")["actions"].mean.shape == (32,)

    other = tmp_path / "norm_stats.json"
    content = json.loads(path.read_text())
    content["norm_stats"]["state"] = {k: v[:7] for k, v in content["norm_stats"]["state"].items()}
    other.write_text(json.dumps(content))
    message = refused(ColumnError, "stats", "demo/robot/rollouts", "--load", str(other))
    assert "has 7 dimensions of state, but the dataset has 14" in message


@pytest.mark.parametrize(
    "content",
    [
        '{"norm_stats": []}',
        '{"norm_stats": {"state": {"mean": [0], "std": [1], "q01": null, "q99": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0], "std": [NaN], "q01": [0], "q99": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0], "std": [1, 2], "q01": [0], "q99": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0], "std": [-1], "q01": [0], "q99": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0], "std": [1], "q01": [2], "q99": [1]}}}',
    ],
)
def test_broken_statistics_are_refused(tmp_path: Path, content: str) -> None:
    """In one line that names the file; nothing is published."""
    path = tmp_path / "norm_stats.json"
    path.write_text(content)

    message = refused(DataError, "stats", "demo/robot/rollouts", "--load", str(path))

    assert str(path) in message


@pytest.mark.parametrize(
    ("error", "arguments", "words"),
    [
        (ColumnError, ("--state", "phase"), "phase"),
        (ColumnError, ("--action", "adv_ind"), "adv_ind"),
        (ConfigError, ("--state", "action", "--delta-mask", "6,-1"), "observation.state"),
        (ConfigError, ("--delta-mask", "6;1"), "6,-1,6,-1"),
    ],
)
def test_columns_without_statistics_are_refused(
    error: type[RecapError], arguments: tuple[str, ...], words: str
) -> None:
    """Words have no mean; a mask needs a state to be relative to."""
    assert words in refused(error, "stats", "demo/robot/rollouts", *arguments)


def test_the_wrong_kind_is_named() -> None:
    """Statistics are no dataset."""
    stats = recap("stats", "demo/robot/rollouts")

    message = refused(IncompatibleError, "merge", stats["id"])
    assert f"is norm_stats rollouts-{stats['id'][:8]}, but a dataset was expected" in message
