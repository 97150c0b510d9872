"""A robot that is made up."""

import numpy as np

from recap_core.collection.robots.faults import FaultyRobot
from recap_core.collection.robots.opening import open_robot
from recap_core.config.live_robot import RobotFaults, SyntheticConfig
from recap_core.rollout.live import CAMERA_TIMES, OBSERVED_AT, CameraFormat
from recap_core.rollout.protocols import EpisodeReset


def test_pictures_move_and_joints_go_where_they_are_sent() -> None:
    """Three cameras show another image each tick, and the same ones again after a round."""
    config = SyntheticConfig(kind="synthetic", height_px=48, width_px=64, num_images=4)
    robot, leader = open_robot(config)
    assert leader is None
    robot.connect()
    description = robot.description
    assert dict(description.cameras) == dict.fromkeys(config.cameras, CameraFormat(48, 64))
    assert [arm.name for arm in description.arms] == ["left", "right"]
    assert description.arms[1].gripper == (13,)

    seen = [robot.get_observation() for _ in range(5)]
    for camera in config.cameras:
        images = [observation[f"observation.images.{camera}"] for observation in seen]
        assert all((image.shape, image.dtype) == ((48, 64, 3), np.uint8) for image in images)
        assert not np.array_equal(images[0], images[1])
        assert images[4] is images[0]
        assert seen[1][CAMERA_TIMES][camera] == seen[1][OBSERVED_AT]
    robot.send_action({"action": np.full(14, 0.5, dtype=np.float32)})
    np.testing.assert_array_equal(robot.get_observation()["observation.state"], np.full(14, 0.5))
    robot.disconnect()


def test_an_arm_without_a_gripper() -> None:
    """One arm of seven joints, called as it likes."""
    config = SyntheticConfig(
        kind="synthetic", arms=("franka",), joints_per_arm=7, has_grippers=False, cameras=()
    )
    robot, _ = open_robot(config)
    robot.connect()
    (arm,) = robot.description.arms
    assert (arm.name, arm.joints, arm.gripper) == ("franka", tuple(range(7)), ())
    robot.disconnect()


def test_one_that_fails_cannot_do_more_than_before() -> None:
    """It has no scene to reset, and faults add none."""
    robot, _ = open_robot(SyntheticConfig(kind="synthetic", faults=RobotFaults(error_at=0)))
    assert isinstance(robot, FaultyRobot)
    assert not isinstance(robot, EpisodeReset)
    assert not hasattr(robot, "emergency_stop")
