"""A robot's policy over real sockets: every number worked out on paper, nothing timed."""

import logging
import socket
import threading
from typing import Any

import numpy as np
import pytest

from recap_core.errors import DataError
from recap_core.rollout.live import LivePolicy
from recap_core.serving.host import PolicyHost, ServedPolicy
from recap_core.serving.protocol import pack
from tests.core.serving import tiny
from tests.core.serving.scripted import (
    WAIT_S,
    ScriptedHost,
    begin,
    column,
    linked,
    played,
    sensed,
    wait_for_chunk,
    wait_for_connection,
    wait_until,
)
from tests.ports import free_port


def test_the_robot_goes_on_while_the_next_chunk_is_made() -> None:
    """Asked with 4 of 6 left, here after one action: 201 is its present one, blended in by thirds.

    201/3 + 2*103/3 = 135.667; 2*202/3 + 104/3 = 169.333; then the new chunk alone.
    """
    host = ScriptedHost()
    with tiny.running(host) as server, linked(server.port, prefetch_at=4) as policy:
        begin(policy)
        assert played(policy, 2) == [100, 101]
        host.may_answer.clear()
        assert played(policy, 1) == [102]
        assert host.asked.acquire(timeout=WAIT_S)
        assert host.asked.acquire(timeout=WAIT_S)
        host.may_answer.set()
        wait_for_chunk(policy)
        host.may_answer.clear()
        assert played(policy, 5) == [135.667, 169.333, 203, 204, 205]
        host.may_answer.set()

        status = policy.status()

    assert isinstance(policy, LivePolicy)
    assert status.where == server.url
    assert (status.is_connected, status.problem, status.policy_id) == (True, None, "first")
    assert (status.num_late, status.num_reconnects) == (0, 0)


def test_a_late_chunk_goes_on_where_the_robot_stands() -> None:
    """Two actions were played since it was asked for; three of standing still do not count."""
    host = ScriptedHost()
    with tiny.running(host) as server, linked(server.port, prefetch_at=2) as policy:
        begin(policy)
        assert played(policy, 4) == [100, 101, 102, 103]
        host.may_answer.clear()
        assert played(policy, 5) == [104, 105, 105, 105, 105]
        assert policy.status().num_late == 3
        host.may_answer.set()
        wait_for_chunk(policy)

        assert played(policy, 2) == [202, 203]


def test_a_chunk_that_does_not_come_is_a_problem_until_it_comes() -> None:
    """Two repeats are allowed. The answer ends the problem, though nobody asks for actions."""
    host = ScriptedHost()
    with tiny.running(host) as server, linked(server.port, max_repeats=2) as policy:
        begin(policy)
        host.may_answer.clear()
        played(policy, 6 + 2)

        answer = policy.action(sensed())

        assert answer.action is None
        assert answer.problem is not None
        assert "too slow: the robot has held still for 3 ticks" in answer.problem
        assert policy.status().problem == answer.problem
        host.may_answer.set()
        wait_for_chunk(policy)
        assert policy.status().problem is None


def test_a_robot_may_stand_still_for_every_chunk() -> None:
    """``sync``: asked when nothing is left, then played from its first action, however late."""
    host = ScriptedHost()
    settings: dict[str, Any] = {"mode": "sync", "max_repeats": 0, "prefetch_at": 25}
    with tiny.running(host) as server, linked(server.port, **settings) as policy:
        begin(policy)
        host.may_answer.clear()
        assert played(policy, 9) == [100, 101, 102, 103, 104, 105, 105, 105, 105]
        host.may_answer.set()
        wait_for_chunk(policy)

        assert played(policy, 2) == [200, 201]
        assert policy.status().num_late == 0
    assert [float(request["state"][0]) for request in host.requests] == [0, 6]


