"""The control loop of one robot."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from recap_core.errors import RobotError
from recap_core.rollout.clock import FrameClock
from recap_core.rollout.frame import Action, Frame, Observation, Outcome
from recap_core.rollout.lockstep import EpisodeRun, run_lockstep
from recap_core.rollout.loop import LoopSettings, RobotLoop, Station
from recap_core.rollout.phase import Phase, PhaseEvent, PhaseMachine

LIMIT = 10.0


class PointRobot:
    """A point on a line that goes where it is told, up to +-10."""

    def __init__(self) -> None:
        self.position = np.zeros(1, dtype=np.float32)
        self.num_actions = 0

    def get_observation(self) -> Observation:
        """Where it is."""
        return {"observation.state": self.position.copy()}

    def send_action(self, action: Action) -> Action:
        """Jump there."""
        self.position = np.clip(action["action"], -LIMIT, LIMIT).astype(np.float32)
        self.num_actions += 1
        return {"action": self.position}


class Operator:
    """Wants what the script says, one line per frame; drives to -1."""

    def __init__(self, *script: Mapping[str, bool]) -> None:
        self._script = list(script)

    def get_teleop_events(self) -> Mapping[str, bool]:
        """The next line; the last one repeats."""
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def get_action(self) -> Action:
        """Always -1."""
        return {"action": np.array([-1.0], dtype=np.float32)}


class CountingPolicy:
    """Chunk number c is c/10, c/10 + 0.01, ...; remembers what it was asked."""

    def __init__(self, horizon: int = 4) -> None:
        self.asked: list[Observation] = []
        self._horizon = horizon

    def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
        """One chunk each, numbered from 1."""
        chunks = []
        for observation in observations:
            self.asked.append(observation)
            start = len(self.asked) / 10
            chunk = start + np.arange(self._horizon, dtype=np.float32)[:, None] / 100
            chunks.append(chunk.astype(np.float32))
        return chunks

    def reset(self) -> None:
        """Forget."""
        self.asked.clear()


class Notebook:
    """Keeps frames."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.outcomes: list[Outcome] = []

    def record(self, frame: Frame) -> None:
        """Keep it."""
        self.frames.append(frame)


AUTO: dict[str, bool] = {"is_intervention": False}
HELP = {"is_intervention": True}
SETTINGS = LoopSettings(prompt="go", max_frames=6, execute_frames=2)


def run(
    operator: Operator,
    settings: LoopSettings = SETTINGS,
    *,
    policy: CountingPolicy | None = None,
    machine: PhaseMachine | None = None,
) -> Notebook:
    """One episode."""
    notebook = Notebook()
    clock = FrameClock(1000.0, fps=10)
    station = Station(PointRobot(), operator, clock, operator)
    loop = RobotLoop(station, settings, episode_seed=7, machine=machine)
    runs = [EpisodeRun(loop, clock, notebook, notebook.outcomes.append)]
    run_lockstep(lambda _: runs.pop() if runs else None, policy or CountingPolicy(), num_robots=1)
    return notebook


def driven(notebook: Notebook) -> str:
    return "".join(frame.phase.value[0] for frame in notebook.frames)


def test_an_episode_without_success_ends_at_the_limit_as_a_failure() -> None:
    """Six frames, then FAILURE; frame k happens at 1000 + k / 10 s."""
    notebook = run(Operator(AUTO))
    assert notebook.outcomes == [Outcome.FAILURE]
    times = [frame.time_s for frame in notebook.frames]
    np.testing.assert_allclose(times, [1000.0, 1000.1, 1000.2, 1000.3, 1000.4, 1000.5])
    assert [frame.frame_index for frame in notebook.frames] == [0, 1, 2, 3, 4, 5]


def test_success_after_the_third_step_leaves_three_frames() -> None:
    """The event that follows step 3 ends the episode before a fourth frame."""
    notebook = run(Operator(AUTO, AUTO, AUTO, {"success": True}))
    assert notebook.outcomes == [Outcome.SUCCESS]
    assert len(notebook.frames) == 3


