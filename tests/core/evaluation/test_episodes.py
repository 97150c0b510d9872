"""Evaluation of a policy in simulation."""

from collections.abc import Sequence

import numpy as np
import pytest

from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.robot import HEAD, SimRobotConfig
from recap_core.errors import RenderingError
from recap_core.evaluation.episodes import Watching, evaluate
from recap_core.progress import Silent
from recap_core.rollout.frame import Frame, Observation, Outcome
from recap_core.sim.aloha import SimAloha
from recap_core.sim.expert import ScriptedExpert
from recap_core.sim.kinematics import InverseKinematics
from recap_core.sim.rendering import probe_rendering
from recap_core.sim.scene import Scene

CONFIG = EvaluationConfig(num_episodes=4, first_seed=500_000, max_episode_frames=6)


class Still:
    """Stays where it is, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
        """The present state, four times."""
        self.seen += observations
        return [np.repeat(each["observation.state"][None], 4, axis=0) for each in observations]

    def reset(self) -> None:
        """Nothing to forget."""


class ExpertPolicy:
    """Asks the scripted expert, in a simulator of its own that is set to the observed state."""

    def __init__(self) -> None:
        self._robot = SimAloha(Scene(), SimRobotConfig(cameras=()))
        self._expert = ScriptedExpert(self._robot, InverseKinematics(self._robot.scene))

    def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
        """One action each."""
        return [self._chunk(observation) for observation in observations]

    def reset(self) -> None:
        """Nothing to forget."""

    def _chunk(self, observation: Observation) -> np.ndarray:
        from recap_core.sim.engine import mujoco

        state, data = observation["observation.state"].astype(np.float64), self._robot.data
        finger = 0.01844 + state[[6, 13]] * (0.058 - 0.01844)
        data.qpos[0:6], data.qpos[8:14] = state[0:6], state[7:13]
        data.qpos[[6, 14]], data.qpos[[7, 15]] = finger, -finger
        data.qpos[16:] = observation["observation.environment_state"]
        velocity = observation["observation.joint_velocity"][[6, 13]]
        data.qvel[[6, 14]] = velocity * (0.058 - 0.01844)
        mujoco.mj_forward(self._robot.scene.model, data)
        return self._expert.get_action()["action"][None]


def run(policy: Still | ExpertPolicy, config: EvaluationConfig, *, num_robots: int = 2) -> list:
    return evaluate(policy, config, num_robots=num_robots, progress=Silent())


def test_a_policy_that_does_nothing_fails_every_episode() -> None:
    """Four failures of six frames, in order of their seeds, nothing touched."""
    outcomes = run(Still(), CONFIG)
    assert [outcome.seed for outcome in outcomes] == [500_000, 500_001, 500_002, 500_003]
    assert {outcome.num_frames for outcome in outcomes} == {6}
    assert not any(outcome.success for outcome in outcomes)
    assert {outcome.best_stage for outcome in outcomes} == {0}


def test_a_policy_that_knows_the_task_succeeds() -> None:
    """The expert as a policy: at least three of four, in 15 to 40 frames."""
    config = CONFIG.model_copy(update={"max_episode_frames": 40})
    outcomes = run(ExpertPolicy(), config)
    successes = [outcome for outcome in outcomes if outcome.success]
    assert len(successes) >= 3
    assert all(15 <= outcome.num_frames <= 40 for outcome in successes)
    assert all(outcome.best_stage == 4 for outcome in successes)


def test_outcomes_do_not_depend_on_the_number_of_robots() -> None:
    """One robot or four."""
    config = CONFIG.model_copy(update={"max_episode_frames": 25})
    assert run(ExpertPolicy(), config, num_robots=1) == run(ExpertPolicy(), config, num_robots=4)


def test_the_same_seeds_are_the_same_scenes() -> None:
    """Two policies are compared on equal cubes, and each episode has its own."""
    first, second = Still(), Still()
    run(first, CONFIG)
    run(second, CONFIG, num_robots=4)

    def cubes(policy: Still) -> set[bytes]:
        return {
            each["observation.environment_state"].tobytes()
            for each in policy.seen
            if each["frame_index"] == 0
        }

    assert cubes(first) == cubes(second)
    assert len(cubes(first)) == 4


def test_the_policy_is_told_task_seed_and_frame() -> None:
    """With execute_frames 4 it is asked at frames 0 and 4 of every episode."""
    policy = Still()
    run(policy, CONFIG)
    assert {each["prompt"] for each in policy.seen} == {"transfer cube"}
    frames = sorted(each["frame_index"] for each in policy.seen)
    assert frames == [0] * 4 + [4] * 4
    assert len({each["episode_seed"] for each in policy.seen}) == 4


def test_cameras_are_seen_when_the_config_has_them() -> None:
    """One 32 px image of the head camera in every question."""
    try:
        probe_rendering()
    except RenderingError as error:
        pytest.skip(str(error))
    robot = SimRobotConfig(cameras=(HEAD,), image_px=32)
    policy = Still()
    run(policy, CONFIG.model_copy(update={"num_episodes": 1, "robot": robot}))
    shapes = {each["observation.images.head_camera"].shape for each in policy.seen}
    assert shapes == {(32, 32, 3)}


class Note:
    """What a witness has seen of one episode."""

    def __init__(self, robot: SimAloha) -> None:
        self._robot = robot
        self.frames: list[int] = []
        self.positions = [robot.frame]
        self.outcome: Outcome | None = None

    def record(self, frame: Frame) -> None:
        """Count, and look where the robot is."""
        self.frames.append(frame.frame_index)
        self.positions.append(self._robot.frame)

    def finish(self, outcome: Outcome) -> None:
        """Remember it."""
        self.outcome = outcome


def test_a_witness_sees_every_frame_of_chosen_seeds_and_changes_nothing() -> None:
    """Two seeds in any order, as they went among all four."""
    notes: dict[int, Note] = {}

    def witness(seed: int, robot: SimAloha) -> Note:
        return notes.setdefault(seed, Note(robot))

    alone = evaluate(
        Still(),
        CONFIG,
        num_robots=2,
        progress=Silent(),
        seeds=[500_003, 500_001],
        watching=Watching(witness),
    )

    everybody = {outcome.seed: outcome for outcome in run(Still(), CONFIG)}
    assert alone == [everybody[500_003], everybody[500_001]]
    assert set(notes) == {500_001, 500_003}
    assert all(note.frames == list(range(6)) for note in notes.values())
    assert all(note.positions == list(range(7)) for note in notes.values())
    assert all(note.outcome is Outcome.FAILURE for note in notes.values())
