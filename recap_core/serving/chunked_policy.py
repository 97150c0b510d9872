"""One action per control tick from a policy that answers with chunks, asked in time."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.serving.action_chunks import ActionChunks

type Infer = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``WebsocketPolicy.infer``, or anything that answers with ``actions`` of shape (h, a)."""


class _Request(NamedTuple):
    """A chunk that was asked for."""

    answer: Future[Mapping[str, Any]]
    tick: int
    """Of its observation."""


class ChunkedPolicy:
    """Asks for chunks and plays them.

    ``sync`` asks when no action is left, and the robot waits. ``async`` asks in a thread of its own
    as soon as ``prefetch_at`` actions or fewer are left, and goes on with those; should they run
    out, the last action is repeated until the answer comes. Only the first chunk is waited for.

    Args:
        infer: The policy.
        chunks: How chunks follow one another.
        mode: Whether the robot waits for answers.
        prefetch_at: Actions left at which the next chunk is asked for.

    Raises:
        ValueError: If ``prefetch_at`` is negative.
    """

    def __init__(
        self,
        infer: Infer,
        chunks: ActionChunks,
        *,
        mode: Literal["sync", "async"] = "sync",
        prefetch_at: int = 25,
    ) -> None:
        if prefetch_at < 0:
            raise ValueError(f"prefetch_at must be at least 0 actions, got {prefetch_at}")
        self._infer = infer
        self._chunks = chunks
        self._prefetch_at = prefetch_at if mode == "async" else 0
        self._waits = mode == "sync"
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="chunks")
        self._request: _Request | None = None
        self._tick = 0
        self._has_chunk = False

    def action(self, observation: Mapping[str, Any]) -> Float[np.ndarray, " a"]:
        """The action of this tick.

        Args:
            observation: What the robot sees now; its arrays are copied where they are needed.

        Raises:
            ServerError: If the policy failed.
            RobotError: If a chunk is misshapen or not finite.
        """
        if self._request is None and self._chunks.num_left <= self._prefetch_at:
            self._ask(observation)
        self._take()
        self._tick += 1
        return self._chunks.next()

    def reset(self) -> None:
        """Begin an episode: no action of the last one is played, no answer to it is heard."""
        if self._request is not None:
            self._request.answer.cancel()
        self._request = None
        self._has_chunk = False
        self._chunks.clear()

    def close(self) -> None:
        """End the thread."""
        self.reset()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _ask(self, observation: Mapping[str, Any]) -> None:
        own = {
            key: np.array(value) if isinstance(value, np.ndarray) else value
            for key, value in observation.items()
        }
        self._request = _Request(self._worker.submit(self._infer, own), self._tick)

    def _take(self) -> None:
        """Put the answer in place, if it has come or must be waited for."""
        request = self._request
        must_wait = self._waits or not self._has_chunk
        if request is None or not (must_wait or request.answer.done()):
            return
        self._request = None
        actions = np.asarray(request.answer.result()["actions"], np.float64)
        self._chunks.add(actions, steps_since_request=self._tick - request.tick)
        self._has_chunk = True
