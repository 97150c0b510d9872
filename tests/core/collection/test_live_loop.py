"""The control loop of a robot cell, tick by tick, on a clock that is moved by hand."""

import numpy as np
import pytest

from recap_core.errors import EpisodeError
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSignal, Request, SafetySignal
from recap_core.rollout.phase import Phase, PhaseEvent
from tests.core.collection.memory_cell import Cell, play

START, SUCCESS, DISCARD, QUIT = EpisodeSignal
PAUSE, CORRECT = PhaseEvent
STOP, RESET = SafetySignal


def test_a_session() -> None:
    """Pause, resume, correct, succeed, fail, discard, quit: everything as the keys say."""
    cell = Cell()
    play(
        cell,
        {
            2: START,
            4: PAUSE,  # resume
            8: PAUSE,
            10: CORRECT,
            14: CORRECT,
            16: PAUSE,  # resume
            20: SUCCESS,
            22: START,
            24: PAUSE,
            28: START,  # end: a failure
            30: START,
            32: DISCARD,
            34: START,
            36: QUIT,
        },
    )

    end = cell.end
    assert end is not None
    assert end.reason == "quit"
    assert [episode.outcome for episode in end.episodes] == [
        Outcome.SUCCESS,
        Outcome.FAILURE,
        Outcome.FAILURE,
    ]
    assert end.num_discarded == 1
    assert cell.phases == [
        ["paused", "autonomous", "paused", "correcting", "paused", "autonomous"],
        ["paused", "autonomous"],
        ["paused"],
    ]
    frames = cell.recorder.episodes[0][1]
    assert [len(frames) for _, frames in cell.recorder.episodes] == [18, 6, 2]
    corrected = [frame for frame in frames if frame.phase is Phase.CORRECTING]
    assert len(corrected) == 4
    assert {frame.correction_index for frame in corrected} == {1}
    assert {frame.correction_index for frame in frames[:8]} == {0}
    assert all(frame.action.tolist() == [5, 5] for frame in corrected)
    assert cell.leader.told[:3] == ["follow", "compliant", "stiff"]
    assert cell.recorder.is_closed
    assert not cell.robot.is_connected
    assert cell.policy.prompts == {"fold"}


def test_the_observation_is_the_one_before_the_step() -> None:
    """(s_t, a_t): the pose in a frame is where the last action led."""
    cell = Cell()
    play(cell, {2: [START, PAUSE], 6: SUCCESS, 8: QUIT})

    frames = cell.recorder.episodes[0][1]
    assert [frame.observation["observation.state"].tolist() for frame in frames[:2]] == [
        [0, 0],
        [1, 1],
    ]
    assert [frame.action.tolist() for frame in frames[:2]] == [[1, 1], [1, 1]]
    assert np.diff([frame.time_s for frame in frames]) == pytest.approx(0.1)


def test_nothing_is_sent_while_paused() -> None:
    """The robot holds what it was sent last, and the frames say so."""
    cell = Cell()
    play(cell, {0: START, 3: PAUSE, 6: PAUSE, 12: SUCCESS, 14: QUIT})

    frames = cell.recorder.episodes[0][1]
    assert len(cell.robot.sent) == sum(frame.phase is Phase.AUTONOMOUS for frame in frames) == 3
    assert [frame.action.tolist() for frame in frames if frame.phase is Phase.PAUSED] == [
        [0, 0]
    ] * 3 + [[1, 1]] * 6


def test_a_refused_request_says_why() -> None:
    """Each with its reason; nothing else happens."""
    cell = Cell()
    play(cell, {1: SUCCESS, 2: DISCARD, 3: PAUSE, 5: CORRECT, 6: RESET, 8: QUIT})

    assert cell.loop.desk.num_refused == 4
    assert "success: no episode is being recorded" in cell.said
    assert "discard: no episode" in cell.said
    assert "correction: the robot is autonomous; pause it first (test)" in cell.said
    assert "reset: no emergency stop" in cell.said


def test_without_leader_or_policy() -> None:
    """There is nobody to correct, or nobody to drive."""
    cell = Cell(with_leader=False, with_policy=False)
    play(cell, {1: CORRECT, 2: PAUSE, 4: QUIT})

    assert "correction: there is no leader arm" in cell.said
    assert "pause_resume: there is no policy" in cell.said
    assert not cell.robot.sent


