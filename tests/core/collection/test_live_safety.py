"""What pauses a robot cell, and what is never sent: tick by tick, on a clock moved by hand."""

import threading

import numpy as np
import pytest

from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSignal, SafetySignal
from recap_core.rollout.phase import Phase, PhaseEvent
from recap_core.rollout.safety import ActionGuard
from tests.core.collection.memory_cell import Cell, once, play

START, SUCCESS, DISCARD, QUIT = EpisodeSignal
PAUSE, CORRECT = PhaseEvent
STOP, RESET = SafetySignal


def test_a_policy_that_fails_pauses_the_robot_and_comes_back() -> None:
    """It cannot be resumed before it is back; the session goes on, and so does the episode."""
    cell = Cell()

    def script(tick: int) -> None:
        cell.policy.problem = "the server is gone" if 4 <= tick < 8 else None

    play(cell, {0: [START, PAUSE], 6: PAUSE, 11: PAUSE, 14: SUCCESS, 16: QUIT}, script=script)

    assert cell.phases == [["autonomous", "paused", "autonomous"]]
    assert "paused: the server is gone" in cell.said
    assert "refused pause_resume: the server is gone" in cell.said


def test_a_policy_that_thinks_makes_the_robot_wait() -> None:
    """No action yet: it holds still, autonomous."""
    cell = Cell()

    def script(tick: int) -> None:
        cell.policy.is_thinking = tick < 5

    play(cell, {0: [START, PAUSE], 8: SUCCESS, 10: QUIT}, script=script)

    frames = cell.recorder.episodes[0][1]
    assert {frame.phase for frame in frames} == {Phase.AUTONOMOUS}
    assert [frame.policy_action is None for frame in frames] == [True] * 5 + [False] * 3


def test_a_jump_of_the_policy_pauses_and_a_far_leader_is_approached() -> None:
    """The jump is never sent; the leader is reached in steps."""
    cell = Cell(guard=ActionGuard(max_step=2))

    def script(tick: int) -> None:
        cell.policy.target = np.full(2, 1 if tick < 4 else 4, np.float32)

    play(cell, {0: [START, PAUSE], 10: CORRECT, 15: SUCCESS, 17: QUIT}, script=script)

    assert cell.phases == [["autonomous", "paused", "correcting"]]
    assert "jumps by 3" in cell.said
    assert [action[0] for action in cell.robot.sent] == [1, 1, 1, 1, 3, 5, 5, 5, 5]


@pytest.mark.parametrize("what", ["is_broken", "age_s"])
def test_an_old_or_missing_observation_pauses(what: str) -> None:
    """No frame is recorded from it; resuming is up to the operator."""
    cell = Cell()

    def script(tick: int) -> None:
        setattr(cell.robot, what, 1.0 if 4 <= tick < 7 else 0)

    play(cell, {0: [START, PAUSE], 11: PAUSE, 14: SUCCESS, 16: QUIT}, script=script)

    assert cell.phases == [["autonomous", "paused", "autonomous"]]
    assert len(cell.recorder.episodes[0][1]) == 14 - 3
    assert (
        "paused: " + ("the cable is out" if what == "is_broken" else "the joints are") in cell.said
    )


def test_a_robot_that_stays_away_ends_the_session() -> None:
    """The open episode is kept as a failure, and the reason is told."""
    cell = Cell(robot_timeout_s=2)

    def script(tick: int) -> None:
        cell.robot.is_broken = tick >= 5

    play(cell, {0: [START, PAUSE]}, script=script)

    end = cell.end
    assert end is not None
    assert end.reason == "error"
    assert "could not be read for 2" in str(end.error)
    assert [outcome for outcome, _ in cell.recorder.episodes] == [Outcome.FAILURE]


