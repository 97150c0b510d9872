"""What the doctor finds about a robot."""

from pathlib import Path
from typing import Any

import pytest

from recap_core.collection.robots.check import Finding, check_robot
from recap_core.config.live_robot import (
    LerobotConfig,
    ReplayConfig,
    SimLiveConfig,
    SyntheticConfig,
)
from recap_core.config.robot import SimRobotConfig


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    """Findings by what was looked at."""
    return {finding.name: finding for finding in findings}


def test_a_simulator_without_cameras_needs_no_rendering() -> None:
    """Its libraries are there; nothing is rendered."""
    found = by_name(check_robot(SimLiveConfig(robot=SimRobotConfig(cameras=()))))
    assert [finding.problem for finding in found.values()] == [None, None, None]
    assert found["mujoco"].text == "installed"
    assert found["rendering"].text == "not needed: no cameras"


def test_a_simulator_with_cameras_renders_one_image(gl: None) -> None:
    """The GL context is tried out."""
    del gl
    found = by_name(check_robot(SimLiveConfig()))
    assert found["rendering"].problem is None
    assert found["rendering"].text.endswith("64x64 px at 10 Hz")


def test_a_recording(recording: Path, tmp_path: Path) -> None:
    """What is in it, or why it cannot be replayed."""
    found = by_name(check_robot(ReplayConfig(kind="replay", path=recording)))
    assert found["recording"].text == f"2 episodes, 21 rows, at {recording}"
    assert found["arms"].text == "left, right"
    (missing,) = check_robot(ReplayConfig(kind="replay", path=tmp_path / "nowhere"))
    assert missing.problem is not None
    assert "there is no recording at" in missing.problem


def test_a_made_up_robot_has_no_problem() -> None:
    """There is nothing to look at."""
    (finding,) = check_robot(SyntheticConfig(kind="synthetic"))
    assert finding == ("robot", None, "made up: 3 cameras of 480x640 px at 30 Hz")


@pytest.mark.slow
@pytest.mark.usefixtures("plugins")
def test_a_robot_of_lerobot(tmp_path: Path) -> None:
    """Plugins, ports, cameras, mapping and teleoperator, without connecting anything."""
    port = tmp_path / "ttyACM0"
    port.touch()
    place = {"calibration_dir": str(tmp_path)}
    camera: dict[str, Any] = {"type": "opencv", "index_or_path": str(tmp_path / "video7")}
    camera |= {"width": 640, "height": 480, "fps": 30}
    settings = {**place, "port": str(port), "cameras": {"top": camera}}
    config: dict[str, Any] = {
        "kind": "lerobot",
        "type": "pretended_arm",
        "settings": settings,
        "teleoperator": {"type": "pretended_leader", "settings": {**place, "port": "can_nowhere"}},
    }
    found = by_name(check_robot(LerobotConfig.model_validate(config)))

    assert found["plugin lerobot_robot_pretended"].problem is None
    broken = found["plugin lerobot_robot_broken"].problem
    assert broken is not None
    assert "motor_bus_of_this_robot" in broken
    assert found["state"].text == "3: shoulder.pos, elbow.pos, gripper.pos"
    assert found["arm arm"].text == "2 joints, gripper gripper.pos"
    assert found["camera front"].text == "front, 4x6 px"
    assert found["not recorded"].text.endswith("gripper.vel, front_depth")
    assert found["teleoperator"].text == "pretended_leader, follows the robot"
    assert found["robot port"] == ("robot port", None, f"{port}, a file")
    leader_port = found["teleoperator port"].problem
    assert leader_port is not None
    assert "ip link set can_nowhere up" in leader_port
    missing = found["robot cameras.top.index_or_path"].problem
    assert missing is not None
    assert "lerobot-find-cameras" in missing
