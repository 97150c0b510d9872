"""The server, asked over real sockets."""

import json
import socket
import threading
import time
from collections.abc import Generator
from itertools import repeat
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from recap_core.errors import ServerError
from recap_core.serving.host import PolicyHost, ServedPolicy
from recap_core.serving.protocol import CLOSE_REASON, pack, unpack
from recap_core.serving.recorder import Recorder
from recap_core.serving.server import bind
from recap_core.serving.statistics import ServingStatistics
from tests.core.serving import tiny
from tests.core.serving.tiny import PATIENCE_S, when
from tests.ports import free_port

KEY = "s3cret-key"


def open_client(server: tiny.Running, **options: Any) -> ClientConnection:  # noqa: ANN401
    return connect(server.url, compression=None, max_size=None, proxy=None, **options)


def ask(client: Connection, message: Any) -> Any:  # noqa: ANN401 - any message
    client.send(message if isinstance(message, bytes | str) else pack(message))
    answer = client.recv(timeout=PATIENCE_S)
    return answer if isinstance(answer, str) else unpack(answer)


def closed_with(client: Connection) -> tuple[int, str]:
    """Close code and reason that the server sent."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=PATIENCE_S)
    close = caught.value.rcvd
    return (close.code, close.reason) if close else (1006, "")


def test_metadata_comes_first(server: tiny.Running) -> None:
    """One map: what the policy is and takes, under one key, so that no client stumbles over it."""
    with open_client(server) as client:
        metadata = unpack(client.recv(timeout=PATIENCE_S))  # pyright: ignore[reportArgumentType]

    assert list(metadata) == ["policy"]
    facts = metadata["policy"]
    assert (facts["name"], facts["state_dim"]) == ("tiny", 14)
    assert (facts["action_horizon"], facts["action_dim"]) == (8, 14)
    assert facts["cameras"]["base_0_rgb"] == "observation.images.head_camera"


def test_an_answer_has_openpis_keys(server: tiny.Running) -> None:
    """Actions in float64; the time of the previous request from the second one on."""
    with open_client(server) as client:
        client.recv(timeout=PATIENCE_S)
        first, second = (ask(client, tiny.observation(i)) for i in range(2))

    assert set(first) == {"actions", "policy_timing", "server_timing"}
    assert (first["actions"].shape, first["actions"].dtype) == ((8, 14), np.float64)
    assert set(first["policy_timing"]) == {"infer_ms"}
    assert set(first["server_timing"]) == {"infer_ms"}
    assert set(second["server_timing"]) == {"infer_ms", "prev_total_ms"}
    assert second["server_timing"]["prev_total_ms"] >= first["server_timing"]["infer_ms"] > 0
    assert first["server_timing"]["infer_ms"] >= first["policy_timing"]["infer_ms"]


def test_the_actions_are_the_policys(server: tiny.Running, tiny_policy: ServedPolicy) -> None:
    """The same bits as in this process, for every layout that a client may send."""
    aloha = tiny.observation(3)
    state, images = aloha["state"], list(aloha["images"].values())
    names = ("head_camera", "left_wrist_camera", "right_wrist_camera")
    rest = {k: aloha[k] for k in ("prompt", "adv_ind", "episode_seed", "frame_index")}
    own = {f"observation.images.{n}": i for n, i in zip(names, images, strict=True)}
    own |= {"observation.state": state, **rest}
    limb = {f"{n}-images-rgb": i for n, i in zip(names, images, strict=True)}
    limb |= {"state": state, **rest}

    with open_client(server) as client:
        client.recv(timeout=PATIENCE_S)
        answers = [ask(client, message)["actions"] for message in (aloha, own, limb)]

    expected = tiny_policy.policy.infer([own])[0]
    for actions in answers:
        np.testing.assert_array_equal(actions, expected)


def test_a_missing_condition_is_positive(server: tiny.Running) -> None:
    """Clients of limb send none; ``none`` and ``negative`` are other texts."""
    with open_client(server) as client:
        client.recv(timeout=PATIENCE_S)
        base = tiny.observation()
        del base["adv_ind"]
        default, positive, negative, none = (
            ask(client, base | extra)["actions"]
            for extra in ({}, *({"adv_ind": a} for a in ("positive", "negative", "none")))
        )

    np.testing.assert_array_equal(default, positive)
    assert not np.allclose(default, negative)
    assert not np.allclose(default, none)


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in tiny.observation().items() if k != key}


WRONG: list[tuple[Any, str]] = [
    (without("prompt"), "no 'prompt'"),
    (without("state"), "no state"),
    (without("images"), "no camera for base_0_rgb"),
    (tiny.observation(state=np.zeros(13, np.float32)), "13"),
    (tiny.observation(adv_ind="best"), "adv_ind is 'best'"),
    (tiny.observation(state=np.full(14, np.nan, np.float32)), "not finite"),
    (tiny.observation(frame_index=-1), "frame_index is -1"),
    (tiny.observation(episode_seed=2**64 - 1), "episode_seed is"),
    (without("frame_index"), "came alone"),
    (tiny.observation(prompt="x" * 5000), "the prompt has 5000 characters"),
    (tiny.observation(prompt=None), "no 'prompt' and the policy no default one"),
    ([1, 2, 3], "expected a map"),
    (b"\xc1", "starts no type"),
    (b"", "ends after 0 bytes"),
    ("hello", "came as text"),
]


@pytest.mark.parametrize(("message", "told"), WRONG, ids=[told for _, told in WRONG])
def test_a_wrong_request_is_told_and_ended_as_openpi_does(
    server: tiny.Running,
    message: Any,  # noqa: ANN401 - anything a client may send
    told: str,
) -> None:
    """A text frame with one line, no traceback; then 1011. Others go on."""
    with open_client(server) as other, open_client(server) as client:
        other.recv(timeout=PATIENCE_S)
        client.recv(timeout=PATIENCE_S)

        text = ask(client, message)

        assert isinstance(text, str)
        assert told in text
        assert "\n" not in text
        assert closed_with(client) == (1011, CLOSE_REASON)
        assert ask(other, tiny.observation())["actions"].shape == (8, 14)


def test_a_bug_is_told_with_the_end_of_its_traceback(
    tiny_policy: ServedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not foreseen names the exception; the server goes on."""
    with tiny.running(PolicyHost(tiny_policy)) as server:
        monkeypatch.setattr(tiny_policy.policy, "_params", None)
        with open_client(server) as client:
            client.recv(timeout=PATIENCE_S)
            text = ask(client, tiny.observation())
            assert closed_with(client) == (1011, CLOSE_REASON)
        monkeypatch.undo()
        with open_client(server) as client:
            client.recv(timeout=PATIENCE_S)
            assert ask(client, tiny.observation())["actions"].shape == (8, 14)

    assert "in sample_actions" in text or "recap_core/serving" in text
    assert "Error: " in text or "Violation: " in text
    assert len(text) < 4000
    assert server.statistics.plain({})["internal_errors_total"] == 1


