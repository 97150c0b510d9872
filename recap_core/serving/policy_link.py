"""A policy server that is asked without waiting: one thread connects, sends and receives."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from recap_core.config.policy_link import PolicyLinkConfig
from recap_core.errors import DataError, RecapError, ServerError
from recap_core.serving.policy_connection import (
    PolicyConnection,
    checked_answer,
    refusal,
    server_url,
    too_big,
)
from recap_core.serving.policy_request import RequestFormat, policy_facts
from recap_core.serving.protocol import pack

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_LOOK_S = 0.2
"""How often an idle connection is looked at where nobody asks how it is."""
_CLOSE_S = 0.9
_NUM_LATENCIES = 50


class LinkAnswer(NamedTuple):
    """A chunk that has come."""

    actions: Float[np.ndarray, "h a"]
    policy_id: str


class LinkState(NamedTuple):
    """How a link is doing at one moment."""

    request_format: RequestFormat | None
    """What the server is sent; None: not connected."""
    is_busy: bool
    """A request is under way, wanted or not."""
    has_answer: bool
    """A chunk waits to be taken."""
    policy_id: str
    """As the server names its policy; empty where it does not."""
    problem: str | None
    """Why there will be no answer, and what to do; None as soon as the server is back."""
    num_failures: int
    """Since the start; each had a ``failure``."""
    failure: str
    """The newest, also where it is over."""
    num_connects: int
    latencies_ms: tuple[float, ...]
    """Of the newest chunks, from request to answer, the last one last."""


class _Request:
    """A chunk that was asked for."""

    def __init__(self, taken: dict[str, Any], asked_at_s: float) -> None:
        self.taken = taken
        self.asked_at_s = asked_at_s
        self.is_wanted = True


class PolicyLink:
    """Holds a connection, makes it anew where it is lost, and exchanges one request at a time.

    Nothing here waits but the thread of the link; any other may call everything.

    Args:
        config: Where the server is, and how patient to be with it.
        api_key: What the server wants; never logged.
        action_dim: Width of the robot's actions; None: that of the first chunk.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        config: PolicyLinkConfig,
        *,
        api_key: str | None = None,
        action_dim: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = server_url(config.host, config.port)
        self._config = config
        self._api_key = api_key
        self._action_dim = action_dim
        self._clock = clock
        self._changed = threading.Condition()
        self._is_closed = False
        self._connection: PolicyConnection | None = None
        self._format: RequestFormat | None = None
        self._request: _Request | None = None
        self._answer: LinkAnswer | None = None
        self._policy_id = ""
        self._problem: str | None = None
        self._failure = ""
        self._num_failures = self._num_in_a_row = self._num_connects = 0
        self._logged: str | None = None
        self._latencies_ms = deque[float](maxlen=_NUM_LATENCIES)
        self._thread = threading.Thread(target=self._run, name="policy-link", daemon=True)
        self._thread.start()

    def state(self) -> LinkState:
        """How it is doing; notices a time-out and a connection that was closed meanwhile."""
        with self._changed:
            self._look()
            return LinkState(
                request_format=self._format,
                is_busy=self._request is not None,
                has_answer=self._answer is not None,
                policy_id=self._policy_id,
                problem=self._problem,
                num_failures=self._num_failures,
                failure=self._failure,
                num_connects=self._num_connects,
                latencies_ms=tuple(self._latencies_ms),
            )

    def ask(self, taken: dict[str, Any]) -> bool:
        """Have ``taken`` sent; False where the server has just gone, or a request is under way.

        Args:
            taken: What the present ``request_format`` has taken from an observation.
        """
        with self._changed:
            if self._format is None or self._request is not None:
                return False
            self._request, self._answer = _Request(taken, self._clock()), None
            self._changed.notify_all()
            return True

    def take(self) -> LinkAnswer | None:
        """The chunk that has come, once."""
        with self._changed:
            answer, self._answer = self._answer, None
            return answer

    def forget(self) -> None:
        """Want no answer to what was asked so far."""
        with self._changed:
            self._answer = None
            if self._request is not None:
                self._request.is_wanted = False

    def close(self) -> None:
        """End the connection and the thread; returns within a second, whatever hangs."""
        with self._changed:
            self._is_closed = True
            self._request = self._answer = self._format = None
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.cut()
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)

    # -- with self._changed held

    def _look(self) -> None:
        connection, request = self._connection, self._request
        if connection is None or self._format is None:
            return
        if request is not None:  # how it ends, its thread knows better, but a send may hang
            timeout_s = self._config.answer_timeout_s
            if self._clock() - request.asked_at_s > timeout_s:
                self._fail(connection, self._late(timeout_s))
        elif not connection.is_open:
            self._fail(connection, f"{self.url} closed the connection; connecting again")

    def _late(self, timeout_s: float | int) -> str:
        return (
            f"{self.url} did not answer within {timeout_s:g} s. Look at its log, or allow more "
            "time with answer_timeout_s"
        )

    def _fail(self, connection: PolicyConnection, problem: str) -> None:
        if connection is not self._connection:
            return  # given up already, for another reason
        connection.cut()
        self._connection = self._request = self._answer = self._format = None
        self._num_failures += 1
        self._num_in_a_row += 1
        self._failure = self._problem = problem
        self._changed.notify_all()

    # -- the thread

    def _run(self) -> None:
        while (connection := self._next_connection()) is not None:
            try:
                self._connected(connection, connection.open(self._config.connect_timeout_s))
                while (request := self._next_request(connection)) is not None:
                    self._deliver(connection, request, self._exchange(connection, request))
            except (RecapError, OSError, ConnectionClosed, InvalidHandshake) as error:
                problem = self._told(connection, error)
            except Exception as error:
                # Nobody watches this thread, so whatever happens has to be seen on the screen.
                logger.exception("the link to %s failed", self.url)
                problem = f"the link to {self.url} failed: {type(error).__name__}: {error}"
            else:
                problem = ""  # it was given up by another thread
            with self._changed:
                self._fail(connection, problem)
            self._log()
            connection.close()

    def _next_connection(self) -> PolicyConnection | None:
        """After a pause that grows from failure to failure; None: the link is closed."""
        with self._changed:
            pause_s = 0.0
            if self._num_in_a_row:
                doubled = _FIRST_PAUSE_S * 2 ** min(self._num_in_a_row - 1, 10)
                pause_s = min(doubled, _LONGEST_PAUSE_S)
            self._changed.wait_for(lambda: self._is_closed, pause_s)
            if self._is_closed:
                return None
            self._connection = PolicyConnection(self.url, self._api_key)
            return self._connection

    def _connected(self, connection: PolicyConnection, metadata: Mapping[str, Any]) -> None:
        facts = policy_facts(metadata)
        width, name = facts.get("action_dim"), facts.get("name")
        with self._changed:
            if self._action_dim is not None and width not in (None, self._action_dim):
                raise ServerError(
                    f"{self.url} answers with actions of {width} dims; this robot takes "
                    f"{self._action_dim}. Serve a policy that was trained for it."
                )
            if connection is not self._connection:
                return
            self._format = RequestFormat.agreed(self._config, metadata)
            self._policy_id = name if isinstance(name, str) else ""
            self._problem = None
            self._num_connects += 1
            self._changed.notify_all()
        self._logged = None
        logger.info("connected to %s, policy %s", self.url, self._policy_id or "unnamed")

    def _log(self) -> None:
        """Write a problem down once, in this thread: a control loop does not wait for a log."""
        with self._changed:
            failure, is_over = self._failure, self._is_closed
        if not is_over and failure != self._logged:
            self._logged = failure
            logger.warning("%s", failure)

    def _next_request(self, connection: PolicyConnection) -> tuple[_Request, RequestFormat] | None:
        """The next one to send; None: the connection is lost, or the link is closed."""
        with self._changed:
            while connection is self._connection:
                if self._request is not None and self._format is not None:
                    return self._request, self._format
                self._changed.wait(_LOOK_S)
                self._look()
            return None

    def _exchange(
        self, connection: PolicyConnection, asked: tuple[_Request, RequestFormat]
    ) -> dict[str, Any]:
        request, request_format = asked
        data = pack(request_format.message(request.taken))
        timeout_s = self._config.answer_timeout_s
        try:
            answer = connection.exchange(data, timeout_s)
        except TimeoutError as error:
            raise ServerError(self._late(timeout_s)) from error
        except ConnectionClosed as error:
            if (advice := too_big(self.url, error, len(data))) is not None:
                raise ServerError(advice) from error
            raise
        if isinstance(answer, str):
            raise ServerError(f"{self.url} refused the request: {answer}")
        return checked_answer(answer)

    def _deliver(
        self,
        connection: PolicyConnection,
        asked: tuple[_Request, RequestFormat],
        answer: dict[str, Any],
    ) -> None:
        request, _ = asked
        actions = self._checked(answer["actions"])
        with self._changed:
            if connection is not self._connection or request is not self._request:
                return
            self._request = None
            self._num_in_a_row = 0
            self._action_dim = actions.shape[1]
            self._latencies_ms.append(1e3 * (self._clock() - request.asked_at_s))
            name = answer.get("policy")
            if isinstance(name, str):
                self._policy_id = name
            if request.is_wanted:
                self._answer = LinkAnswer(actions, self._policy_id)
            self._changed.notify_all()

    def _checked(self, actions: np.ndarray) -> Float[np.ndarray, "h a"]:
        width = self._action_dim
        is_whole = actions.size > 0 and actions.dtype.kind in "iuf"
        if not is_whole or width not in (None, actions.shape[1]):
            raise DataError(
                f"{self.url} answered with actions of shape {actions.shape} and type "
                f"{actions.dtype}; this robot takes (h, {width or 'a'}) numbers, h >= 1. Serve a "
                "policy that was trained for it."
            )
        num_bad = np.count_nonzero(~np.isfinite(actions))
        if num_bad:
            raise DataError(
                f"{self.url} answered with {num_bad} of {actions.size} values that are not "
                "finite. Check the norm stats and the checkpoint of its policy."
            )
        return np.array(actions, np.float64)

    def _told(self, connection: PolicyConnection, error: Exception) -> str:
        """One sentence for the operator."""
        if isinstance(error, RecapError):
            return str(error)
        if isinstance(error, InvalidStatus) and (advice := refusal(self.url, error)) is not None:
            return advice
        reason = str(error) or type(error).__name__
        with self._changed:
            was_connected = connection is self._connection and self._format is not None
        if was_connected:
            return f"lost {self.url} ({reason}); connecting again"
        return (
            f"no policy server answers at {self.url} ({reason}); trying again. Start one with "
            "'recap serve', or check the address"
        )
