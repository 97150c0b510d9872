"""The simulator behind lerobot's interface."""

from pathlib import Path

import numpy as np
import pytest

from recap_core.errors import RobotError

pytestmark = pytest.mark.slow


def test_lerobots_factories_make_a_robot_and_its_expert(tmp_path: Path) -> None:
    """Made by lerobot from configs, the expert moves the robot; features fit what is sent."""
    from lerobot.robots import make_robot_from_config
    from lerobot.teleoperators import make_teleoperator_from_config

    from recap_core.collection.lerobot_robot import (
        MOTORS,
        SimAloha,
        SimAlohaConfig,
        SimAlohaExpert,
        SimAlohaExpertConfig,
    )

    robot = make_robot_from_config(SimAlohaConfig(with_cameras=False, calibration_dir=tmp_path))
    expert = make_teleoperator_from_config(SimAlohaExpertConfig(calibration_dir=tmp_path))
    assert isinstance(robot, SimAloha)
    assert isinstance(expert, SimAlohaExpert)
    with pytest.raises(RobotError, match="not connected"):
        robot.get_observation()

    robot.connect()
    expert.bind(robot)
    assert expert.is_connected
    first = robot.get_observation()
    sent = [robot.send_action(expert.get_action()) for _ in range(5)][-1]

    assert set(first) == set(robot.observation_features)
    assert tuple(sent) == tuple(robot.action_features) == MOTORS
    moved = np.array([robot.get_observation()[motor] - first[motor] for motor in MOTORS])
    assert np.abs(moved).max() > 0.1
    robot.disconnect()
    assert not robot.is_connected


def test_camera_features_are_known_before_connecting(tmp_path: Path) -> None:
    """An unconnected robot names (height, width, 3) per camera, as lerobot wants it."""
    from recap_core.collection.lerobot_robot import SimAloha, SimAlohaConfig

    robot = SimAloha(SimAlohaConfig(image_px=32, calibration_dir=tmp_path))
    features = robot.observation_features
    assert features["head_camera"] == (32, 32, 3)
    assert features["left_gripper.pos"] is float
    assert len(features) == 14 + 3
