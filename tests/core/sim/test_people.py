"""The expert and the supervisor."""

import numpy as np
import pytest

from recap_core.config.robot import ExpertConfig, SimRobotConfig, SupervisorConfig
from recap_core.sim.aloha import SUCCESS_STAGE, SimAloha
from recap_core.sim.expert import ScriptedExpert, TremblingExpert
from recap_core.sim.kinematics import InverseKinematics
from recap_core.sim.scene import Scene
from recap_core.sim.supervisor import Judge, Supervisor, progress_of

MAX_FRAMES = 40


@pytest.fixture(scope="module")
def robot() -> SimAloha:
    return SimAloha(Scene(), SimRobotConfig(cameras=()))


@pytest.fixture(scope="module")
def expert(robot: SimAloha) -> ScriptedExpert:
    return ScriptedExpert(robot, InverseKinematics(robot.scene))


def frames_to_success(robot: SimAloha, driver: ScriptedExpert | TremblingExpert) -> int | None:
    for frame in range(MAX_FRAMES):
        robot.send_action(driver.get_action())
        if robot.stage == SUCCESS_STAGE:
            return frame + 1
    return None


def test_kinematics_reach_a_point_in_front_of_the_arm(robot: SimAloha) -> None:
    """Applied in steps of one frame, the joints bring the right tool within 1 mm."""
    robot.reset_to(np.array([0.1, 0.5, 0.05, 1, 0, 0, 0]))
    kinematics = InverseKinematics(robot.scene)
    body = robot.scene.arms["right"].gripper_body
    rotation = robot.data.xmat[body].reshape(3, 3).copy()
    goal = robot.tool_position("right") + np.array([-0.03, 0.02, -0.03])
    qpos = robot.data.qpos.copy()
    qpos[8:14] = kinematics.solve("right", qpos, position=goal, rotation=rotation).joints
    solution = kinematics.solve("right", qpos, position=goal, rotation=rotation)
    qpos[8:14] = solution.joints
    robot.data.qpos[:] = qpos
    from recap_core.sim.engine import mujoco

    mujoco.mj_kinematics(robot.scene.model, robot.data)
    np.testing.assert_allclose(robot.tool_position("right"), goal, atol=1e-3)
    assert solution.miss_m < 1e-3


def test_the_expert_hands_the_cube_over(robot: SimAloha, expert: ScriptedExpert) -> None:
    """Ten cubes, ten successes, none in less than 15 frames or more than 40."""
    lengths = []
    for seed in range(10):
        robot.reset_episode(np.random.default_rng(seed))
        lengths.append(frames_to_success(robot, expert))
    assert all(length is not None and length >= 15 for length in lengths)


def test_a_trembling_expert_mostly_succeeds(robot: SimAloha, expert: ScriptedExpert) -> None:
    """With 0.02 rad of noise, at least 10 of 12 (measured: 94 % of 240)."""
    successes = 0
    for seed in range(12):
        robot.reset_episode(np.random.default_rng(seed))
        trembling = TremblingExpert(expert, ExpertConfig(), np.random.default_rng(seed))
        successes += frames_to_success(robot, trembling) is not None
    assert successes >= 10


def test_the_expert_takes_over_from_a_strange_pose(robot: SimAloha, expert: ScriptedExpert) -> None:
    """After ten frames of random motion it still succeeds, four times of four."""
    for seed in range(4):
        rng = np.random.default_rng(100 + seed)
        robot.reset_episode(rng)
        pose = robot.get_observation()["observation.state"] + rng.normal(0, 0.3, 14)
        for _ in range(10):
            robot.send_action({"action": pose})
        assert frames_to_success(robot, expert) is not None


def test_noise_has_the_configured_spread_and_spares_grippers(
    robot: SimAloha, expert: ScriptedExpert
) -> None:
    """The robot stands still, so differences to the clean action are the noise: 0.02 rad."""
    robot.reset_episode(np.random.default_rng(0))
    clean = expert.get_action()["action"]
    trembling = TremblingExpert(expert, ExpertConfig(), np.random.default_rng(0))
    noise = np.stack([trembling.get_action()["action"] - clean for _ in range(200)])
    joints = np.delete(noise, [6, 13], axis=1)
    assert np.std(joints) == pytest.approx(0.02, rel=0.1)
    assert np.abs(noise[:, [6, 13]]).max() == 0
    lag_1 = np.corrcoef(joints[1:].ravel(), joints[:-1].ravel())[0, 1]
    assert lag_1 == pytest.approx(0.7, abs=0.1)


def watch(robot: SimAloha, config: SupervisorConfig, num_frames: int) -> str:
    """Who a supervisor wants to drive a robot that stands still: a or c per frame."""
    robot.reset_episode(np.random.default_rng(0))
    supervisor = Supervisor(robot, config, np.random.default_rng(0))
    wishes = [supervisor.get_teleop_events()["is_intervention"] for _ in range(num_frames)]
    return "".join("c" if wish else "a" for wish in wishes)


def test_a_stalled_robot_is_helped_for_a_while_then_left_alone(robot: SimAloha) -> None:
    """Stall 3, takeover 2: three frames without progress after the first, two of help, again."""
    config = SupervisorConfig(supervised_share=1, stall_frames=3, takeover_frames=2, grace_frames=0)
    assert watch(robot, config, 12) == "aaa" + "cc" + "aaa" + "cc" + "aa"


def test_nobody_takes_over_during_grace(robot: SimAloha) -> None:
    """Grace 6: the first takeover comes at frame 7, although the robot stalls from the start."""
    config = SupervisorConfig(supervised_share=1, stall_frames=2, takeover_frames=1, grace_frames=6)
    assert watch(robot, config, 7) == "aaaaaac"


def test_an_episode_that_is_not_watched_stays_autonomous(robot: SimAloha) -> None:
    """Share 0."""
    assert watch(robot, SupervisorConfig(supervised_share=0, stall_frames=1), 20) == "a" * 20


def test_about_the_configured_share_of_episodes_is_watched(robot: SimAloha) -> None:
    """Share 0.6 of 200 episodes: 120 +- 3 standard deviations (7)."""
    watched = sum(
        Supervisor(robot, SupervisorConfig(), np.random.default_rng(seed))._is_watching
        for seed in range(200)
    )
    assert abs(watched - 120) <= 21


def test_progress_counts_the_stage_and_the_approach(robot: SimAloha) -> None:
    """Stage 0: 0 beyond 0.3 m from the cube, 1 - d / 0.3 closer."""
    robot.reset_to(np.array([-0.2, 0.9, 0.05, 1, 0, 0, 0]))
    assert progress_of(robot) == 0
    tool = robot.tool_position("right")
    robot.reset_to(np.array([*(tool - [0, 0, 0.15]), 1, 0, 0, 0]))
    assert progress_of(robot) == pytest.approx(0.5)


def test_the_judge_says_who_drives_and_sees_a_fallen_cube(robot: SimAloha) -> None:
    """Operator in demonstrations, policy in evaluations."""
    robot.reset_to(np.array([0.0, 0.5, -1.0, 1, 0, 0, 0]))
    assert Judge(robot, driver="operator").get_teleop_events() == {
        "is_intervention": True,
        "success": False,
        "failure": True,
    }
    assert not Judge(robot, driver="policy").get_teleop_events()["is_intervention"]
