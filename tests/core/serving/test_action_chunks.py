"""Action chunks in the order in which a robot plays them; every number worked out on paper."""

from collections.abc import Mapping
from threading import Event
from typing import Any

import numpy as np
import pytest

from recap_core.errors import RobotError, ServerError
from recap_core.serving.action_chunks import ActionChunks, clip_grippers, split_arms
from recap_core.serving.chunked_policy import ChunkedPolicy
from tests.core.serving.tiny import PATIENCE_S


def column(*values: float) -> np.ndarray:
    """A chunk of one-dimensional actions."""
    return np.array(values, np.float32)[:, None]


def played(chunks: ActionChunks, number: int) -> list[float]:
    return [float(chunks.next()[0]) for _ in range(number)]


def test_past_actions_of_a_chunk_are_dropped() -> None:
    """Two ticks went by since its observation: it begins with its third action."""
    chunks = ActionChunks()
    chunks.add(column(0, 1, 2, 3, 4), steps_since_request=2)

    assert played(chunks, 3) == [2, 3, 4]


def test_four_overlapping_actions_are_blended() -> None:
    """Old 0, new 8, n = 4: weights 1/4, 1/2, 3/4, 1; from there on the new chunk alone."""
    chunks = ActionChunks()
    chunks.add(column(0, 0, 0, 0, 0, 0, 0), steps_since_request=0)
    played(chunks, 1)
    chunks.add(column(9, 8, 8, 8, 8, 8, 8), steps_since_request=1)

    assert played(chunks, 6) == [2, 4, 6, 8, 8, 8]


def test_a_shorter_overlap_is_a_shorter_transition() -> None:
    """Two old actions are left, so n = 2: weights 1/2 and 1; with one, n = 1 and weight 1."""
    two, one = ActionChunks(), ActionChunks()
    for chunks, num_played in ((two, 1), (one, 2)):
        chunks.add(column(0, 0, 0), steps_since_request=0)
        played(chunks, num_played)
        chunks.add(column(8, 8, 8), steps_since_request=0)

    assert played(two, 3) == [4, 8, 8]
    assert played(one, 3) == [8, 8, 8]


def test_without_a_window_the_new_chunk_begins_at_once() -> None:
    """Window 0."""
    chunks = ActionChunks(smoothing_window=0)
    chunks.add(column(0, 0, 0), steps_since_request=0)
    chunks.add(column(8, 8, 8), steps_since_request=0)

    assert played(chunks, 2) == [8, 8]


def test_the_last_action_is_repeated() -> None:
    """Until another chunk comes; that is not blended with what is over."""
    chunks = ActionChunks()
    chunks.add(column(1, 2), steps_since_request=0)
    assert played(chunks, 4) == [1, 2, 2, 2]

    chunks.add(column(5, 6, 7), steps_since_request=1)

    assert played(chunks, 2) == [6, 7]


def test_a_chunk_that_is_past_as_a_whole_changes_nothing() -> None:
    """It was asked for too long ago."""
    chunks = ActionChunks()
    chunks.add(column(1, 2, 3), steps_since_request=0)
    chunks.add(column(7, 8), steps_since_request=2)

    assert played(chunks, 3) == [1, 2, 3]


def test_only_so_many_actions_of_a_chunk_are_used() -> None:
    """``action_horizon`` counts from the observation, past actions included."""
    chunks = ActionChunks(action_horizon=3)
    chunks.add(column(0, 1, 2, 3, 4), steps_since_request=1)

    assert chunks.num_left == 2
    assert played(chunks, 3) == [1, 2, 2]


@pytest.mark.parametrize(
    "chunk", [np.zeros((0, 1)), np.zeros(3), np.full((2, 1), np.nan), np.zeros((2, 2))]
)
def test_a_chunk_that_cannot_be_played_is_refused(chunk: np.ndarray) -> None:
    """Empty, flat, not finite, or of another robot; what was there stays."""
    chunks = ActionChunks()
    chunks.add(column(1, 2), steps_since_request=0)

    with pytest.raises(RobotError, match="an action chunk has shape"):
        chunks.add(chunk, steps_since_request=0)
    assert played(chunks, 2) == [1, 2]


def test_without_any_chunk_there_is_no_action() -> None:
    """Also after an episode ended."""
    chunks = ActionChunks()
    chunks.add(column(1), steps_since_request=0)
    chunks.clear()

    with pytest.raises(RobotError, match="no action yet"):
        chunks.next()


