"""The simulated robot."""

from typing import Any

import numpy as np
import pytest

from recap_core.config.robot import SimRobotConfig
from recap_core.errors import RobotError
from recap_core.sim.aloha import SimAloha
from recap_core.sim.scene import Scene

STATE_ONLY = SimRobotConfig(cameras=())
CUBE_POSE = np.array([0.1, 0.5, 0.05, 1, 0, 0, 0])
HOME = np.array([0, -0.96, 1.16, 0, -0.3, 0, 0.0998] * 2)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.fixture
def robot(scene: Scene) -> SimAloha:
    robot = SimAloha(scene, STATE_ONLY)
    robot.reset_to(CUBE_POSE)
    return robot


def test_the_start_pose_is_gym_alohas(robot: SimAloha) -> None:
    """Seven numbers per arm, the gripper at (0.02239 - 0.01844) / (0.058 - 0.01844) = 0.0998."""
    observation = robot.get_observation()
    np.testing.assert_allclose(observation["observation.state"], HOME, atol=1e-4)
    np.testing.assert_allclose(observation["observation.environment_state"], CUBE_POSE)
    assert observation["observation.state"].dtype == np.float32
    assert observation["observation.ee_pose"].shape == (14,)


def test_a_frame_at_10_fps_is_a_tenth_of_a_second(robot: SimAloha) -> None:
    """Five control steps of 20 ms."""
    robot.send_action({"action": HOME})
    assert robot.data.time == pytest.approx(0.1)
    assert robot.frame == 1


def test_targets_are_interpolated_over_the_control_steps(scene: Scene) -> None:
    """At 25 fps, two control steps: the second one commands the target itself."""
    robot = SimAloha(scene, SimRobotConfig(cameras=(), fps=25))
    robot.reset_to(CUBE_POSE)
    target = HOME.copy()
    target[0] += 0.1
    robot.send_action({"action": target})
    assert robot.data.ctrl[0] == pytest.approx(0.1)
    assert robot.data.time == pytest.approx(0.04)


def test_targets_beyond_the_limits_are_clipped_and_reported(robot: SimAloha) -> None:
    """The waist stops at 3.14158 rad, the gripper at 1."""
    target = HOME.copy()
    target[[0, 6]] = 10.0
    sent = robot.send_action({"action": target})["action"]
    np.testing.assert_allclose(sent[[0, 6]], [3.14158, 1.0], rtol=1e-6)


@pytest.mark.parametrize("action", [np.full(14, np.nan), np.zeros(13)])
def test_an_action_that_is_not_one_is_refused(robot: SimAloha, action: np.ndarray) -> None:
    """NaN or 13 numbers."""
    with pytest.raises(RobotError, match="must be"):
        robot.send_action({"action": action})


def test_an_episode_depends_on_its_seed_only(scene: Scene) -> None:
    """A robot that has moved, reset with a generator, equals a fresh one with the same seed."""
    used, fresh = SimAloha(scene, STATE_ONLY), SimAloha(scene, STATE_ONLY)
    used.reset_to(CUBE_POSE)
    used.send_action({"action": np.zeros(14)})
    for robot in (used, fresh):
        robot.reset_episode(np.random.default_rng(5))
        robot.send_action({"action": HOME + 0.1})
    np.testing.assert_array_equal(used.data.qpos, fresh.data.qpos)
    np.testing.assert_array_equal(used.data.qvel, fresh.data.qvel)


def test_a_cube_beside_the_table_is_dropped(robot: SimAloha) -> None:
    """Ten frames of free fall from beyond the edge."""
    robot.reset_to(np.array([0.0, -1.5, 0.05, 1, 0, 0, 0]))
    for _ in range(10):
        robot.send_action({"action": HOME})
    assert robot.has_dropped_cube


def test_physics_and_reward_are_gym_alohas(robot: SimAloha) -> None:
    """The same actions through gym-aloha's own task: equal states and stages, 60 control steps."""
    from dm_control import mujoco
    from gym_aloha.constants import ASSETS_DIR
    from gym_aloha.tasks.sim import TransferCubeTask

    physics = mujoco.Physics.from_xml_path(str(ASSETS_DIR / "bimanual_viperx_transfer_cube.xml"))
    task = TransferCubeTask(random=0)
    data: Any = physics.data
    with physics.reset_context():
        data.qpos[:] = robot.data.qpos
        data.ctrl[:] = robot.data.ctrl
    targets = HOME + np.random.default_rng(0).normal(0, 0.3, (12, 14))
    previous = HOME.copy()
    previous[[6, 13]] = robot.get_observation()["observation.state"][[6, 13]]
    for target in targets:
        sent = robot.send_action({"action": target})["action"].astype(np.float64)
        for step in range(1, 6):
            task.before_step(previous + (sent - previous) * step / 5, physics)
            physics.step(10)
        previous = sent
        np.testing.assert_allclose(task.get_qpos(physics), robot._state(), atol=1e-4)
        assert task.get_reward(physics) == robot.stage