def test_a_leader_that_does_not_answer_pauses() -> None:
    """Its last wish is not repeated."""
    cell = Cell()

    def script(tick: int) -> None:
        cell.leader.is_broken = tick >= 4

    play(cell, {0: START, 1: CORRECT, 8: SUCCESS, 10: QUIT}, script=script)

    assert cell.phases == [["paused", "correcting", "paused"]]
    assert len(cell.robot.sent) == 3


def test_an_emergency_stop() -> None:
    """Nothing is sent until it is reset, whatever is pressed; the robot is told at once."""
    cell = Cell()
    play(
        cell,
        {
            0: [START, PAUSE],
            4: [PAUSE, STOP, STOP],
            5: STOP,
            6: PAUSE,
            8: RESET,
            10: PAUSE,
            13: SUCCESS,
            15: QUIT,
        },
    )

    assert cell.robot.num_stops == 1
    assert cell.said.count("paused: EMERGENCY STOP") == 1
    assert cell.phases == [["autonomous", "paused", "autonomous"]]
    frames = cell.recorder.episodes[0][1]
    assert [f.phase for f in frames].count(Phase.PAUSED) == 6
    assert "pause_resume: an emergency stop is in force" in cell.said
    assert any(status.is_stopped for status in cell.statuses)


def test_a_loop_that_stood_still_is_paused() -> None:
    """Whatever the policy had planned before is not played after it."""
    cell = Cell(watchdog_s=0.5)

    def script(tick: int) -> None:
        if tick == 5:
            cell.clock.sleep(0.8)

    play(cell, {0: [START, PAUSE], 9: SUCCESS, 11: QUIT}, script=script)

    assert cell.phases == [["autonomous", "paused"]]
    assert "stood still for 0.9 s" in cell.said


def test_the_watchdog_speaks_while_the_loop_hangs() -> None:
    """From its own thread, because the loop cannot."""
    cell = Cell(watchdog_s=0.15)
    was_told = threading.Event()

    def watch(status: object) -> None:
        if "does not answer" in str(status):
            was_told.set()

    def script(tick: int) -> None:
        if tick == 3:
            assert was_told.wait(300)
        if tick == 5:
            cell.loop.request(QUIT, "test")

    cell.script = script
    cell.loop.run(watch)

    assert was_told.is_set()


def test_a_stop_within_a_tick_and_one_that_is_reset_at_once() -> None:
    """The first lets that tick's action not out; the second pauses all the same."""
    cell = Cell()

    def script(tick: int) -> None:
        if tick == 4:
            cell.robot.while_reading = once(cell, lambda: cell.loop.request(STOP, "test"))

    play(
        cell,
        {0: [START, PAUSE], 8: RESET, 12: PAUSE, 15: [STOP, RESET], 18: SUCCESS, 20: QUIT},
        script=script,
    )

    assert len(cell.robot.sent) == 4 + 3
    assert cell.robot.num_stops == 2
    assert cell.phases == [["autonomous", "paused", "autonomous", "paused"]]


def test_what_is_pressed_at_a_pause_of_the_robots_own_is_no_resume() -> None:
    """The operator wanted to pause, too; half a second later it is a new wish."""
    cell = Cell(guard=ActionGuard(max_step=2))

    def script(tick: int) -> None:
        cell.policy.target = np.full(2, 9 if tick == 4 else 1, np.float32)

    play(
        cell,
        {0: [START, PAUSE], 5: PAUSE, 6: CORRECT, 12: PAUSE, 15: SUCCESS, 17: QUIT},
        script=script,
    )

    assert cell.phases == [["autonomous", "paused", "autonomous"]]
    assert cell.said.count("has just been paused by itself") == 2


def test_whoever_hammers_the_pause_key_wants_the_robot_to_stand_still() -> None:
    """Every blow counts from the last one; half a second of quiet later it means resume again."""
    cell = Cell()
    play(
        cell,
        {
            0: [START, PAUSE], 5: PAUSE, 7: PAUSE, 9: PAUSE, 13: PAUSE, 19: PAUSE,
            21: PAUSE, 22: CORRECT, 23: CORRECT, 24: PAUSE, 26: SUCCESS, 28: QUIT,
        },
    )  # fmt: skip

    assert cell.phases == [
        ["autonomous", "paused", "autonomous", "paused", "correcting", "paused", "autonomous"]
    ]
    assert cell.said.count("the robot has just been paused; look") == 3