def test_an_answer_from_before_a_reset_is_never_played() -> None:
    """Nor what was left of the plan: the next action answers an observation from after it."""
    host = ScriptedHost()
    with tiny.running(host) as server, linked(server.port, prefetch_at=4) as policy:
        begin(policy)
        played(policy, 2)
        host.may_answer.clear()
        played(policy, 1)
        policy.reset()
        assert policy.action(sensed(50)) == (None, None, "")
        host.may_answer.set()
        wait_until(policy, lambda link: link._request is None)
        assert policy.action(sensed(51)) == (None, None, "")
        wait_for_chunk(policy)

        assert played(policy, 1) == [300]

    assert [float(request["state"][0]) for request in host.requests] == [0, 0, 51]


def test_a_server_that_dies_is_a_problem_at_once_and_its_successor_none() -> None:
    """Five actions of the plan are left, and none is played. The next ones are another policy's."""
    port = free_port()
    with tiny.running(ScriptedHost("first"), port=port) as first, linked(port) as policy:
        begin(policy)
        assert played(policy, 1) == [100]
        first.begin_to_stop()
        assert first.join(WAIT_S)
        wait_until(policy, lambda link: link._problem is not None)

        answer = policy.action(sensed())

        assert answer.action is None
        assert answer.problem is not None
        assert first.url in answer.problem
        status = policy.status()
        assert status.is_connected is False
        assert status.problem is not None
        with tiny.running(ScriptedHost("second"), port=port):
            wait_for_connection(policy)
            assert policy.status().problem is None
            policy.reset()
            begin(policy)
            answer = policy.action(sensed())
            assert (answer.problem, answer.policy_id) == (None, "second")
            assert answer.action == [100]
            status = policy.status()
            assert (status.policy_id, status.num_reconnects) == ("second", 1)


def test_a_loss_between_two_ticks_is_told_too() -> None:
    """The link was faster than the loop; yet no tick goes on as if nothing had happened."""
    host = ScriptedHost(answers=[column(100), DataError("no camera")])
    with tiny.running(host) as server, linked(server.port, prefetch_at=6) as policy:
        begin(policy)
        played(policy, 1)
        wait_until(policy, lambda link: link._num_connects == 2)

        answer = policy.action(sensed())

        assert answer.problem == f"{server.url} refused the request: DataError: no camera"
        assert policy.action(sensed()) == (None, None, "")


BAD_ANSWERS: list[tuple[np.ndarray | bytes | Exception, str]] = [
    (np.full((6, 1), np.nan), "6 of 6 values that are not finite"),
    (np.zeros((6, 2)), r"shape \(6, 2\) and type float64; this robot takes \(h, 1\)"),
    (np.zeros((0, 1)), r"shape \(0, 1\)"),
    (np.full((6, 1), "x"), "type <U1"),
    (np.zeros(6), "no 'actions'"),
    (pack([1, 2]), "no 'actions'"),
    (b"\xc1", "starts no type"),
    (DataError("no camera for base_0_rgb"), "refused the request: DataError: no camera for base"),
]


@pytest.mark.parametrize(("bad", "told"), BAD_ANSWERS, ids=[told for _, told in BAD_ANSWERS])
def test_an_answer_that_cannot_be_played_is_a_problem(
    bad: np.ndarray | bytes | Exception, told: str
) -> None:
    """It says what came. The link connects again, and the next answer is as good as any."""
    host = ScriptedHost(answers=[bad])
    with tiny.running(host) as server, linked(server.port, action_dim=1) as policy:
        wait_for_connection(policy)
        assert policy.action(sensed()) == (None, None, "")
        wait_until(policy, lambda link: link._num_failures == 1)
        problem = policy.action(sensed()).problem
        wait_for_connection(policy)
        begin(policy)

        assert played(policy, 1) == [200]
        with pytest.raises(DataError, match=told):
            raise DataError(problem)


def test_a_server_that_hangs_is_a_problem_when_its_time_is_over() -> None:
    """By the robot's clock; then it is connected anew, and the late answer is nobody's."""
    host, now_s = ScriptedHost(), [0.0]
    with (
        tiny.running(host) as server,
        linked(server.port, answer_timeout_s=60, clock=lambda: now_s[0]) as policy,
    ):
        wait_for_connection(policy)
        host.may_answer.clear()
        policy.action(sensed())
        assert host.asked.acquire(timeout=WAIT_S)
        now_s[0] = 60.0
        assert policy.action(sensed()) == (None, None, "")
        now_s[0] = 61.0

        problem = policy.action(sensed()).problem

        assert problem is not None
        assert "did not answer within 60 s" in problem
        host.may_answer.set()
        wait_for_connection(policy)
        begin(policy)
        assert played(policy, 1) == [200]
        assert policy.status().latency_ms == 0


