"""A server whose answers a test writes, and a robot's policy at the other end of its socket."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np

from recap_core.config.policy_link import PolicyLinkConfig
from recap_core.serving.host import PolicyHost, Reply
from recap_core.serving.live_policy import RemoteLivePolicy
from recap_core.serving.policy_link import PolicyLink
from recap_core.serving.protocol import pack, unpack

WAIT_S = 300
"""Longest wait for what is certain to come, on however slow a machine."""


class ScriptedHost(PolicyHost):
    """Answers the n-th request with 100 n, 100 n + 1, ...; or with what ``answers`` holds.

    Args:
        name: Of the policy; None: it says nothing of itself, as openpi's server.
        answers: Instead of the next chunks: actions, a packed answer, or an error to raise.
    """

    def __init__(
        self,
        name: str | None = "first",
        answers: list[np.ndarray | bytes | Exception] | None = None,
        **facts: Any,  # noqa: ANN401 - anything that a server may say
    ) -> None:
        self._facts = {} if name is None else {"policy": {"name": name, **facts}}
        self._answers = answers or []
        self.requests: list[dict[str, Any]] = []
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()

    def metadata(self) -> bytes:
        """What it says of itself."""
        return pack(self._facts)

    def labels(self) -> dict[str, str]:
        """None."""
        return {}

    def respond(self, data: bytes, previous_total_s: float | None) -> Reply:
        """Once it may."""
        del previous_total_s
        self.requests.append(unpack(data))
        number = len(self.requests)
        self.asked.release()
        assert self.may_answer.wait(WAIT_S)
        answer = self._answers.pop(0) if self._answers else column(100 * number)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, np.ndarray):
            answer = pack({"actions": answer})
        return Reply(answer, 0.0)


def column(start: float, *, horizon: int = 6) -> np.ndarray:
    """``start``, ``start + 1``, ... as a chunk of one-dimensional actions."""
    return np.arange(start, start + horizon)[:, None].astype(np.float64)


def sensed(number: float = 0) -> dict[str, Any]:
    """What a robot without cameras sees at a tick."""
    return {"observation.state": np.array([number], np.float32), "prompt": "go"}


@contextmanager
def linked(
    port: int,
    *,
    api_key: str | None = None,
    action_dim: int | None = None,
    clock: Callable[[], float] | None = None,
    **settings: Any,  # noqa: ANN401 - any setting
) -> Generator[RemoteLivePolicy]:
    """A policy of a robot, closed at the end; nothing is late by itself."""
    patient = {
        "port": port, "answer_timeout_s": 600, "connect_timeout_s": 600, "prefetch_at": 0
    }  # fmt: skip
    config = PolicyLinkConfig.model_validate(patient | settings)
    timing = {} if clock is None else {"clock": clock}
    policy = RemoteLivePolicy(config, api_key=api_key, action_dim=action_dim, **timing)
    try:
        yield policy
    finally:
        policy.close()


def wait_until(policy: RemoteLivePolicy, holds: Callable[[PolicyLink], bool]) -> None:
    """Wait until something is true of the link."""
    link = policy._link
    with link._changed:
        assert link._changed.wait_for(lambda: holds(link), WAIT_S), link.state()


def wait_for_connection(policy: RemoteLivePolicy) -> None:
    wait_until(policy, lambda link: link._format is not None)


def wait_for_chunk(policy: RemoteLivePolicy) -> None:
    wait_until(policy, lambda link: link._answer is not None)


def begin(policy: RemoteLivePolicy) -> None:
    """Ask for the first chunk, and have it come."""
    wait_for_connection(policy)
    assert policy.action(sensed()) == (None, None, "")
    wait_for_chunk(policy)


def played(policy: RemoteLivePolicy, num_ticks: int) -> list[float]:
    """The actions of the next ticks."""
    actions = []
    for tick in range(num_ticks):
        answer = policy.action(sensed(tick))
        assert answer.problem is None, answer
        assert answer.action is not None
        actions.append(round(float(answer.action[0]), 3))
    return actions