def test_another_key_in_between_is_no_hammering() -> None:
    """Whoever marks an episode and begins the next one has looked."""
    cell = Cell()
    play(
        cell,
        {0: [START, PAUSE], 5: PAUSE, 6: SUCCESS, 7: START, 8: PAUSE, 12: SUCCESS, 14: QUIT},
    )

    assert cell.phases == [["autonomous", "paused"], ["paused", "autonomous"]]


def test_a_wish_while_an_episode_is_saved_is_none() -> None:
    """The robot stays paused; people may be in the scene."""
    cell = Cell()
    save = cell.recorder.finish

    def finish(outcome: Outcome) -> object:
        cell.loop.request(PAUSE, "test")
        return save(outcome)  # type: ignore[arg-type]

    cell.recorder.finish = finish  # type: ignore[assignment]
    play(cell, {0: [START, PAUSE], 4: SUCCESS, 8: START, 12: SUCCESS, 14: QUIT})

    assert cell.phases == [["autonomous"], ["paused"]]


def test_nothing_is_sent_after_a_read_that_took_too_long() -> None:
    """Neither in the tick itself nor after it."""
    cell = Cell(watchdog_s=0.5, max_observation_age_s=5)

    def script(tick: int) -> None:
        if tick == 4:
            cell.robot.while_reading = once(cell, lambda: cell.clock.sleep(0.8))

    play(cell, {0: [START, PAUSE], 10: SUCCESS, 12: QUIT}, script=script)

    assert len(cell.robot.sent) == 4
    assert "a tick took 0.8 s" in cell.said
    assert cell.phases == [["autonomous", "paused"]]


def test_a_slow_read_makes_an_old_observation() -> None:
    """Its age counts when it is there, not when it was asked for."""
    cell = Cell(max_observation_age_s=0.3)

    def read() -> None:
        cell.robot.age_s = 0.4
        cell.clock.sleep(0.4)

    def script(tick: int) -> None:
        cell.robot.age_s = 0
        if tick == 4:
            cell.robot.while_reading = once(cell, read)

    play(cell, {0: [START, PAUSE], 10: SUCCESS, 12: QUIT}, script=script)

    assert "the joints are 0.40 s old" in cell.said
    assert len(cell.robot.sent) == 4


def test_a_leader_that_cannot_follow_pauses() -> None:
    """The frame whose action was sent is recorded; the session goes on."""
    cell = Cell()

    def script(tick: int) -> None:
        cell.leader.is_broken = 4 <= tick < 6

    play(cell, {0: [START, PAUSE], 8: SUCCESS, 10: QUIT}, script=script)

    assert cell.phases == [["autonomous", "paused"]]
    assert len(cell.recorder.episodes[0][1]) == 8
    assert "paused: the leader does not answer" in cell.said


def test_the_first_command_is_measured_from_the_pose() -> None:
    """An arm that has sagged while it was paused may be resumed."""
    cell = Cell(guard=ActionGuard(max_step=2), resume_ramp_s=0.4)

    def script(tick: int) -> None:
        if tick == 7:
            cell.robot.pose = np.full(2, -4, np.float32)  # far from what was sent last: 1

    play(cell, {0: [START, PAUSE], 6: PAUSE, 12: PAUSE, 18: SUCCESS, 20: QUIT}, script=script)

    assert cell.phases == [["autonomous", "paused", "autonomous"]]
    resumed = [float(action[0]) for action in cell.robot.sent[6:]]
    assert resumed == [-4, -2.75, -1.5, -0.25, 1, 1]