def test_a_server_that_hangs_is_noticed_by_the_link_itself() -> None:
    """Without a loop that asks."""
    host = ScriptedHost()
    with tiny.running(host) as server, linked(server.port, answer_timeout_s=0.01) as policy:
        wait_for_connection(policy)
        host.may_answer.clear()
        policy.action(sensed())
        wait_until(policy, lambda link: "did not answer within 0.01 s" in link._failure)
        host.may_answer.set()


def test_closing_does_not_wait_for_a_server_that_hangs() -> None:
    """Its answer is still held back when the thread has ended."""
    host = ScriptedHost()
    with tiny.running(host) as server:
        with linked(server.port) as policy:
            wait_for_connection(policy)
            host.may_answer.clear()
            policy.action(sensed())
            assert host.asked.acquire(timeout=WAIT_S)
        policy._link._thread.join(WAIT_S)
        assert not policy._link._thread.is_alive()
        host.may_answer.set()


def test_closing_does_not_wait_for_a_handshake() -> None:
    """Something listens there, and never says a word."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        linked(listener.getsockname()[1], connect_timeout_s=600) as policy,
    ):
        accepted, _ = listener.accept()
        assert accepted.recv(4) == b"GET "
        assert policy.action(sensed()) == (None, None, "")
        policy.close()
        policy._link._thread.join(WAIT_S)

        assert not policy._link._thread.is_alive()
        accepted.close()


def test_a_server_that_is_not_up_yet_is_a_problem_until_it_is() -> None:
    """The operator reads what to do."""
    port = free_port()
    with linked(port) as policy:
        wait_until(policy, lambda link: link._problem is not None)
        problem = policy.action(sensed()).problem
        assert problem is not None
        assert f"no policy server answers at ws://127.0.0.1:{port}" in problem
        assert "recap serve" in problem
        with tiny.running(ScriptedHost(), port=port):
            wait_for_connection(policy)
            begin(policy)
            assert played(policy, 1) == [100]
            assert policy.status().num_reconnects == 0


def test_a_wrong_key_is_told_but_never_written(caplog: pytest.LogCaptureFixture) -> None:
    """HTTP 401; with the right key all is well."""
    with caplog.at_level(logging.DEBUG), tiny.running(ScriptedHost(), api_key="right") as server:
        with linked(server.port, api_key="wr0ng") as policy:
            wait_until(policy, lambda link: link._problem is not None)
            problem = policy.status().problem
            tiny.when(lambda: "HTTP 401" in caplog.text)  # its thread writes after it has told
        with linked(server.port, api_key="right") as policy:
            begin(policy)

    assert problem is not None
    assert "HTTP 401" in problem
    assert "wr0ng" not in problem + caplog.text


def test_a_policy_of_another_robot_is_a_problem_before_it_is_asked() -> None:
    """Where the server says how wide its actions are."""
    host = ScriptedHost(action_dim=7)
    with tiny.running(host) as server, linked(server.port, action_dim=14) as policy:
        wait_until(policy, lambda link: link._problem is not None)
        problem = policy.status().problem

    assert problem is not None
    assert "answers with actions of 7 dims; this robot takes 14" in problem
    assert host.requests == []


def test_a_message_that_is_too_large_says_what_to_change() -> None:
    """The server closes with 1009."""
    big = {"observation.state": np.zeros(10_000, np.float32)}
    with (
        tiny.running(ScriptedHost(), max_message_mb=0.01) as server,
        linked(server.port) as policy,
    ):
        wait_for_connection(policy)
        policy.action(big)
        wait_until(policy, lambda link: "--max-message-mb" in link._failure)


def test_a_camera_that_the_robot_lacks_is_a_problem() -> None:
    """Named, with what there is; nothing is sent."""
    host = ScriptedHost()
    with tiny.running(host) as server, linked(server.port, cameras={"roof": "image"}) as policy:
        wait_for_connection(policy)
        problem = policy.action(sensed()).problem

    assert problem is not None
    assert "senses no observation.images.roof; it has ['observation.state', 'prompt']" in problem
    assert host.requests == []


def test_a_request_holds_a_copy_of_what_was_sensed() -> None:
    """The robot may write into its buffers while the request waits to be sent."""
    host = ScriptedHost()
    with tiny.running(host) as server, linked(server.port) as policy:
        wait_for_connection(policy)
        observation = sensed(7)
        link = policy._link
        with link._changed:  # the thread cannot send yet
            policy.action(observation)
            observation["observation.state"][0] = 8
        wait_for_chunk(policy)

    assert float(host.requests[0]["state"][0]) == 7


def test_the_answers_of_a_server_that_follows_a_ref_name_their_policy() -> None:
    """The id changes with the answer, without a new connection."""
    answers: list[np.ndarray | bytes | Exception] = [
        pack({"actions": column(0), "policy": "next"}),
    ]
    with tiny.running(ScriptedHost(answers=answers)) as server, linked(server.port) as policy:
        wait_for_connection(policy)
        assert policy.status().policy_id == "first"
        begin(policy)

        assert policy.action(sensed()).policy_id == "next"
        assert policy.status().policy_id == "next"


def test_openpis_server_says_nothing_of_its_policy() -> None:
    """So the id is empty."""
    with tiny.running(ScriptedHost(None)) as server, linked(server.port) as policy:
        begin(policy)

        assert policy.action(sensed()).policy_id == ""


def test_an_error_of_our_own_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that nobody watches does not end in silence, and goes on."""
    with tiny.running(ScriptedHost()) as server, linked(server.port) as policy:
        wait_for_connection(policy)
        policy._link.ask({})  # no state: a KeyError where the message is made
        wait_until(policy, lambda link: "failed: KeyError" in link._failure)
        wait_for_connection(policy)
        begin(policy)

    assert "the link to" in caplog.text