def test_the_ramp_leads_from_the_pose_to_the_policy() -> None:
    """After a resume; the policy's own wish is recorded beside what was sent."""
    cell = Cell(resume_ramp_s=0.4)
    play(cell, {0: START, 2: PAUSE, 9: SUCCESS, 11: QUIT})

    frames = [f for f in cell.recorder.episodes[0][1] if f.phase is Phase.AUTONOMOUS]
    assert [float(frame.action[0]) for frame in frames[:5]] == [0, 0.25, 0.5, 0.75, 1]
    assert all(frame.policy_action.tolist() == [1, 1] for frame in frames)  # type: ignore[union-attr]


def test_the_policys_wish_is_recorded_while_the_operator_drives() -> None:
    """The shadow stream, with the policy's id."""
    cell = Cell()
    play(cell, {0: START, 1: CORRECT, 5: SUCCESS, 7: QUIT})

    frames = [f for f in cell.recorder.episodes[0][1] if f.phase is Phase.CORRECTING]
    assert len(frames) == 4
    assert all(frame.policy_action.tolist() == [1, 1] for frame in frames)  # type: ignore[union-attr]
    assert {frame.policy_id for frame in frames} == {"step"}


def test_the_limit_waits_for_a_correction() -> None:
    """An episode that is over its time while the operator drives goes on until he is done."""
    cell = Cell(episode_limit_s=1)
    play(cell, {0: START, 5: CORRECT, 20: CORRECT, 30: [START, PAUSE], 50: QUIT})

    assert [outcome for outcome, _ in cell.recorder.episodes] == [Outcome.FAILURE] * 2
    assert [len(frames) for _, frames in cell.recorder.episodes] == [21, 10]
    assert "time is over" in cell.said


def test_the_robot_is_paused_between_episodes() -> None:
    """Unless the rules say that it goes on, as the reference does."""
    keys: dict[int, Request | list[Request]] = {0: [START, PAUSE], 5: SUCCESS, 8: START, 12: QUIT}
    safe, going_on = Cell(), Cell(pause_between_episodes=False)
    play(safe, keys)
    play(going_on, keys)

    assert safe.phases == [["autonomous"], ["paused"]]
    assert going_on.phases == [["autonomous"], ["autonomous"]]


@pytest.mark.parametrize(
    ("cell", "num_episodes"), [(Cell(num_episodes=2), 2), (Cell(num_corrections=1), 1)]
)
def test_a_goal_ends_the_session(cell: Cell, num_episodes: int) -> None:
    """After the episode that reaches it."""
    play(cell, {0: START, 2: CORRECT, 5: SUCCESS, 8: START, 10: SUCCESS})

    end = cell.end
    assert end is not None
    assert end.reason == "goal"
    assert len(end.episodes) == num_episodes
    assert cell.statuses[-1].goal_share == 1


def test_a_failure_that_the_operator_did_not_declare_says_why() -> None:
    """The time limit, a recorder that cannot go on, and the end of the session."""
    cell = Cell(episode_limit_s=1)

    def fill_the_disk(tick: int) -> None:
        cell.recorder.problem = "the disk is full" if 20 <= tick < 30 else None

    keys: dict[int, Request | list[Request]] = {
        0: START, 14: START, 34: START, 36: START, 38: START, 40: QUIT
    }  # fmt: skip
    play(cell, keys, script=fill_the_disk)

    assert [outcome for outcome, _ in cell.recorder.episodes] == [Outcome.FAILURE] * 4
    assert [note["failure_reason"] for note in cell.recorder.notes if "failure_reason" in note] == [
        "the episode's time is over",
        "recording cannot go on: the disk is full",
        "the session ended",
    ]


def test_what_was_corrected_so_far_counts_the_open_episode_but_no_discarded_one() -> None:
    """Ticks: 4 of 8 corrected and saved, 4 of 8 discarded, 2 of 4 still open."""
    cell = Cell(num_corrections=5)
    play(
        cell,
        {
            0: START, 2: CORRECT, 6: CORRECT, 8: SUCCESS,
            10: START, 12: CORRECT, 16: CORRECT, 18: DISCARD,
            20: START, 22: CORRECT, 24: [CORRECT, QUIT],
        },
    )  # fmt: skip

    seen = [(status.num_corrections, status.correcting_share) for status in cell.statuses]
    assert (1, 0.5) in seen
    assert seen[-1] == (2, 0.5)
    open_ones = [s for s in cell.statuses if s.is_recording and s.episode == 3]
    assert open_ones[-1].num_corrections == 2
    assert open_ones[-1].goal.endswith("1 of 5 corrections")