def test_success_at_the_last_allowed_frame_is_a_success() -> None:
    """Success wins over the limit."""
    notebook = run(Operator(*[AUTO] * 6, {"success": True}))
    assert notebook.outcomes == [Outcome.SUCCESS]
    assert len(notebook.frames) == 6


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        ("failure", Outcome.FAILURE),
        ("terminate_episode", Outcome.FAILURE),
        ("rerecord_episode", Outcome.DISCARD),
    ],
)
def test_the_operator_can_end_an_episode(event: str, outcome: Outcome) -> None:
    """The other events of lerobot map to outcomes."""
    assert run(Operator(AUTO, {event: True})).outcomes == [outcome]


def test_observations_are_paired_with_the_action_that_follows() -> None:
    """(s_t, a_t): the state of frame t is the action of frame t - 1."""
    frames = run(Operator(AUTO)).frames
    states = [frame.observation["observation.state"][0] for frame in frames]
    actions = [frame.action[0] for frame in frames]
    assert states[0] == 0
    assert states[1:] == actions[:-1]


def test_two_frames_of_every_chunk_are_executed() -> None:
    """With execute_frames 2, chunks 1, 2, 3 give 0.1 0.11 | 0.2 0.21 | 0.3 0.31."""
    policy = CountingPolicy()
    frames = run(Operator(AUTO), policy=policy).frames
    actions = [float(frame.action[0]) for frame in frames]
    np.testing.assert_allclose(actions, [0.1, 0.11, 0.2, 0.21, 0.3, 0.31], rtol=1e-5)
    asked = [(o["frame_index"], o["episode_seed"], o["prompt"]) for o in policy.asked]
    assert asked == [(0, 7, "go"), (2, 7, "go"), (4, 7, "go")]


def test_a_takeover_leaves_no_paused_frame_and_discards_the_chunk() -> None:
    """Policy 1 frame, operator 2, policy again with a new chunk, although one frame was left."""
    policy = CountingPolicy()
    notebook = run(Operator(AUTO, HELP, HELP, AUTO), policy=policy)
    assert driven(notebook) == "accaaa"
    actions = [float(frame.action[0]) for frame in notebook.frames]
    np.testing.assert_allclose(actions, [0.1, -1, -1, 0.2, 0.21, 0.3], rtol=1e-5)
    assert [frame.correction_index for frame in notebook.frames] == [0, 1, 1, 1, 1, 1]


def test_the_policys_last_wish_is_kept_during_a_correction() -> None:
    """The shadow stream repeats 0.1 while the operator drives, and never is NaN."""
    frames = run(Operator(AUTO, HELP, HELP, AUTO)).frames
    shadow = [float(frame.policy_action[0]) for frame in frames]
    np.testing.assert_allclose(shadow, [0.1, 0.1, 0.1, 0.2, 0.21, 0.3], rtol=1e-5)


def test_the_action_after_clipping_is_recorded() -> None:
    """The robot stops at 10, and that is what the frame says."""

    class Far(CountingPolicy):
        def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
            return [np.full((1, 1), 99.0, dtype=np.float32) for _ in observations]

    frame = run(Operator(AUTO), policy=Far()).frames[0]
    assert frame.action[0] == 10
    assert frame.policy_action[0] == 99


def test_pauses_of_a_real_robot_are_recorded_frames_that_hold() -> None:
    """With paused_takes_time, one edge per tick: a, then p that holds, then c, p, a."""
    settings = SETTINGS._replace(paused_takes_time=True)
    notebook = run(Operator(AUTO, AUTO, HELP, HELP, AUTO), settings)
    assert driven(notebook) == "aapcpa"
    actions = [float(frame.action[0]) for frame in notebook.frames]
    np.testing.assert_allclose(actions, [0.1, 0.11, 0.11, -1, -1, 0.2], rtol=1e-5)