def test_arms_and_grippers() -> None:
    """Seven and seven; YAM's grippers open to 2.4."""
    action = np.arange(14.0) - 7
    action[13] = 9.0

    left, right = split_arms(action)

    np.testing.assert_array_equal(left, [-7, -6, -5, -4, -3, -2, -1])
    np.testing.assert_array_equal(right, [0, 1, 2, 3, 4, 5, 9])
    clipped = clip_grippers(action, high=2.4)
    assert (clipped[6], clipped[13]) == (0.0, 2.4)
    assert clip_grippers(action)[13] == 1.0
    assert action[13] == 9.0
    with pytest.raises(RobotError, match="cannot be split"):
        split_arms(action, (7, 6))


class Counting:
    """A policy that answers the n-th request with 100 n + 0, 1, 2, 3."""

    def __init__(self) -> None:
        self.ticks: list[int] = []
        self.may_answer = Event()
        self.may_answer.set()
        self.answered = Event()

    def infer(self, observation: Mapping[str, Any]) -> Mapping[str, Any]:
        """Remember at which tick it was asked."""
        assert self.may_answer.wait(PATIENCE_S)
        self.ticks.append(int(observation["tick"]))
        start = 100 * len(self.ticks)
        self.answered.set()
        return {"actions": np.arange(start, start + 4)[:, None]}


def test_a_robot_that_waits_asks_when_nothing_is_left() -> None:
    """Every fourth tick, about that tick; nothing overlaps, so nothing is blended."""
    policy = Counting()
    player = ChunkedPolicy(policy.infer, ActionChunks())

    actions = [float(player.action({"tick": t})[0]) for t in range(9)]
    player.close()

    assert actions == [100, 101, 102, 103, 200, 201, 202, 203, 300]
    assert policy.ticks == [0, 4, 8]


def test_a_robot_that_goes_on_gets_its_chunk_in_time() -> None:
    """Asked at tick 2 (two left), answered before tick 3: its first action is past.

    Tick 3 has one old action left, 103: n = 1 takes the new chunk's second action as it is.
    """
    policy = Counting()
    player = ChunkedPolicy(policy.infer, ActionChunks(), mode="async", prefetch_at=2)
    actions = [float(player.action({"tick": t})[0]) for t in range(2)]
    policy.may_answer.clear()
    policy.answered.clear()
    actions.append(float(player.action({"tick": 2})[0]))
    policy.may_answer.set()
    assert policy.answered.wait(PATIENCE_S)
    _settle(player)
    policy.may_answer.clear()
    actions += [float(player.action({"tick": t})[0]) for t in range(3, 5)]
    policy.may_answer.set()
    player.close()

    assert actions == [100, 101, 102, 201, 202]


def test_a_late_chunk_is_bridged_by_the_last_action() -> None:
    """The answer to tick 2 comes after tick 5: 103 is repeated, then its fifth action is past."""
    policy = Counting()
    player = ChunkedPolicy(policy.infer, ActionChunks(), mode="async", prefetch_at=2)
    player.action({"tick": 0})
    player.action({"tick": 1})
    policy.may_answer.clear()
    late = [float(player.action({"tick": t})[0]) for t in range(2, 5)]
    policy.answered.clear()
    policy.may_answer.set()
    assert policy.answered.wait(PATIENCE_S)
    _settle(player)

    assert late == [102, 103, 103]
    assert float(player.action({"tick": 5})[0]) == 203
    player.close()


def test_an_answer_to_the_last_episode_is_not_played() -> None:
    """After ``reset`` the first action comes from a new request."""
    policy = Counting()
    player = ChunkedPolicy(policy.infer, ActionChunks(), mode="async", prefetch_at=3)
    player.action({"tick": 0})
    player.action({"tick": 1})
    player.reset()

    action = float(player.action({"tick": 9})[0])
    player.close()

    assert policy.ticks[-1] == 9
    assert action == 100 * len(policy.ticks)


def test_a_failed_request_is_raised_where_the_action_is_wanted() -> None:
    """In the robot's loop, not in a thread that nobody watches."""

    def fail(observation: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ServerError(f"gone at {observation['tick']}")

    player = ChunkedPolicy(fail, ActionChunks(), mode="async")
    with pytest.raises(ServerError, match="gone at 0"):
        player.action({"tick": 0})
    player.close()


def _settle(player: ChunkedPolicy) -> None:
    """Wait until the request's answer is there."""
    request = player._request
    assert request is not None
    request.answer.result(timeout=PATIENCE_S)
