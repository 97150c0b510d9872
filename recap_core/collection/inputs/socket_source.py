"""A TCP port through which phones, scripts and other programs are the operator."""

import contextlib
import logging
import selectors
import socket
from collections.abc import Callable

from recap_core.collection.inputs.health import SourceHealth
from recap_core.collection.inputs.listening import Listening
from recap_core.collection.inputs.socket_lines import Answer, ClientLines
from recap_core.collection.inputs.stop_signal import StopSignal
from recap_core.config.operator import SocketConfig
from recap_core.errors import ConfigError
from recap_core.rollout.live import Heard, InputStatus

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""A port that is in use is tried again after this time, s."""


class SocketSource:
    """Listens at a port in one thread; clients that break the rules are disconnected."""

    def __init__(
        self,
        config: SocketConfig,
        *,
        wait: Callable[[StopSignal, float], bool] = StopSignal.wait,
    ) -> None:
        """Set up; nothing is opened yet.

        Args:
            config: Where to listen, and the limits.
            wait: Waits between two attempts; True: it is time to stop.
        """
        self._config = config
        self._wait = wait
        self._health = SourceHealth("socket", {})
        self._address = (config.host, config.port)
        self._listening = Listening(self._health)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; the port that was free, once it listens there."""
        return self._address

    def start(self, heard: Heard) -> None:
        """Begin to listen; a port that is in use is a problem, no error."""
        try:
            token = self._config.token()
        except ConfigError as error:
            self._health.report(str(error))
            return
        server = self._opened()
        self._listening.begin(lambda stop: self._listen(server, token, stop, heard))

    def status(self) -> InputStatus:
        """How it is doing now."""
        return self._health.status()

    def stop(self) -> None:
        """Disconnect all clients and give the port back."""
        if self._listening.end():
            self._health.rests("it has been stopped")

    def _opened(self) -> socket.socket | None:
        host, port = self._config.host, self._config.port
        try:
            server = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except OSError as error:
            self._health.report(
                f"nothing can listen at {host}:{port} ({error.strerror}); set socket.port to "
                "another, or end the program that has it"
            )
            return None
        server.settimeout(0)
        self._address = (host, server.getsockname()[1])
        self._health.works(f"listening at {host}:{self._address[1]}")
        return server

    def _listen(
        self, server: socket.socket | None, token: str | None, stop: StopSignal, heard: Heard
    ) -> None:
        while server is None:
            if self._wait(stop, RETRY_S):
                return
            server = self._opened()
        with contextlib.closing(_Clients(server, self._config, token, stop)) as clients:
            while not stop.is_set:
                clients.serve(heard)


class _Clients:
    """The listening socket and everybody who is connected to it."""

    def __init__(
        self, server: socket.socket, config: SocketConfig, token: str | None, stop: StopSignal
    ) -> None:
        self._server = server
        self._config = config
        self._token = token
        self._lines: dict[socket.socket, ClientLines] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(server, selectors.EVENT_READ)
        self._selector.register(stop, selectors.EVENT_READ)

    def serve(self, heard: Heard) -> None:
        """Wait until there is something to do, or it is time to stop, and do it."""
        for key, _ in self._selector.select():
            client = key.fileobj
            if client is self._server:
                self._accept()
            elif isinstance(client, socket.socket):
                self._hear(client, heard)

    def close(self) -> None:
        """Give the port back, and disconnect everybody."""
        self._server.close()
        for client in list(self._lines):
            self._drop(client)
        self._selector.close()

    def _accept(self) -> None:
        try:
            client, address = self._server.accept()
        except OSError:  # it has gone again
            return
        client.settimeout(0)
        if len(self._lines) >= self._config.max_clients:
            _send(client, Answer(f"error: no more clients than {len(self._lines)} at a time"))
            _close(client)
            return
        logger.info("socket: %s is connected", address[0])
        self._lines[client] = ClientLines(
            token=self._token, max_line_bytes=self._config.max_line_bytes, name="socket"
        )
        self._selector.register(client, selectors.EVENT_READ)

    def _hear(self, client: socket.socket, heard: Heard) -> None:
        try:
            data = client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        for answer in self._lines[client].feed(data, heard):
            if not _send(client, answer) or answer.is_last:
                self._drop(client)
                return

    def _drop(self, client: socket.socket) -> None:
        del self._lines[client]
        self._selector.unregister(client)
        _close(client)


def _send(client: socket.socket, answer: Answer) -> bool:
    """Send one line; False where the client does not take it."""
    line = f"{answer.text}\n".encode()
    try:
        return client.send(line) == len(line)
    except OSError:
        return False


def _close(client: socket.socket) -> None:
    """Close the connection such that the last answer still arrives."""
    with contextlib.suppress(OSError), client:
        client.shutdown(socket.SHUT_WR)
        for _ in range(16):  # what was sent and not read would make the system cut it off
            if not client.recv(4096):
                return
