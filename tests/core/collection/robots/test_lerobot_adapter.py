"""lerobot's robots through the adapter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.collection.robots.lerobot_adapter import LerobotRobot
from recap_core.collection.robots.opening import open_robot, scripted_policy
from recap_core.config.live_robot import LerobotConfig, ScriptedPolicyConfig
from recap_core.errors import ConfigError, RobotError
from recap_core.rollout.live import (
    CAMERA_TIMES,
    OBSERVED_AT,
    ArmLayout,
    CameraFormat,
    Leader,
    LiveRobot,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plugins")]

FRONT = "observation.images.front"


class Ticks:
    """Unix time that goes on by one second per call."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self) -> float:
        """The time."""
        self._next += 1
        return self._next


def arm(calibrations: Path, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - a device's settings
    """Settings of the pretended arm."""
    return {"type": "pretended_arm", "settings": {"calibration_dir": str(calibrations), **settings}}


def opened(config: dict[str, Any]) -> LerobotRobot:
    """The robot of a config, not connected."""
    robot, _ = open_robot(LerobotConfig.model_validate({"kind": "lerobot", **config}))
    assert isinstance(robot, LerobotRobot)
    robot._now = Ticks()
    return robot


def test_everything_is_inferred_from_what_a_plugin_says(tmp_path: Path) -> None:
    """Nobody names the plugin, a key or a camera; speeds and depth are left out."""
    robot = opened(arm(tmp_path))
    robot.connect()
    assert isinstance(robot, LiveRobot)
    description = robot.description
    assert description.robot_type == "pretended_arm"
    assert description.arms == (ArmLayout("arm", (0, 1), (2,)),)
    assert description.cameras == {"front": CameraFormat(4, 6)}
    assert description.action_low is None

    sent = robot.send_action({"action": np.array([1, -2, 99], dtype=np.float32)})
    np.testing.assert_array_equal(sent["action"], [1, -2, 50])  # the driver's own limit
    observation = robot.get_observation()
    np.testing.assert_array_equal(observation["observation.state"], [1, -2, 50])
    assert set(observation) == {"observation.state", FRONT, OBSERVED_AT, CAMERA_TIMES}
    robot.disconnect()
    assert not robot._robot.is_connected


def test_a_mapping_by_hand(tmp_path: Path) -> None:
    """Own order, names, velocities and limits."""
    robot = opened(
        {
            **arm(tmp_path),
            "robot_type": "lab_arm",
            "fps": 50,
            "state": ["gripper.pos", "shoulder.pos", "elbow.pos", "elbow.vel"],
            "action": ["gripper.pos", "*.pos"],
            "velocity": ["gripper.vel", "*.vel"],
            "cameras": {"head_camera": "front"},
            "arms": [{"name": "left", "joints": ["*.pos"], "gripper": ["gripper.pos"]}],
            "limits": {"gripper.pos": [0, 100], "*.pos": [-10, 10]},
        }
    )
    robot.connect()
    description = robot.description
    assert (description.robot_type, description.fps) == ("lab_arm", 50)
    assert description.arms == (ArmLayout("left", (1, 2), (0,)),)
    np.testing.assert_array_equal(description.action_low, [0, -10, -10])
    np.testing.assert_array_equal(description.action_high, [100, 10, 10])

    sent = robot.send_action({"action": np.array([-5, 7, 30], dtype=np.float32)})
    np.testing.assert_array_equal(sent["action"], [0, 7, 10])
    observation = robot.get_observation()
    np.testing.assert_array_equal(observation["observation.state"], [0, 7, 10, -10])
    np.testing.assert_array_equal(observation["observation.joint_velocity"], [0, -7, -10])
    assert observation["observation.images.head_camera"].shape == (4, 6, 3)


def test_two_single_arms_as_one_robot(tmp_path: Path) -> None:
    """Keys get the name of their part, and every part its own action."""
    parts = {"left": arm(tmp_path), "right": arm(tmp_path, has_camera=False)}
    robot = opened({"parts": parts, "cameras": {"left_wrist_camera": "left_front"}})
    robot.connect()
    description = robot.description
    assert description.robot_type == "pretended_arm"
    assert description.arms == (
        ArmLayout("left", (0, 1), (2,)),
        ArmLayout("right", (3, 4), (5,)),
    )
    robot.send_action({"action": np.arange(6, dtype=np.float32)})
    assert list(robot._robot.parts["right"].joints.values()) == [3, 4, 5]
    observation = robot.get_observation()
    np.testing.assert_array_equal(observation["observation.state"], np.arange(6))
    assert "observation.images.left_wrist_camera" in observation
    robot.disconnect()
    assert not any(part.is_connected for part in robot._robot.parts.values())


def test_a_part_that_fails_lets_the_others_go(tmp_path: Path) -> None:
    """No arm stays connected when its neighbour cannot be."""
    parts = {"left": arm(tmp_path), "right": arm(tmp_path, trouble="connect", port="/dev/right")}
    robot = opened({"parts": parts})
    with pytest.raises(RobotError, match=r"/dev/right.*parts\.right\.port /dev/right"):
        robot.connect()
    for part in robot._robot.parts.values():
        assert not part.bus.has_torque


def test_an_arm_that_lost_a_camera_is_let_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that it is not connected, but its motors are powered; its neighbour's are, too."""
    robot = opened({"parts": {"left": arm(tmp_path), "right": arm(tmp_path)}})
    robot.connect()
    left, right = robot._robot.parts.values()
    left.cameras["front"].is_connected = False
    assert left.bus.has_torque

    robot.disconnect()

    assert not left.bus.has_torque
    assert not right.bus.has_torque
    assert not left.cameras["side"].is_connected
    assert "only half connected: its bus is let go alone" in caplog.text


@pytest.mark.parametrize("keeps_torque", [False, True])
def test_an_arm_that_cannot_be_disconnected_loses_its_torque(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, keeps_torque: bool
) -> None:
    """Unless its settings say that it keeps it; the next arm is let go all the same."""
    stuck = arm(tmp_path, trouble="disconnect", disable_torque_on_disconnect=not keeps_torque)
    robot = opened({"parts": {"left": stuck, "right": arm(tmp_path)}})
    robot.connect()

    robot.disconnect()

    left, right = robot._robot.parts.values()
    assert left.bus.has_torque == keeps_torque
    assert not left.bus.is_connected
    assert not right.bus.has_torque
    assert "was not let go cleanly: no status packet" in caplog.text


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"state": ["elbw.pos"]}, r"state names 'elbw.pos'.*Did you mean 'elbow.pos'\?.*It has"),
        ({"cameras": {"head": "front_depth"}}, r"cameras.head names 'front_depth'.*'front'"),
        ({"action": ["elbow.pos", "elbow.pos"]}, r"names elbow.pos twice"),
        ({"limits": {"left_*": [0, 1]}}, r"limits names 'left_\*'"),
        ({"velocity": ["elbow.vel"]}, "needs one per action dim, which are 3"),
        ({"state": ["elbow.pos"]}, "the state has 1 keys"),
        (
            {"state": ["gripper.pos", "*.pos"]},
            r"shoulder\.pos is dim 0 of the action, but dim 1 of the state",
        ),
        ({"arms": [{"name": "arm", "joints": ["elbow.pos"]}]}, r"but shoulder.pos, gripper.pos do"),
    ],
)
def test_a_wrong_mapping_names_the_key(
    tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    """What is wrong, what there is, and what was probably meant."""
    with pytest.raises(ConfigError, match=message):
        opened({**arm(tmp_path), **setting})


def test_devices_that_do_not_exist(tmp_path: Path) -> None:
    """The nearest type is named, and the plugins that could not be imported."""
    with pytest.raises(
        ConfigError, match=r"'pretended_amr'.*Did you mean 'pretended_arm'.*lerobot_robot_broken"
    ):
        opened({"type": "pretended_amr"})
    with pytest.raises(ConfigError, match=r"settings of pretended_arm.*`prot`.*port"):
        opened(arm(tmp_path, prot="/dev/ttyACM0"))
    with pytest.raises(ConfigError, match=r"no camera is called 'opencvv'.*'opencv'"):
        opened(arm(tmp_path, cameras={"front": {"type": "opencvv"}}))


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("connect", r"cannot be opened \(ConnectionError: could not open port /dev/pretended\).*"),
        ("calibration", r"is not calibrated.*lerobot-calibrate with --robot.type=pretended_arm"),
    ],
)
def test_a_robot_that_cannot_be_opened(tmp_path: Path, trouble: str, message: str) -> None:
    """It says where it was looked for and what to do, and is let go."""
    robot = opened(arm(tmp_path, trouble=trouble))
    with pytest.raises(RobotError, match=message):
        robot.connect()
    assert not robot._robot.bus.has_torque


