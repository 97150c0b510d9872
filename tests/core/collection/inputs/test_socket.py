"""The operator's socket, over real connections."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from recap_core.collection.inputs.socket_source import RETRY_S, SocketSource
from recap_core.collection.inputs.stop_signal import StopSignal
from recap_core.config.operator import SocketConfig
from recap_core.rollout.live import EpisodeSignal, InputSource, SafetySignal
from recap_core.rollout.phase import PhaseEvent
from tests.core.collection.inputs.hearing import (
    GENEROUS_S,
    Listener,
    eventually,
    has_problem,
    works,
)


@contextlib.contextmanager
def _started(source: SocketSource, listener: Listener) -> Iterator[SocketSource]:
    source.start(listener)
    try:
        yield source
    finally:
        source.stop()


@contextlib.contextmanager
def _connected(source: SocketSource) -> Iterator["Client"]:
    with socket.create_connection(source.address, timeout=GENEROUS_S) as connection:
        yield Client(connection)


class Client:
    """Says lines and reads what it is told."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")

    def say(self, text: str) -> None:
        """Send it as it is."""
        self._connection.sendall(text.encode())

    def told(self) -> str:
        """The next line; empty where the connection has ended."""
        return self._lines.readline().decode().rstrip("\n")

    def ask(self, line: str) -> str:
        """Send a line; what it is told."""
        self.say(f"{line}\n")
        return self.told()


@pytest.fixture
def listener() -> Listener:
    return Listener(refused=frozenset({PhaseEvent.CORRECTION}))


@pytest.fixture
def source(listener: Listener) -> Iterator[SocketSource]:
    """Listens at a free port of this machine."""
    with _started(SocketSource(SocketConfig(port=0)), listener) as started:
        yield started


def test_a_line_is_a_request(source: SocketSource, listener: Listener) -> None:
    with _connected(source) as client:
        answers = [client.ask(line) for line in ("start_stop", "correction", " emergency_stop\r")]

    assert answers == ["ok", "refused", "ok"]
    assert listener.requests == [
        EpisodeSignal.START_STOP,
        PhaseEvent.CORRECTION,
        SafetySignal.EMERGENCY_STOP,
    ]
    assert set(listener.sources) == {"socket"}


def test_lines_may_come_in_any_parts(source: SocketSource, listener: Listener) -> None:
    with _connected(source) as client:
        client.say("succ")
        client.say("ess\ndiscard\nqu")
        client.say("it\n")
        assert [client.told() for _ in range(3)] == ["ok"] * 3

    assert listener.requests == [
        EpisodeSignal.SUCCESS,
        EpisodeSignal.DISCARD,
        EpisodeSignal.QUIT,
    ]


def test_what_is_not_known_is_said(source: SocketSource, listener: Listener) -> None:
    with _connected(source) as client:
        assert client.ask("correct") == (
            "unknown: 'correct'; did you mean 'correction'? There are start_stop, success, "
            "discard, pause_resume, correction, emergency_stop, reset, quit"
        )
        assert client.ask("").startswith("unknown: ''. There are")
        assert client.ask("success") == "ok"

    assert listener.requests == [EpisodeSignal.SUCCESS]


def test_a_web_page_cannot_send_requests(source: SocketSource, listener: Listener) -> None:
    """A form sent here by a browser has lines that would be requests."""
    with _connected(source) as client:
        client.say("POST / HTTP/1.1\r\nHost: localhost\r\n\r\nstart_stop\n")
        assert client.told() == "error: this is no web server"
        assert client.told() == ""

    assert listener.requests == []


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_long_line_ends_the_connection(
    source: SocketSource, listener: Listener, end: str
) -> None:
    with _connected(source) as client:
        client.say("x" * 300 + end)
        assert client.told() == "error: a line is longer than 256 bytes"
        assert client.told() == ""
    with _connected(source) as client:
        assert client.ask("quit") == "ok"

    assert listener.requests == [EpisodeSignal.QUIT]


def test_there_are_not_too_many_clients(listener: Listener) -> None:
    with (
        _started(SocketSource(SocketConfig(port=0, max_clients=1)), listener) as source,
        _connected(source) as first,
    ):
        assert first.ask("success") == "ok"
        with _connected(source) as second:
            assert second.told() == "error: no more clients than 1 at a time"
            assert second.told() == ""
        assert first.ask("discard") == "ok"

    assert listener.requests == [EpisodeSignal.SUCCESS, EpisodeSignal.DISCARD]


def test_when_a_client_goes_another_may_come(listener: Listener) -> None:
    with _started(SocketSource(SocketConfig(port=0, max_clients=1)), listener) as source:

        def comes() -> bool:
            with _connected(source) as client, contextlib.suppress(ConnectionError):
                return client.ask("success") == "ok"
            return False

        assert comes()
        eventually(comes, "a free place")


def test_a_token_comes_first(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_TOKEN", "open sesame")
    config = SocketConfig(port=0, token_variable="CELL_TOKEN")  # noqa: S106 - a name
    with _started(SocketSource(config), listener) as source:
        with _connected(source) as client:
            assert client.ask("token open sesame") == "ok"
            assert client.ask("reset") == "ok"
        for wrong in ("reset", "token open", "token open sesame 2"):
            with _connected(source) as client:
                client.say(f"{wrong}\nquit\n")
                assert client.told() == "error: say `token <token>` first"
                assert client.told() == ""

    assert listener.requests == [SafetySignal.RESET]


def test_without_its_token_it_does_not_listen(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELL_TOKEN", raising=False)
    config = SocketConfig(port=0, token_variable="CELL_TOKEN")  # noqa: S106 - a name

    with _started(SocketSource(config), listener) as source:
        assert has_problem(source, "the environment variable CELL_TOKEN is empty")()
        assert source.address == ("127.0.0.1", 0)


def test_a_port_in_use_is_a_problem_until_it_is_free(listener: Listener) -> None:
    waits: list[float] = []

    def wait(stop: StopSignal, wait_s: float) -> bool:
        waits.append(wait_s)
        return stop.wait(0.005)

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        source = SocketSource(SocketConfig(port=port), wait=wait)
        source.start(listener)
        assert has_problem(source, f"nothing can listen at 127.0.0.1:{port}")()
    eventually(works(source), "listening")
    with _connected(source) as client:
        assert client.ask("success") == "ok"
    source.stop()

    assert set(waits) == {RETRY_S}


def test_after_stop_nobody_listens(source: SocketSource) -> None:
    with _connected(source) as client:
        assert client.ask("success") == "ok"
        source.stop()
        assert client.told() == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(source.address, timeout=GENEROUS_S)
    assert source.status().problem == "it has been stopped"


def test_it_is_an_input_source(source: SocketSource) -> None:
    assert isinstance(source, InputSource)
