"""The robot's side of a policy server: needs neither JAX nor torch.

Works with ``recap serve`` and with openpi's own server.
"""

import http.client
import logging
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from recap_core.errors import DataError, ServerError
from recap_core.serving.protocol import (
    API_KEY_HEADER,
    API_KEY_SCHEME,
    DEFAULT_HOST,
    DEFAULT_PORT,
    HEALTH_PATH,
    pack,
    unpack,
)

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_PROBE_TIMEOUT_S = 2.0
_HANDSHAKE_TIMEOUT_S = 10.0
_MAX_SENDS = 4
"""Attempts at one request."""
_TOO_BIG = 1009
_FINAL_STATUSES = (401, 403, 404)
"""Answers to a handshake that waiting will not change."""


class WebsocketPolicy:
    """A policy behind openpi's websocket protocol, with the methods of openpi's own client.

    Waits until the server answers, and connects again by itself where the server was restarted or
    the network failed; a request that got no answer is sent again.

    Args:
        host: Name or address, or a whole ``ws://`` URL.
        port: None: that of the URL, else openpi's default.
        api_key: Sent as ``Authorization: Api-Key <key>``.
        connect_timeout_s: Longest wait for a server, at first and after a failure.
        request_timeout_s: Longest wait for an answer.

    Raises:
        ServerError: If no server answered in time, or it refuses this client.
    """

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int | None = None,
        api_key: str | None = None,
        *,
        connect_timeout_s: float | int = 300.0,
        request_timeout_s: float | int = 60.0,
    ) -> None:
        self._url = _url(host, port)
        self._headers = {API_KEY_HEADER: f"{API_KEY_SCHEME} {api_key}"} if api_key else {}
        self._connect_timeout_s = connect_timeout_s
        self._request_timeout_s = request_timeout_s
        self._connection: ClientConnection | None = None
        self._metadata: dict[str, Any] = {}
        self._connect(time.monotonic() + connect_timeout_s)

    def __enter__(self) -> "WebsocketPolicy":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def get_server_metadata(self) -> dict[str, Any]:
        """What the server said of itself when this client connected last."""
        return self._metadata

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """The server's answer: ``actions`` of shape (h, a), and timings.

        Raises:
            ServerError: If the server refuses the observation, does not answer in time, or does
                not come back.
            DataError: If the observation cannot be packed, or the answer is malformed.
        """
        answer = self._exchange(pack(observation))
        if isinstance(answer, str):
            self.close()  # the server does so, too
            raise ServerError(f"{self._url} refused the request: {answer}")
        return _answer(answer)

    def reset(self) -> None:
        """Nothing: a server remembers nothing of a client."""

    def close(self) -> None:
        """Disconnect; the next request connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close_timeout = 1
            connection.close()

    def _exchange(self, request: bytes) -> bytes | str:
        """Send a request until it is answered."""
        reason: Exception | None = None
        for _ in range(_MAX_SENDS):
            connection = self._connection
            if connection is None:
                connection = self._connect(time.monotonic() + self._connect_timeout_s)
            try:
                connection.send(request)
                return connection.recv(timeout=self._request_timeout_s)
            except TimeoutError as error:
                self.close()  # a late answer must not be taken for the next one's
                raise ServerError(
                    f"{self._url} did not answer within {self._request_timeout_s:g} s. Look at its "
                    "log, or allow more time with request_timeout_s."
                ) from error
            except (ConnectionClosed, OSError) as error:
                self.close()
                if isinstance(error, ConnectionClosed) and _close_code(error) == _TOO_BIG:
                    raise ServerError(
                        f"{self._url} does not accept a message of {len(request) / 2**20:.1f} MiB. "
                        "Send smaller images, or serve with a larger --max-message-mb."
                    ) from error
                logger.warning("lost %s (%s); connecting again", self._url, error)
                reason = error
        raise ServerError(
            f"{self._url} closed the connection at {_MAX_SENDS} attempts at one request "
            f"({reason}). Look at its log."
        ) from reason

    def _connect(self, deadline: float) -> ClientConnection:
        """A connection whose metadata has been read."""
        pause_s, reason = _FIRST_PAUSE_S, "no answer"
        while True:
            try:
                probe(self._url)
                return self._open()
            except InvalidStatus as error:
                status = error.response.status_code
                reason = f"HTTP {status}"
                if status in _FINAL_STATUSES:
                    raise ServerError(
                        f"{self._url} refuses this client with HTTP {status}: "
                        f"{error.response.body.decode(errors='replace').strip()[:200]}. "
                        "Check the API key and the address."
                    ) from error
            except (
                OSError,
                ConnectionClosed,
                InvalidHandshake,
                http.client.HTTPException,
            ) as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() + pause_s > deadline:
                raise ServerError(
                    f"no policy server answers at {self._url} ({reason}). Start one with 'recap "
                    "serve', check the address, or allow more time with connect_timeout_s."
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _open(self) -> ClientConnection:
        connection = connect(
            self._url,
            additional_headers=self._headers,
            compression=None,
            max_size=None,
            proxy=None,  # robots and their policies share a network
            open_timeout=_HANDSHAKE_TIMEOUT_S,
            ping_timeout=None,  # infer() has a timeout of its own
        )
        try:
            first = connection.recv(timeout=_HANDSHAKE_TIMEOUT_S)
            self._metadata = _metadata(first, self._url)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection


class RemotePolicy:
    """A policy server as the ``PolicyClient`` that rollouts and evaluations take.

    Observations carry the dataset's feature names; only what the server's policy reads is sent,
    where the server says what that is.
    """

    def __init__(self, client: WebsocketPolicy) -> None:
        self._client = client

    def infer(self, observations: Sequence[Mapping[str, Any]]) -> list[Float[np.ndarray, "h a"]]:
        """One float32 chunk per observation.

        Raises:
            ServerError: As :meth:`WebsocketPolicy.infer`.
        """
        policy = self._client.get_server_metadata().get("policy")
        facts = policy if isinstance(policy, dict) else {}
        wanted = {*facts.get("state", ()), *facts.get("cameras", {}).values()}
        return [
            np.asarray(self._client.infer(_sent(observation, wanted))["actions"], np.float32)
            for observation in observations
        ]

    def reset(self) -> None:
        """Forget nothing: every request stands alone."""
        self._client.reset()


def probe(url: str) -> None:
    """Ask ``/healthz`` of a server whether it is ready.

    Raises:
        OSError: If nobody answers there, or not with 200.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "wss" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", HEALTH_PATH)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise ConnectionError(f"{HEALTH_PATH} answers {status}")