def test_trouble_while_it_runs(tmp_path: Path) -> None:
    """A bus that is silent, a camera of another size, an action that cannot be sent."""
    robot = opened(arm(tmp_path))
    robot.connect()
    for trouble, message in {
        "read": r"cannot be read \(ConnectionError: no status packet\).*port /dev/pretended",
        "camera": r"camera front \(front\) gave uint8 \(4, 5, 3\)",
    }.items():
        robot._robot.config.trouble = trouble
        with pytest.raises(RobotError, match=message):
            robot.get_observation()
    robot._robot.config.trouble = "send"
    with pytest.raises(RobotError, match="the bus is gone"):
        robot.send_action({"action": np.zeros(3, dtype=np.float32)})
    robot._robot.config.trouble = "silent"
    with pytest.raises(RobotError, match=r"pretended_arm has no number for shoulder\.pos"):
        robot.get_observation()
    with pytest.raises(RobotError, match=r"pretended_arm has no number for shoulder\.pos"):
        robot.send_action({"action": np.zeros(3, dtype=np.float32)})
    with pytest.raises(RobotError, match=r"must be \(3,\) and finite"):
        robot.send_action({"action": np.array([0, np.nan, 0], dtype=np.float32)})


def test_an_image_that_is_still_the_same_keeps_its_time(tmp_path: Path) -> None:
    """The same array is the same image; another one, or new pixels in it, are a new image."""
    robot = opened(arm(tmp_path))
    robot.connect()
    first, second = robot.get_observation(), robot.get_observation()
    assert first[OBSERVED_AT] == first[CAMERA_TIMES]["front"] == 1
    assert second[OBSERVED_AT] == 2
    assert second[CAMERA_TIMES]["front"] == 1
    assert second[FRONT] is first[FRONT]

    robot._robot.image[0] = 7  # a driver that fills one buffer over and over
    third = robot.get_observation()
    assert third[CAMERA_TIMES]["front"] == 3
    assert first[FRONT].max() == 0
    robot._robot.image = robot._robot.image.copy()  # a still scene, taken anew
    assert robot.get_observation()[CAMERA_TIMES]["front"] == 4