def test_a_hand_that_moved_on_while_an_episode_was_saved_is_approached() -> None:
    """Where the robot goes on between episodes, saving takes time in the midst of a correction."""
    cell = Cell(pause_between_episodes=False, takeover_ramp_s=0.4)

    def hand_moves(tick: int) -> None:
        cell.leader.at[:] = 5 if tick < 10 else 9

    play(cell, {0: START, 1: CORRECT, 10: SUCCESS, 20: QUIT}, script=hand_moves)

    after = [float(sent[0]) for sent in cell.robot.sent if sent[0] > 5]
    assert after[:4] == [6, 7, 8, 9]


def test_nobody_corrects_in_an_evaluation() -> None:
    """The wish is refused, and the episode does not count towards the goal."""
    cell = Cell(is_passive=True, num_episodes=2)
    play(
        cell,
        {
            0: [START, PAUSE],
            3: PAUSE,
            5: CORRECT,
            7: SUCCESS,
            9: START,
            12: SUCCESS,
            14: START,
            16: START,
        },
    )

    end = cell.end
    assert end is not None
    assert end.num_disqualified == 1
    assert len(end.episodes) == 3
    assert end.trials == (True, False)
    assert [(status.num_successes, status.num_failures) for status in cell.statuses][-1] == (1, 1)
    assert [note for note in cell.recorder.notes if "loop" not in note] == [
        {"disqualified": "a correction was asked for"}
    ]
    assert all("correcting" not in phases for phases in cell.phases)
    assert "this episode does not count" in cell.said


def test_an_episode_that_cannot_be_recorded_does_not_begin() -> None:
    """And one that no longer can is ended; the operator is told both times."""
    cell = Cell()

    def script(tick: int) -> None:
        cell.recorder.problem = "the disk is full" if tick < 3 or 8 <= tick < 30 else None

    play(cell, {0: START, 5: START, 32: QUIT}, script=script)

    assert [outcome for outcome, _ in cell.recorder.episodes] == [Outcome.FAILURE]
    assert cell.said.count("the disk is full") == 2


def test_an_error_in_the_loop_saves_what_is_open_and_lets_go() -> None:
    """A bug, or Ctrl-C: the episode is a failure, never a success."""
    cell = Cell()

    def script(tick: int) -> None:
        if tick == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(cell, {0: [START, PAUSE]}, script=script)

    assert [outcome for outcome, _ in cell.recorder.episodes] == [Outcome.FAILURE]
    assert not cell.statuses[-1].is_recording
    assert not cell.robot.is_connected
    assert cell.recorder.is_closed


def test_a_correction_begins_where_the_robot_is() -> None:
    """However far away the leader is held."""
    cell = Cell(takeover_ramp_s=0.4)
    play(cell, {0: START, 1: CORRECT, 8: SUCCESS, 10: QUIT})

    assert [float(action[0]) for action in cell.robot.sent] == [0, 1.25, 2.5, 3.75, 5, 5, 5]


def test_a_state_may_be_wider_than_an_action() -> None:
    """What lies behind the action's dims is recorded, and moves nothing."""
    cell = Cell(resume_ramp_s=0.2)
    cell.robot.num_extra_dims = 3
    play(cell, {0: START, 2: PAUSE, 6: SUCCESS, 8: QUIT})

    frames = cell.recorder.episodes[0][1]
    assert {frame.action.shape for frame in frames} == {(2,)}
    assert [float(action[0]) for action in cell.robot.sent] == [0, 0.5, 1, 1]


def test_the_leaders_state_is_what_it_was_told_or_shows() -> None:
    """Following, driving, and unknown while paused."""
    cell = Cell()
    play(cell, {0: [START, PAUSE], 3: PAUSE, 5: CORRECT, 7: CORRECT, 9: SUCCESS, 11: QUIT})

    frames = cell.recorder.episodes[0][1]
    states = [None if f.leader_state is None else float(f.leader_state[0]) for f in frames]
    assert states == [1, 1, 1, None, None, 5, 5, None, None]


def test_a_quit_that_comes_while_an_episode_cannot_begin_counts() -> None:
    """The session ends, as the operator was told."""
    cell = Cell()

    def start() -> None:
        assert cell.loop.request(QUIT, "test")
        raise EpisodeError("the disk is full")

    cell.recorder.start = start  # type: ignore[method-assign]
    play(cell, {2: START, 30: QUIT})

    assert cell._tick < 10
