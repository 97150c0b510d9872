"""The simulator as a live robot."""

import numpy as np
import pytest

from recap_core.collection.robots.faults import FaultyRobot
from recap_core.collection.robots.opening import open_robot, scripted_policy
from recap_core.collection.robots.sim import ExpertLeader, SimLiveRobot
from recap_core.config.live_robot import RobotFaults, ScriptedPolicyConfig, SimLiveConfig
from recap_core.config.robot import SimRobotConfig
from recap_core.errors import RobotError
from recap_core.rollout.live import OBSERVED_AT, Leader, LivePolicy, LiveRobot
from recap_core.rollout.protocols import EpisodeReset

BLIND = SimLiveConfig(robot=SimRobotConfig(cameras=()))
MAX_FRAMES = 60


@pytest.fixture
def robot() -> SimLiveRobot:
    """Connected, without cameras."""
    robot = SimLiveRobot(BLIND)
    robot.connect()
    return robot


def test_it_is_what_the_loop_asks_for() -> None:
    """Robot, leader and policy answer the loop's protocols; it must be connected first."""
    robot, leader = open_robot(BLIND)
    assert isinstance(robot, LiveRobot)
    assert isinstance(robot, EpisodeReset)
    assert isinstance(leader, Leader)
    assert isinstance(scripted_policy(robot, ScriptedPolicyConfig()), LivePolicy)
    with pytest.raises(RobotError, match="not connected"):
        robot.get_observation()


def test_the_leader_solves_the_task(robot: SimLiveRobot) -> None:
    """The scripted expert hands the cube over; what was sent lies within the limits."""
    leader = ExpertLeader(robot)
    description = robot.description
    assert description.action_low is not None
    assert description.action_high is not None
    robot.reset_episode(np.random.default_rng(1))
    assert robot.task_state == "open"
    for _ in range(MAX_FRAMES):
        sent = robot.send_action(leader.get_action())["action"]
        assert (sent >= description.action_low).all()
        assert (sent <= description.action_high).all()
        if robot.task_state == "solved":
            break
    assert robot.task_state == "solved"


def test_the_cube_lies_where_the_seed_says(robot: SimLiveRobot) -> None:
    """The same generator places it the same; another one elsewhere."""
    places = []
    for seed in (3, 3, 4):
        robot.reset_episode(np.random.default_rng(seed))
        places.append(robot.get_observation()["observation.environment_state"][:2])
    np.testing.assert_array_equal(places[0], places[1])
    assert not np.array_equal(places[0], places[2])


def test_faults_leave_it_what_it_can(robot: SimLiveRobot) -> None:
    """A robot that fails still resets its scene."""
    faulty = FaultyRobot(robot, RobotFaults(error_at=0))
    assert isinstance(faulty, EpisodeReset)
    before = robot.get_observation()["observation.environment_state"]
    faulty.reset_episode(np.random.default_rng(3))
    assert not np.array_equal(robot.get_observation()["observation.environment_state"], before)


def test_a_cube_that_fell_is_a_failure(robot: SimLiveRobot) -> None:
    """Below the table it is lost."""
    robot.simulated.reset_to(np.array([0.0, 0.5, -0.3, 1, 0, 0, 0]))
    assert robot.task_state == "failed"


def test_the_clumsy_expert_gives_up_and_tries_anew(robot: SimLiveRobot) -> None:
    """After some frames it only wants to stay; after a reset it moves on and solves the task."""
    always = ScriptedPolicyConfig(stall_share=1.0, stall_after=(4, 4), noise_rad=0)
    policy = scripted_policy(robot, always)
    policy.reset()
    robot.reset_episode(np.random.default_rng(1))
    wanted = []
    for _ in range(8):
        answer = policy.action(robot.get_observation())
        assert answer.action is not None
        assert answer.policy_id == "scripted"
        wanted.append(answer.action)
        robot.send_action({"action": answer.action})
    assert not np.array_equal(wanted[2], wanted[3])
    for later in wanted[5:]:
        np.testing.assert_array_equal(later, wanted[4])
    policy.reset()
    answer = policy.action(robot.get_observation())
    assert answer.action is not None
    assert np.abs(answer.action - wanted[-1]).max() > 0.01


def test_images_are_rendered_at_once(gl: None) -> None:
    """An image that was kept stays as it was when the robot moves on."""
    del gl
    robot = SimLiveRobot(SimLiveConfig(robot=SimRobotConfig(image_px=48)), now=lambda: 5.0)
    robot.connect()
    first = robot.get_observation()
    image = first["observation.images.head_camera"]
    before = image.copy()
    robot.send_action({"action": first["observation.state"] + 0.3})
    second = robot.get_observation()["observation.images.head_camera"]
    assert first[OBSERVED_AT] == 5.0
    assert image.shape == (48, 48, 3)
    np.testing.assert_array_equal(image, before)
    assert not np.array_equal(second, before)
    robot.disconnect()
    robot.disconnect()