def test_a_real_policy_answers_the_same_bits(tiny_policy: ServedPolicy) -> None:
    """Images are scaled here as the server would; what it reads is asked of it."""
    rng = np.random.default_rng(0)
    cameras = ("head_camera", "left_wrist_camera", "right_wrist_camera", "roof")
    observation = {
        "observation.state": rng.uniform(-1, 1, 14).astype(np.float32),
        "prompt": "put the vial in the rack",
        "episode_seed": 3,
        "frame_index": 1,
    } | {f"observation.images.{c}": rng.integers(0, 256, (48, 64, 3), np.uint8) for c in cameras}
    expected = tiny_policy.policy.infer([observation])[0]
    with (
        tiny.running(PolicyHost(tiny_policy)) as server,
        linked(server.port, sends_seed=True, action_dim=14) as policy,
    ):
        wait_for_connection(policy)
        policy.action(observation)
        wait_for_chunk(policy)
        actions = [policy.action(observation).action for _ in range(tiny.HORIZON)]

    np.testing.assert_array_equal(np.stack([a for a in actions if a is not None]), expected)


def test_status_may_be_asked_by_any_thread() -> None:
    """While the loop plays on."""
    done, has_begun, seen = threading.Event(), threading.Event(), list[float]()
    with tiny.running(ScriptedHost()) as server, linked(server.port, max_repeats=200) as policy:
        begin(policy)

        def ask() -> None:
            while not done.is_set():
                seen.append(policy.status().latency_p95_ms or 0)
                has_begun.set()

        thread = threading.Thread(target=ask)
        thread.start()
        assert has_begun.wait(WAIT_S)
        answers = [policy.action(sensed()) for _ in range(200)]
        done.set()
        thread.join(WAIT_S)

    assert all(answer.problem is None for answer in answers)
    assert seen
