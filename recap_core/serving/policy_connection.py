"""One websocket connection to a policy server, which any thread can cut."""

import logging
import socket
import threading
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from recap_core.errors import DataError, ServerError
from recap_core.serving.protocol import API_KEY_HEADER, API_KEY_SCHEME, DEFAULT_PORT, unpack

_TOO_BIG = 1009
_FINAL_STATUSES = (401, 403, 404)
"""Answers to a handshake that waiting will not change."""


class PolicyConnection:
    """A connection that is opened once.

    :meth:`open` and :meth:`exchange` belong to one thread; :meth:`cut` ends them from any other.

    Args:
        url: What :func:`server_url` returned.
        api_key: Sent as ``Authorization: Api-Key <key>``.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._url = url
        self._headers = {API_KEY_HEADER: f"{API_KEY_SCHEME} {api_key}"} if api_key else {}
        self._lock = threading.Lock()
        self._connection: ClientConnection | None = None
        self._is_cut = False

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent, as far as this end knows."""
        connection = self._connection
        return connection is not None and connection.state is State.OPEN

    def open(self, timeout_s: float | int) -> dict[str, Any]:
        """Connect, and return what the server says of itself.

        Raises:
            OSError: If nobody answers in time; also ``TimeoutError``.
            InvalidHandshake: If no websocket is there, or the server refuses this client.
            ConnectionClosed: If the server, or :meth:`cut`, closed it.
            ServerError: If what answers is no policy server.
        """
        # At level DEBUG it would write headers down, and with them the key.
        quiet = logging.getLogger(f"{__name__}.websockets")
        quiet.setLevel(logging.INFO)
        connection = connect(
            self._url,
            logger=quiet,
            additional_headers=self._headers,
            compression=None,
            max_size=None,
            proxy=None,  # robots and their policies share a network
            open_timeout=timeout_s,
            ping_timeout=None,  # exchange() has a timeout of its own
            create_connection=self._kept,  # pyright: ignore[reportArgumentType] # any factory will do
        )
        try:
            return _metadata(connection.recv(timeout=timeout_s), self._url)
        except BaseException:
            self.close()
            raise

    def exchange(self, request: bytes, timeout_s: float | int) -> bytes | str:
        """Send a packed request and return the answer: text is a refusal.

        Raises:
            TimeoutError: If it did not come in time: close the connection, since a late answer
                would be taken for the next one's.
            ConnectionClosed: If the connection is lost, or :meth:`cut`.
            OSError: If the network fails.
        """
        connection = self._connection
        if connection is None:
            raise ConnectionError(f"{self._url} is not connected")
        connection.send(request)
        return connection.recv(timeout=timeout_s)

    def close(self) -> None:
        """End it as the protocol has it; waits for the server for a second at most."""
        connection = self._connection
        if connection is not None:
            connection.close_timeout = 1
            connection.close()

    def cut(self) -> None:
        """End it at once, whatever another thread is doing with it; never blocks."""
        with self._lock:
            self._is_cut = True
            connection = self._connection
        if connection is not None:
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended already

    def _kept(self, *args: Any, **options: Any) -> ClientConnection:  # noqa: ANN401 - websockets'
        """The connection before its handshake, so that :meth:`cut` reaches that, too."""
        with self._lock:
            if self._is_cut:
                raise ConnectionAbortedError("cut")
            self._connection = ClientConnection(*args, **options)
            return self._connection


def server_url(host: str, port: int | None) -> str:
    """Address of a server; ``host`` may be a URL, as openpi's client takes it."""
    if host.startswith(("ws://", "wss://")):
        return host if port is None else f"{host}:{port}"
    name = f"[{host}]" if ":" in host else host
    return f"ws://{name}:{DEFAULT_PORT if port is None else port}"


def checked_answer(data: bytes) -> dict[str, Any]:
    """The answer to a request.

    Raises:
        DataError: If it has no ``actions`` of shape (h, a).
    """
    answer = unpack(data)
    actions = answer.get("actions") if isinstance(answer, dict) else None
    if not isinstance(actions, np.ndarray) or actions.ndim != 2:
        raise DataError("the server's answer has no 'actions' of shape (h, a).")
    return answer


def refusal(url: str, error: InvalidStatus) -> str | None:
    """Why a server refuses this client for good; None where waiting may help."""
    status = error.response.status_code
    if status not in _FINAL_STATUSES:
        return None
    body = error.response.body.decode(errors="replace").strip()[:200]
    return (
        f"{url} refuses this client with HTTP {status}: {body}. Check the API key and the address."
    )


def too_big(url: str, error: Exception, num_bytes: int) -> str | None:
    """What to do about a message that is too large; None where ``error`` is something else."""
    if not isinstance(error, ConnectionClosed) or error.rcvd is None:
        return None
    if error.rcvd.code != _TOO_BIG:
        return None
    return (
        f"{url} does not accept a message of {num_bytes / 2**20:.1f} MiB. "
        "Send smaller images, or serve with a larger --max-message-mb."
    )


def _metadata(first: bytes | str, url: str) -> dict[str, Any]:
    metadata = unpack(first) if isinstance(first, bytes) else None
    if not isinstance(metadata, dict):
        raise ServerError(
            f"{url} is no policy server: its first message is no map. Check the address."
        )
    return metadata