def test_a_driver_that_copies_is_known_by_its_pixels(tmp_path: Path) -> None:
    """With has_copying_cameras equal pixels are the same image."""
    robot = opened({**arm(tmp_path), "has_copying_cameras": True})
    robot.connect()
    robot.get_observation()
    robot._robot.image = robot._robot.image.copy()
    assert robot.get_observation()[CAMERA_TIMES]["front"] == 1


def test_our_simulator_through_lerobot(tmp_path: Path) -> None:
    """sim_aloha and its expert, which is bound to the robot when both are connected."""
    settings = {"with_cameras": False, "calibration_dir": str(tmp_path)}
    config = {
        "kind": "lerobot",
        "type": "sim_aloha",
        "settings": settings,
        "teleoperator": {
            "type": "sim_aloha_expert",
            "settings": {"calibration_dir": str(tmp_path)},
        },
        "fps": 10,
    }
    robot, leader = open_robot(LerobotConfig.model_validate(config))
    assert isinstance(leader, Leader)
    assert isinstance(robot, LerobotRobot)
    robot.connect()
    names = [arm.name for arm in robot.description.arms]
    assert (names, robot.description.arms[1].gripper) == (["left", "right"], (13,))
    assert [arm.name for arm in robot.description.leaders] == ["leader_left", "leader_right"]
    before = robot.get_observation()["observation.state"]
    for _ in range(5):
        robot.send_action(leader.get_action())
    assert np.abs(robot.get_observation()["observation.state"] - before).max() > 0.1
    with pytest.raises(ConfigError, match="needs a policy server"):
        scripted_policy(robot, ScriptedPolicyConfig())
    robot.disconnect()