def _close_code(error: ConnectionClosed) -> int | None:
    return error.rcvd.code if error.rcvd is not None else None


def _metadata(first: bytes | str, url: str) -> dict[str, Any]:
    metadata = unpack(first) if isinstance(first, bytes) else None
    if not isinstance(metadata, dict):
        raise ServerError(
            f"{url} is no policy server: its first message is no map. Check the address."
        )
    return metadata


def _sent(observation: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    always = ("prompt", "adv_ind", "episode_seed", "frame_index")
    # Images may be rendered when they are first read, so what is not wanted is not looked at.
    names = [name for name in observation if not wanted or name in wanted or name in always]
    return {name: observation[name] for name in names}


def _answer(data: bytes) -> dict[str, Any]:
    answer = unpack(data)
    actions = answer.get("actions") if isinstance(answer, dict) else None
    if not isinstance(actions, np.ndarray) or actions.ndim != 2:
        raise DataError("the server's answer has no 'actions' of shape (h, a).")
    return answer


def _url(host: str, port: int | None) -> str:
    """As openpi's client, takes a URL in place of a host, too."""
    if host.startswith(("ws://", "wss://")):
        return host if port is None else f"{host}:{port}"
    name = f"[{host}]" if ":" in host else host
    return f"ws://{name}:{DEFAULT_PORT if port is None else port}"
