"""lerobot's teleoperators as leaders."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recap_core.collection.robots.lerobot_adapter import LerobotRobot
from recap_core.collection.robots.lerobot_leader import FOLLOW_RAMP_S, LerobotLeader
from recap_core.collection.robots.opening import open_robot
from recap_core.config.live_robot import LerobotConfig
from recap_core.errors import ConfigError, RobotError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plugins")]

ROBOT_POSE = np.array([20, 40, 60], dtype=np.float32)


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def station(
    tmp_path: Path,
    *,
    keys: dict[str, str] | None = None,
    **settings: Any,  # noqa: ANN401 - a device's settings
) -> tuple[LerobotRobot, LerobotLeader, Seconds]:
    """A connected arm with a leader of those settings."""
    place = {"calibration_dir": str(tmp_path)}
    config = {
        "kind": "lerobot",
        "type": "pretended_arm",
        "settings": place,
        "teleoperator": {"type": "pretended_leader", "settings": {**place, **settings}},
        "teleoperator_keys": keys or {},
    }
    robot, leader = open_robot(LerobotConfig.model_validate(config))
    assert isinstance(robot, LerobotRobot)
    assert isinstance(leader, LerobotLeader)
    clock = Seconds()
    leader._now = clock
    robot.connect()
    return robot, leader, clock


def test_it_becomes_stiff_where_it_is(tmp_path: Path) -> None:
    """The goal is set before the torque: a motor would run to an old goal."""
    robot, leader, _ = station(tmp_path)
    leader.set_compliant()
    leader.device.pose.update(shoulder=1, elbow=2, gripper=3)
    leader.set_stiff()
    assert leader.device.log == ["compliant", [1, 2, 3], "stiff", [1, 2, 3]]
    assert [arm.name for arm in robot.description.leaders] == ["leader"]
    robot.disconnect()
    assert not leader.device.is_connected


def test_it_follows_slowly_at_first(tmp_path: Path) -> None:
    """From its own pose to the robot's in two seconds; then it is where the robot is."""
    _, leader, clock = station(tmp_path)
    fed = []
    for second in (0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 1.8, 2.0, 2.3):
        clock.now = second
        leader.follow(ROBOT_POSE)
        fed.append(leader.device.log[-1][0])
    assert FOLLOW_RAMP_S == 2.0
    np.testing.assert_allclose(fed, [0, 2.5, 5, 7.5, 10, 14, 18, 20, 20], atol=1e-5)
    assert leader.device.log.count("stiff") == 1

    clock.now = 10.0  # it was not asked to follow for a while: from where it is, again
    leader.device.pose.update(shoulder=5.0)
    leader.follow(ROBOT_POSE)
    assert leader.device.log[-1][0] == 5.0


def test_after_a_correction_it_follows_from_where_it_was_left(tmp_path: Path) -> None:
    """Compliant, then following at once: it becomes stiff again first."""
    _, leader, clock = station(tmp_path)
    leader.follow(ROBOT_POSE)
    leader.set_compliant()
    leader.device.pose.update(shoulder=8.0)
    leader.device.log.clear()
    clock.now = 0.1
    leader.follow(ROBOT_POSE)
    assert leader.device.log == [[8, 0, 0], "stiff", [8, 0, 0], [8, 0, 0]]


def test_a_leader_without_motors_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its bus could switch torque, but it takes no feedback; that is said once."""
    _, leader, _ = station(tmp_path, has_motors=False)
    with caplog.at_level(logging.INFO):
        leader.set_compliant()
        leader.set_stiff()
        leader.follow(ROBOT_POSE)
    assert leader.device.log == []
    assert [record.message for record in caplog.records if "no motors" in record.message] != []
    assert len([record for record in caplog.records if "no motors" in record.message]) == 1


def test_a_joint_out_of_its_range_holds(tmp_path: Path) -> None:
    """NaN is no position: the last one counts, at first the robot's."""
    robot, leader, _ = station(tmp_path)
    leader.device.pose.update(shoulder=np.nan, elbow=2.0)
    with pytest.raises(RobotError, match=r"no position for shoulder\.pos: move it back"):
        leader.get_action()
    robot.send_action({"action": ROBOT_POSE})
    robot.get_observation()
    np.testing.assert_array_equal(leader.get_action()["action"], [20, 2, 0])
    leader.device.pose.update(shoulder=3.0)
    leader.get_action()
    leader.device.pose.update(shoulder=np.nan)
    np.testing.assert_array_equal(leader.get_action()["action"], [3, 2, 0])


def test_a_joint_out_of_its_range_forgets_an_earlier_correction(tmp_path: Path) -> None:
    """In the next one it holds the robot's pose, in the loop's order, and does not jump."""
    robot, leader, _ = station(tmp_path)
    leader.set_compliant()
    leader.device.pose.update(shoulder=-30.0)
    robot.get_observation()
    leader.get_action()
    leader.set_stiff()
    robot.send_action({"action": ROBOT_POSE})  # the policy takes it elsewhere
    robot.get_observation()

    leader.set_compliant()
    leader.device.pose.update(shoulder=np.nan, elbow=2.0)
    robot.get_observation()

    np.testing.assert_array_equal(leader.get_action()["action"], [20, 2, 0])


def test_other_keys_are_matched_by_name(tmp_path: Path) -> None:
    """A leader that calls a joint otherwise is refused, until it is said which one it is."""
    joints = ["base", "elbow", "gripper"]
    with pytest.raises(
        ConfigError, match=r"for its teleoperator, names 'shoulder\.pos'.*base\.pos"
    ):
        station(tmp_path, joints=joints)
    _, leader, _ = station(tmp_path, keys={"shoulder.pos": "base.pos"}, joints=joints)
    leader.device.pose.update(base=7.0)
    np.testing.assert_array_equal(leader.get_action()["action"], [7, 0, 0])
