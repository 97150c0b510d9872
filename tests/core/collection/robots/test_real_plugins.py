"""Plugin packages of lerobot as their authors ship them, as far as it goes without hardware.

Nothing is installed for this: a package that is not there is skipped. scripts/test-plugins runs all
of it.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.collection.robots.check import check_robot
from recap_core.collection.robots.lerobot_adapter import LerobotRobot
from recap_core.collection.robots.opening import open_robot
from recap_core.config.live_robot import LerobotConfig
from recap_core.errors import RobotError
from recap_core.rollout.live import ArmLayout

pytestmark = pytest.mark.slow

YAM_JOINTS = (
    *("shoulder_pan", "shoulder_lift", "elbow_flex"),
    *("wrist_flex", "wrist_roll", "wrist_yaw", "gripper"),
)


def needs(*modules: str) -> None:
    """Skip where a plugin or a library that it needs is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def yam(place: Path, port: str) -> dict[str, Any]:
    """Settings of one YAM arm."""
    settings = {"port": port, "id": port, "calibration_dir": str(place)}
    return {"type": "yam_follower", "settings": settings}


def test_two_yam_arms_and_their_leaders(tmp_path: Path) -> None:
    """The real followers and leaders side by side, mapped without a word; no bus, no connection."""
    needs("lerobot_robot_yam", "lerobot_teleoperator_yam_gello", "yam_common", "can")
    leader = {"type": "yam_leader", "settings": {"calibration_dir": str(tmp_path)}}
    config = LerobotConfig.model_validate(
        {
            "kind": "lerobot",
            "parts": {
                "left": yam(tmp_path, "can_nowhere0"),
                "right": yam(tmp_path, "can_nowhere1"),
            },
            "teleoperator": {"parts": {"left": leader, "right": leader}},
        }
    )
    robot, leader_arms = open_robot(config)
    assert isinstance(robot, LerobotRobot)
    assert leader_arms is not None
    description = robot.description
    assert description.robot_type == "yam_follower"
    assert description.arms == (
        ArmLayout("left", (0, 1, 2, 3, 4, 5), (6,)),
        ArmLayout("right", (7, 8, 9, 10, 11, 12), (13,)),
    )
    assert robot._mapping.state == tuple(
        f"{side}_{joint}.pos" for side in ("left", "right") for joint in YAM_JOINTS
    )
    problems = {finding.name: finding.problem for finding in check_robot(config)}
    assert "there is no interface can_nowhere0" in str(problems["robot parts.left.port"])
    with pytest.raises(RobotError, match=r"yam_follower cannot be opened.*can_nowhere0"):
        robot.connect()


def test_a_plugin_without_hardware_runs(tmp_path: Path) -> None:
    """A real plugin package whose arm is only pretended: ten ticks of it."""
    needs("lerobot_robot_dummy")
    settings = {"calibration_dir": str(tmp_path)}
    robot, _ = open_robot(
        LerobotConfig.model_validate(
            {"kind": "lerobot", "type": "dummy_follower", "settings": settings}
        )
    )
    robot.connect()
    for step in range(10):
        action = np.full(7, step, dtype=np.float32)
        np.testing.assert_array_equal(robot.send_action({"action": action})["action"], action)
        assert robot.get_observation()["observation.state"].shape == (7,)
    robot.disconnect()


def test_so101_and_its_leader(tmp_path: Path) -> None:
    """An arm of lerobot's own: features, ports that are not there, and what to do about them."""
    needs("scservo_sdk", "serial")
    place = {"port": str(tmp_path / "ttyACM9"), "calibration_dir": str(tmp_path)}
    config = LerobotConfig.model_validate(
        {
            "kind": "lerobot",
            "type": "so101_follower",
            "settings": place,
            "teleoperator": {"type": "so101_leader", "settings": place},
        }
    )
    robot, _ = open_robot(config)
    assert robot.description.arms == (ArmLayout("arm", (0, 1, 2, 3, 4), (5,)),)
    with pytest.raises(RobotError, match=r"so101_follower cannot be opened.*port .*ttyACM9"):
        robot.connect()


def test_without_its_bus_library_so101_says_what_to_install(tmp_path: Path) -> None:
    """What lerobot says reaches the user."""
    if importlib.util.find_spec("scservo_sdk") is not None:
        pytest.skip("the library is installed")
    settings = {"port": "/dev/ttyACM9", "calibration_dir": str(tmp_path)}
    config = {"kind": "lerobot", "type": "so101_follower", "settings": settings}
    with pytest.raises(RobotError, match=r"so101_follower cannot be made.*lerobot\[feetech\]"):
        open_robot(LerobotConfig.model_validate(config))
