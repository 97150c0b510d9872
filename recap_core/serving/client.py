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

from recap_core.errors import ServerError
from recap_core.serving.policy_connection import (
    PolicyConnection,
    checked_answer,
    refusal,
    server_url,
    too_big,
)
from recap_core.serving.protocol import DEFAULT_HOST, HEALTH_PATH, pack

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_PROBE_TIMEOUT_S = 2.0
_HANDSHAKE_TIMEOUT_S = 10.0
_MAX_SENDS = 4
"""Attempts at one request."""


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
        self._url = server_url(host, port)
        self._api_key = api_key
        self._connect_timeout_s = connect_timeout_s
        self._request_timeout_s = request_timeout_s
        self._connection: PolicyConnection | None = None
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
        return checked_answer(answer)

    def reset(self) -> None:
        """Nothing: a server remembers nothing of a client."""

    def close(self) -> None:
        """Disconnect; the next request connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _exchange(self, request: bytes) -> bytes | str:
        """Send a request until it is answered."""
        reason: Exception | None = None
        for _ in range(_MAX_SENDS):
            connection = self._connection
            if connection is None:
                connection = self._connect(time.monotonic() + self._connect_timeout_s)
            try:
                return connection.exchange(request, self._request_timeout_s)
            except TimeoutError as error:
                self.close()  # a late answer must not be taken for the next one's
                raise ServerError(
                    f"{self._url} did not answer within {self._request_timeout_s:g} s. Look at its "
                    "log, or allow more time with request_timeout_s."
                ) from error
            except (ConnectionClosed, OSError) as error:
                self.close()
                if (advice := too_big(self._url, error, len(request))) is not None:
                    raise ServerError(advice) from error
                logger.warning("lost %s (%s); connecting again", self._url, error)
                reason = error
        raise ServerError(
            f"{self._url} closed the connection at {_MAX_SENDS} attempts at one request "
            f"({reason}). Look at its log."
        ) from reason

    def _connect(self, deadline: float) -> PolicyConnection:
        """A connection whose metadata has been read."""
        pause_s, reason = _FIRST_PAUSE_S, "no answer"
        while True:
            try:
                probe(self._url)
                return self._open()
            except InvalidStatus as error:
                if (advice := refusal(self._url, error)) is not None:
                    raise ServerError(advice) from error
                reason = f"HTTP {error.response.status_code}"
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

    def _open(self) -> PolicyConnection:
        connection = PolicyConnection(self._url, self._api_key)
        self._metadata = connection.open(_HANDSHAKE_TIMEOUT_S)
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


def probe(url: str, *, timeout_s: float | int = _PROBE_TIMEOUT_S) -> None:
    """Ask ``/healthz`` of a server whether it is ready.

    Raises:
        OSError: If nobody answers there in time, or not with 200.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "wss" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", HEALTH_PATH)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise ConnectionError(f"{HEALTH_PATH} answers {status}")


def _sent(observation: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    always = ("prompt", "adv_ind", "episode_seed", "frame_index")
    # Images may be rendered when they are first read, so what is not wanted is not looked at.
    names = [name for name in observation if not wanted or name in wanted or name in always]
    return {name: observation[name] for name in names}