def test_control_goes_back_to_the_policy_over_a_ramp() -> None:
    """Ramp of 2 frames from -1: alpha 1 then 1/2, so -1, (-1 + 0.21) / 2, then the policy."""
    settings = SETTINGS._replace(resume_ramp_frames=2)
    frames = run(Operator(AUTO, HELP, AUTO), settings).frames
    actions = [float(frame.action[0]) for frame in frames]
    np.testing.assert_allclose(actions[2:5], [-1, (-1 + 0.21) / 2, 0.3], rtol=1e-5)
    assert float(frames[2].policy_action[0]) == pytest.approx(0.2)


def test_pedals_drive_the_machine_where_events_do_not() -> None:
    """Without is_intervention, only the inbox of the machine changes the phase."""
    machine = PhaseMachine()
    robot, operator = PointRobot(), Operator({})
    station = Station(robot, operator, FrameClock(0.0, fps=10), operator)
    loop = RobotLoop(station, SETTINGS, episode_seed=0, machine=machine)
    assert loop.observe() is None
    assert loop.act(None) is None  # paused: nothing moves
    assert robot.num_actions == 0
    assert machine.request(PhaseEvent.CORRECTION)
    loop.observe()
    frame = loop.act(None)
    assert frame is not None
    assert frame.phase is Phase.CORRECTING


def test_the_limit_can_wait_for_a_correction() -> None:
    """A correction that runs when time is up is finished first."""
    settings = SETTINGS._replace(max_frames=2, limit_waits_for_correction=True)
    notebook = run(Operator(AUTO, HELP, HELP, HELP, AUTO), settings)
    assert driven(notebook) == "accc"
    assert notebook.outcomes == [Outcome.FAILURE]


@pytest.mark.parametrize(
    "chunk", [np.full((2, 1), np.nan), np.zeros((0, 1)), np.zeros((2, 1, 1))[:, 0, 0]]
)
def test_a_bad_chunk_is_an_error(chunk: np.ndarray) -> None:
    """Not finite, empty, or not (h, a)."""
    operator = Operator(AUTO)
    station = Station(PointRobot(), operator, FrameClock(0.0, fps=10))
    loop = RobotLoop(station, SETTINGS, episode_seed=3)
    loop.observe()
    with pytest.raises(Exception, match=r"episode seed 3|h a"):
        loop.act(chunk.astype(np.float32))


def test_autonomy_without_a_policy_is_an_error() -> None:
    """The message says what to do."""
    operator = Operator(AUTO)
    clock = FrameClock(0.0, fps=10)
    loop = RobotLoop(Station(PointRobot(), operator, clock), SETTINGS, episode_seed=3)
    runs = [EpisodeRun(loop, clock, Notebook(), lambda _: None)]
    with pytest.raises(RobotError, match="there is no policy"):
        run_lockstep(lambda _: runs.pop() if runs else None, None, num_robots=1)
    with pytest.raises(RobotError, match="no plan"):
        loop.act(None)


def test_a_correction_without_a_teleoperator_is_an_error() -> None:
    """Somebody must drive."""
    station = Station(PointRobot(), Operator(HELP), FrameClock(0.0, fps=10))
    loop = RobotLoop(station, SETTINGS, episode_seed=3)
    loop.observe()
    with pytest.raises(RobotError, match="nobody can drive"):
        loop.act(None)


def test_lockstep_asks_the_policy_about_all_robots_at_once() -> None:
    """Five episodes on two robots: batches of 2, 2, ... and 1 at the end; all finish."""

    class Batches(CountingPolicy):
        sizes: list[int]

        def __init__(self) -> None:
            super().__init__()
            self.sizes = []

        def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
            self.sizes.append(len(observations))
            return super().infer(observations)

    outcomes: list[Outcome] = []
    todo = list(range(5))

    def start(_: int) -> EpisodeRun | None:
        if not todo:
            return None
        clock = FrameClock(0.0, fps=10)
        settings = SETTINGS._replace(max_frames=2)
        loop = RobotLoop(
            Station(PointRobot(), Operator(AUTO), clock), settings, episode_seed=todo.pop()
        )
        return EpisodeRun(loop, clock, Notebook(), outcomes.append)

    policy = Batches()
    run_lockstep(start, policy, num_robots=2)
    assert policy.sizes == [2, 2, 1]
    assert len(outcomes) == 5
