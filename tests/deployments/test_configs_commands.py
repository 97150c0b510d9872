"""``recap configs``, as a user meets it."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from deployments.cli.configuration import load_settings
from deployments.cli.main import run
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.embodiments import EMBODIMENTS
from recap_core.config.presets import tiny_project
from recap_core.config.registry import policy_setup, policy_setup_names
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.lineage.artifacts import Dataset
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import CONVERT, NoSettings

ARM = """\
state_dim: 4
action_dim: 4
views: {base_0_rgb: observation.images.front}
delta_mask: [1, -1, 1, -1]
default_prompt: fold the towel
asset_id: my-arm
wire: {cameras: {webcam: base_0_rgb}, ignored_cameras: []}
"""


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: object
    out: str
    err: str


class Recap:
    """The command, run in this process."""

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
def recap(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Recap:
    """Runs a command line with a store of its own."""
    monkeypatch.setenv("RECAP_HOME", str(tmp_path / "home"))
    return Recap(monkeypatch, capsys)


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    """A robot that nobody knows."""
    path = tmp_path / "my_arm.yaml"
    path.write_text(ARM)
    return path


def test_the_list_names_every_setup(recap: Recap) -> None:
    """A line each, and the same as JSON."""
    table = recap("configs", "list")
    rows = json.loads(recap("configs", "list", "--json").out)

    assert table.code == 0
    assert [row["name"] for row in rows] == policy_setup_names()
    assert all(name in table.out for name in policy_setup_names())
    assert rows[5] == {
        "name": "pi06_yam_vial_30fps_lora_from_sft",
        "stage": "stage3",
        "model": "pi0.6 LoRA",
        "start": "sft",
        "dataset": "local/vial_rollout_v1_v21",
        "batch": 4,
    }


@pytest.mark.parametrize(
    ("name", "flow", "stage"),
    [
        ("pi05_libero", "bootstrap", "sft"),
        ("pi06_yam_vial_30fps_lora_from_sft", "iteration", "stage3"),
        ("pi06_yam_vial_30fps_from_sft_recap_infer", "iteration", "finetune"),
    ],
)
def test_what_show_prints_is_a_recap_yaml(
    recap: Recap, tmp_path: Path, name: str, flow: str, stage: str
) -> None:
    """Laid over any preset it is the setup, whole; nothing of the preset shows through."""
    file = tmp_path / "recap.yaml"
    file.write_text(recap("configs", "show", name).out)

    project = load_settings(tiny_project(cameras=False), file=file, overrides=[])

    setup = policy_setup(name)
    train = setup.train.model_copy(update={"new_norm_stats": stage == "sft"})
    assert getattr(getattr(project, flow), stage) == train
    assert project.bootstrap.norm_stats.embodiment == setup.train.policy.embodiment
    assert project.bootstrap.norm_stats.action_horizon == setup.train.policy.model.action_horizon
    assert project.runtime.train == setup.runtime


def test_a_served_policy_shows_its_policy(recap: Recap) -> None:
    """And where it can be had."""
    shown = recap("configs", "show", "pi05_aloha")

    assert yaml.safe_load(shown.out)["policy"] == policy_setup(
        "pi05_aloha"
    ).train.policy.model_dump(mode="json")
    assert "# published at gs://openpi-assets/checkpoints/pi05_base" in shown.out


def test_parameters_and_another_robot_reach_the_settings(recap: Recap, arm: Path) -> None:
    """The worked example of docs/robots.md."""
    options = ["--embodiment", arm, "--dataset", "local/towels", "--asset-id", "towels", "--json"]

    shown = json.loads(recap("configs", "show", "pi06_yam_vial_30fps_lora", *options).out)

    robot = EmbodimentConfig.model_validate(shown["train"]["policy"]["embodiment"])
    assert robot.views == {"base_0_rgb": "observation.images.front"}
    assert (robot.asset_id, robot.default_prompt) == ("towels", "fold the towel")
    assert shown["dataset"] == "local/towels"


def test_an_unknown_setup_is_one_helpful_line(recap: Recap) -> None:
    """The closest name, and how to see all."""
    answer = recap("configs", "show", "pi06_yam_vial_lora")

    assert answer.code == 2
    assert "error: no policy setup is called 'pi06_yam_vial_lora'; the closest is" in answer.err
    assert answer.err.strip().endswith("recap configs list")


def test_known_robots_are_listed_and_shown(recap: Recap) -> None:
    """What is shown is a file that means the same robot."""
    rows = json.loads(recap("configs", "robots", "--json").out)
    shown = recap("configs", "robot", "droid")

    assert [row["name"] for row in rows] == list(EMBODIMENTS)
    assert recap("configs", "robots").out.count("\n") > len(EMBODIMENTS)
    assert EmbodimentConfig.model_validate(yaml.safe_load(shown.out)) == EMBODIMENTS["droid"]
    as_json = json.loads(recap("configs", "robot", "droid", "--json").out)
    assert as_json == yaml.safe_load(shown.out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("state_dims: 7\n", "unknown setting 'state_dims'; did you mean 'state_dim'?"),
        ("delta_mask: 6,-1\n", "delta_mask is '6,-1': a list is needed, for instance [6, -1"),
        ("views: {front: x}\n", "views.front.[key] is 'front': Input should be 'base_0_rgb'"),
        ("delta_mask: [6, -1]\nstate_dim: 5\n", "delta_mask covers 7 dims, but state_dim is 5"),
        ("- state\n", "holds a list, not settings by name"),
    ],
)
def test_a_wrong_robot_file_is_one_helpful_line(
    recap: Recap, tmp_path: Path, content: str, message: str
) -> None:
    """The file, the setting, and what to write."""
    path = tmp_path / "robot.yaml"
    path.write_text(content)

    answer = recap("configs", "robot", path)

    assert answer.code == 2
    assert "robot.yaml" in answer.err
    assert message in answer.err


def test_neither_a_robot_nor_a_file(recap: Recap) -> None:
    """Known names are listed."""
    answer = recap("configs", "robot", "nosuch")

    assert answer.code == 2
    assert "'nosuch' is neither a known robot (yam, aloha," in answer.err


def publish(tmp_path: Path) -> Dataset:
    """Six frames of a small robot with one camera."""
    robot = SyntheticRobot(num_joints=1, cameras=("front",))
    store = Store(tmp_path / "home")

    def build(area: Build) -> Built:
        facts = write_synthetic_dataset(area.output, [SyntheticEpisode(length=6)], robot)
        return Built(facts._asdict())

    return store.produce(CONVERT, NoSettings(), {}, name="rollouts", build=build)


def test_a_robot_is_checked_against_a_dataset(recap: Recap, arm: Path, tmp_path: Path) -> None:
    """Columns, widths and cameras, before anything is trained."""
    dataset = publish(tmp_path)

    checked = recap("configs", "robot", arm, "--dataset", dataset.id)
    assert checked.code == 0
    assert "# state: observation.state 4 dims; action: action 4 dims" in checked.out
    assert "# base_0_rgb: observation.images.front" in checked.out

    for old, new, message in [
        ("state_dim: 4", "state_dim: 5", "have 4 dims, but this robot's state has 5"),
        ("images.front", "images.top", "observation.images.top"),
        ("observation.images.front", "action", "views.base_0_rgb is 'action', which holds float32"),
    ]:
        arm.write_text(ARM.replace(old, new))
        refused = recap("configs", "robot", arm, "--dataset", dataset.id)
        assert refused.code != 0
        assert message in refused.err


def test_norm_stats_of_a_robot_file(recap: Recap, arm: Path, tmp_path: Path) -> None:
    """``recap stats --embodiment`` takes columns and delta mask from there, and nothing twice."""
    dataset = publish(tmp_path)

    made = json.loads(recap("stats", dataset.id, "--embodiment", arm, "--json").out)
    twice = recap("stats", dataset.id, "--embodiment", arm, "--delta-mask", "1,-1")

    assert json.loads((Path(made["path"]) / "norm_stats.json").read_text())["norm_stats"]["actions"]
    assert twice.code == 2
    assert "--embodiment says what --delta-mask would; give one or the other" in twice.err