def test_health_and_other_plain_requests(server: tiny.Running) -> None:
    """As openpi: 200 for /healthz, 426 for whatever else is no websocket."""
    assert server.get("/healthz") == (200, "text/plain; charset=utf-8", "OK\n")
    assert server.get("/")[0] == 426
    assert server.get("/healthz/x")[0] == 426


def test_statistics_are_served(server: tiny.Running) -> None:
    """JSON for people, Prometheus' format for machines; the same numbers."""
    with open_client(server) as client:
        client.recv(timeout=PATIENCE_S)
        for i in range(3):
            ask(client, tiny.observation(i))
        ask(client, {})

    status, content_type, body = server.get("/stats")
    stats = json.loads(body)
    assert (status, content_type) == (200, "application/json; charset=utf-8")
    assert (stats["inference"]["count"], stats["request"]["count"]) == (3, 3)
    assert stats["request_errors_total"] == 1
    assert 0 < stats["inference"]["p50_ms"] <= stats["request"]["p99_ms"]
    status, content_type, body = server.get("/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "recap_serve_request_seconds_count 3\n" in body
    assert 'recap_serve_policy_info{name="tiny",id=""} 1\n' in body


def test_a_message_over_the_limit_ends_the_connection(tiny_policy: ServedPolicy) -> None:
    """Code 1009; one just below it is read, also when it comes in pieces."""
    with tiny.running(PolicyHost(tiny_policy), max_message_mb=0.0625) as server:
        with open_client(server) as client:
            client.recv(timeout=PATIENCE_S)
            client.send(pack(tiny.observation(note=b"x" * 65_536)))
            assert closed_with(client)[0] == 1009
        with open_client(server) as client:
            client.recv(timeout=PATIENCE_S)
            data = pack(tiny.observation(note=b"x" * 50_000))
            client.send([data[:100], b"", data[100:]])
            assert isinstance(client.recv(timeout=PATIENCE_S), bytes)


def test_a_message_of_many_empty_pieces_is_refused(tiny_policy: ServedPolicy) -> None:
    """Their bytes would never reach the limit."""
    with tiny.running(PolicyHost(tiny_policy), max_fragments=50) as server:
        with open_client(server) as client:
            client.recv(timeout=PATIENCE_S)
            with pytest.raises(ConnectionClosed):
                client.send(repeat(b""))  # without end: however fast they are sent
        assert server.statistics.plain({})["request_errors_total"] == 1


def test_a_key_is_asked_for_where_one_is_set(tiny_policy: ServedPolicy) -> None:
    """401 without it and with a wrong one, also for statistics; /healthz is open."""
    right = {"Authorization": f"Api-Key {KEY}"}
    with tiny.running(PolicyHost(tiny_policy), api_key=KEY) as server:
        for headers in ({}, {"Authorization": f"Api-Key {KEY}x"}, {"Authorization": KEY}):
            with pytest.raises(InvalidStatus) as caught:
                open_client(server, additional_headers=headers)
            assert caught.value.response.status_code == 401
        assert server.get("/metrics")[0] == 401
        assert server.get("/metrics", right)[0] == 200
        assert server.get("/healthz")[0] == 200
        with open_client(server, additional_headers=right) as client:
            client.recv(timeout=PATIENCE_S)
            assert ask(client, tiny.observation())["actions"].shape == (8, 14)


def test_a_web_page_cannot_connect(server: tiny.Running) -> None:
    """Browsers say where a script comes from; robots do not."""
    with pytest.raises(InvalidStatus) as caught:
        open_client(server, additional_headers={"Origin": "http://evil.example"})
    assert caught.value.response.status_code == 403


def test_there_is_a_place_for_so_many_clients(tiny_policy: ServedPolicy) -> None:
    """The next one is told 503, and gets the place that another leaves."""
    with tiny.running(PolicyHost(tiny_policy), max_connections=2) as server:
        first, second = open_client(server), open_client(server)
        first.recv(timeout=PATIENCE_S)
        second.recv(timeout=PATIENCE_S)
        with pytest.raises(InvalidStatus) as caught:
            open_client(server)
        assert caught.value.response.status_code == 503
        assert server.get("/healthz")[0] == 200
        first.close()
        with retried(server) as third:
            third.recv(timeout=PATIENCE_S)
        second.close()


def queue_length(server: tiny.Running) -> int:
    """Requests that somebody waits for."""
    return server.statistics.plain({})["queue_length"]


def num_answered(server: tiny.Running, *, at_least: int) -> int:
    """Requests that were answered; an answer is counted a moment after it was sent."""
    when(lambda: server.statistics.plain({})["request"]["count"] >= at_least)
    return server.statistics.plain({})["request"]["count"]


def retried(server: tiny.Running) -> ClientConnection:
    """A connection, once the server has noticed that another one ended."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return open_client(server)
        except InvalidStatus:
            assert time.monotonic() < deadline, "no place became free"
            time.sleep(0.02)


def test_many_clients_get_their_own_answers(
    server: tiny.Running, tiny_policy: ServedPolicy
) -> None:
    """Eight at once, interleaved: every answer is that of its own observation."""
    expected = [tiny_policy.answer(tiny.observation(i))["actions"] for i in range(8)]
    wrong: list[int] = []

    def work(number: int) -> None:
        with open_client(server) as client:
            client.recv(timeout=PATIENCE_S)
            for _ in range(10):
                actions = ask(client, tiny.observation(number))["actions"]
                if not np.array_equal(actions, expected[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert num_answered(server, at_least=80) == 80


def test_a_request_in_flight_is_answered_at_shutdown(tiny_policy: ServedPolicy) -> None:
    """It gets its actions, then 1001; one that idles 1001 at once; nobody new comes in."""
    host = tiny.GatedHost(tiny_policy)
    with tiny.running(host, port=free_port()) as server:
        busy, idle = open_client(server), open_client(server)
        busy.recv(timeout=PATIENCE_S)
        idle.recv(timeout=PATIENCE_S)
        busy.send(pack(tiny.observation()))
        when(lambda: queue_length(server) == 1)

        server.begin_to_stop()

        assert closed_with(idle)[0] == 1001
        host.gate.set()
        answer = unpack(busy.recv(timeout=PATIENCE_S))  # pyright: ignore[reportArgumentType]
        assert set(answer) >= {"actions"}
        assert closed_with(busy)[0] == 1001
        assert server.join(PATIENCE_S)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_the_server_answers_others_while_it_infers(tiny_policy: ServedPolicy) -> None:
    """/healthz and handshakes do not wait for the policy."""
    host = tiny.GatedHost(tiny_policy)
    with tiny.running(host) as server, open_client(server) as client:
        client.recv(timeout=PATIENCE_S)
        client.send(pack(tiny.observation()))
        when(lambda: queue_length(server) == 1)

        assert server.get("/healthz")[0] == 200
        with open_client(server) as other:
            other.recv(timeout=PATIENCE_S)
        assert json.loads(server.get("/stats")[2])["queue_length"] == 1
        host.gate.set()
        client.recv(timeout=PATIENCE_S)


def test_a_client_that_left_is_not_worked_for(tiny_policy: ServedPolicy) -> None:
    """Requests that wait behind another are dropped when their clients vanish."""
    host = tiny.GatedHost(tiny_policy)
    with tiny.running(host) as server, open_client(server) as client:
        client.recv(timeout=PATIENCE_S)
        client.send(pack(tiny.observation()))
        when(lambda: queue_length(server) == 1)  # it is the one that is worked on
        leavers = [open_client(server) for _ in range(5)]
        for leaver in leavers:
            leaver.recv(timeout=PATIENCE_S)
            leaver.send(pack(tiny.observation()))
        when(lambda: queue_length(server) == 6)
        for leaver in leavers:
            leaver.socket.shutdown(socket.SHUT_RDWR)
        when(lambda: queue_length(server) == 1)
        host.gate.set()
        client.recv(timeout=PATIENCE_S)
        ask(client, tiny.observation())

        assert num_answered(server, at_least=2) == 2


def test_requests_are_recorded(tiny_policy: ServedPolicy, tmp_path: Path) -> None:
    """Flat npz files without pickle, in order, no more than allowed; names cannot leave them."""
    statistics = ServingStatistics()
    recorder = Recorder(tmp_path / "records", limit=2, statistics=statistics)
    host = PolicyHost(tiny_policy, recorder=recorder)
    with tiny.running(host, statistics=statistics) as server, open_client(server) as client:
        client.recv(timeout=PATIENCE_S)
        answers = [
            ask(client, tiny.observation(i) | {"../../evil": 1, "n": None}) for i in range(3)
        ]
    recorder.close()

    files = sorted((tmp_path / "records").iterdir())
    assert [path.name for path in files] == ["step_000000.npz", "step_000001.npz"]
    with np.load(files[1], allow_pickle=False) as found:
        np.testing.assert_array_equal(found["outputs/actions"], answers[1]["actions"])
        np.testing.assert_array_equal(
            found["inputs/images/cam_high"], tiny.observation(1)["images"]["cam_high"]
        )
        assert str(found["inputs/prompt"]) == "put the vial in the rack"
        assert "inputs/______evil" in found
    assert statistics.plain({})["recorded_total"] == 2


def test_recording_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Files of an earlier server count, and are not overwritten; its leftovers go."""
    (tmp_path / "step_000007.npz").write_bytes(b"mine")
    (tmp_path / ".step_000008.partial").write_bytes(b"half")
    recorder = Recorder(tmp_path, limit=2, statistics=ServingStatistics())

    for _ in range(3):
        recorder.record({"x": 1}, {"actions": np.zeros((1, 2))})
    recorder.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_000007.npz",
        "step_000008.npz",
    ]
    assert (tmp_path / "step_000007.npz").read_bytes() == b"mine"


def test_small_frames_are_not_held_back() -> None:
    """Asyncio sets TCP_NODELAY where the listener names TCP; else an error's close waits 40 ms."""
    with bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_port_in_use_is_named(server: tiny.Running) -> None:
    """With what to do about it."""
    with pytest.raises(ServerError, match=f"127.0.0.1:{server.port} .*--port"):
        bind("127.0.0.1", server.port)


def test_extra_metadata_stands_beside_the_policys(tiny_policy: ServedPolicy) -> None:
    """The Aloha clients of openpi look for ``reset_pose`` at the top."""
    host = PolicyHost(tiny_policy, metadata={"reset_pose": [0, -1.5, 1.5, 0, 0, 0]})

    metadata = msgpack.unpackb(host.metadata())

    assert metadata["reset_pose"] == [0, -1.5, 1.5, 0, 0, 0]
    assert metadata["policy"]["name"] == "tiny"


@pytest.fixture(autouse=True)
def _no_threads_stay() -> Generator[None]:
    """Every server and recorder has ended."""
    yield
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"server", "recorder"}
