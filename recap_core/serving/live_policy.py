"""A policy server in a control loop: one action per tick, and never a wait.

What happens between the robot and a server that is slow, gone or wrong:

    chunk late              the last action is repeated ``max_repeats`` times, then a problem
    no answer in time       a problem, after ``answer_timeout_s``
    connection lost         a problem at once
    refused, malformed,     a problem at once
    not finite, wrong width

With a lost server, what is left of the plan is dropped and not played to its end: nobody would
correct it any more, and the loop's PAUSED holds the robot still. The link connects again by itself;
then the problem is over, and the next action is from a new chunk.
"""

import threading
import time
from collections.abc import Callable

import numpy as np

from recap_core.config.policy_link import PolicyLinkConfig
from recap_core.errors import DataError
from recap_core.rollout.frame import Observation
from recap_core.rollout.live import PolicyAnswer, PolicyStatus
from recap_core.serving.action_chunks import ActionChunks
from recap_core.serving.policy_link import LinkState, PolicyLink

_P95 = 95


class RemoteLivePolicy:
    """A policy behind openpi's websocket protocol as the ``LivePolicy`` of a control loop.

    ``async`` asks for a chunk as soon as ``prefetch_at`` actions or fewer are left, and goes on
    with those. ``sync`` asks when none is left, and the robot holds still until the answer comes.
    The actions that were played since a chunk was asked for are dropped from it; repeated ones do
    not count, since the robot stood still meanwhile: so it never jumps ahead after a late chunk.

    :meth:`action` and :meth:`reset` belong to the control loop; :meth:`status` to any thread.

    Args:
        config: The server, what it is sent, and how chunks follow one another.
        api_key: What the server wants; never logged.
        action_dim: Width of the robot's actions; a policy of another width is then a problem as
            soon as it says so. None: the width of the first chunk.
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
        self._config = config
        self._chunks = ActionChunks(
            smoothing_window=config.smoothing_window, action_horizon=config.action_horizon
        )
        self._waits = config.mode == "sync"
        self._prefetch_at = 0 if self._waits else config.prefetch_at
        self._lock = threading.Lock()
        self._num_played = self._asked_at = 0
        self._num_repeats = self._num_late = 0
        self._has_asked = self._has_plan = False
        self._policy_id = ""
        self._num_failures_seen = 0
        self._link = PolicyLink(config, api_key=api_key, action_dim=action_dim, clock=clock)

    def action(self, observation: Observation) -> PolicyAnswer:
        """Its action of this tick, or none before the first chunk and while there is a problem.

        Args:
            observation: Features of the robot, and ``prompt``; what is sent is copied.
        """
        with self._lock:
            link = self._link.state()
            failure = self._failure(link)
            if failure is None:
                self._take()
                failure = self._ask(observation, link)
            if failure is not None:
                self._forget_plan()
                return PolicyAnswer(None, failure)
            return self._play()

    def reset(self) -> None:
        """Forget all chunks, and the answer that is under way."""
        with self._lock:
            self._link.forget()
            self._forget_plan()
            self._num_failures_seen = self._link.state().num_failures

    def status(self) -> PolicyStatus:
        """How it is doing."""
        with self._lock:
            link = self._link.state()
            # Where nothing is under way any more, nothing is waited for.
            late = self._late_problem() if link.is_busy and self._is_late else None
            num_late = self._num_late
        latencies = link.latencies_ms
        return PolicyStatus(
            where=self._link.url,
            policy_id=link.policy_id,
            is_connected=link.request_format is not None,
            latency_ms=latencies[-1] if latencies else None,
            latency_p95_ms=float(np.percentile(latencies, _P95)) if latencies else None,
            num_reconnects=max(link.num_connects - 1, 0),
            num_late=num_late,
            problem=link.problem or late,
        )

    def close(self) -> None:
        """End its thread and its connection; within a second, whatever hangs."""
        self._link.close()

    @property
    def _is_late(self) -> bool:
        return not self._waits and self._num_repeats > self._config.max_repeats

    def _late_problem(self) -> str:
        return (
            f"{self._link.url} is too slow: the robot has held still for {self._num_repeats} ticks "
            f"and the next chunk has not come. Ask earlier (prefetch_at, "
            f"{self._config.prefetch_at}), or allow more with max_repeats"
        )

    def _failure(self, link: LinkState) -> str | None:
        """What is wrong with the link, or was since the last tick."""
        is_new = link.num_failures != self._num_failures_seen
        self._num_failures_seen = link.num_failures
        return link.failure if is_new and self._has_asked else link.problem

    def _take(self) -> None:
        """Put the chunk in place that has come."""
        answer = self._link.take()
        if answer is None:
            return
        self._chunks.add(answer.actions, steps_since_request=self._num_played - self._asked_at)
        self._policy_id = answer.policy_id
        self._has_plan |= self._chunks.num_left > 0
        self._num_repeats = 0

    def _ask(self, observation: Observation, link: LinkState) -> str | None:
        """Have this tick's observation answered, if it is time; why that cannot be."""
        is_time = not link.is_busy and self._chunks.num_left <= self._prefetch_at
        if not is_time or link.request_format is None:
            return None
        try:
            taken = link.request_format.taken(observation)
        except DataError as error:
            return str(error)
        if self._link.ask(taken):
            self._asked_at, self._has_asked = self._num_played, True
        return None

    def _play(self) -> PolicyAnswer:
        if not self._has_plan:
            return PolicyAnswer(None)
        if self._chunks.num_left:
            self._num_played += 1
        else:
            self._num_repeats += 1
            if self._is_late:
                return PolicyAnswer(None, self._late_problem())
            self._num_late += 0 if self._waits else 1
        return PolicyAnswer(self._chunks.next(), None, self._policy_id)

    def _forget_plan(self) -> None:
        self._chunks.clear()
        self._has_asked = self._has_plan = False
        self._num_repeats = 0
