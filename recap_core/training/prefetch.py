"""Batches made in a background thread, a bounded number of steps ahead."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int

from recap_core.training.step import Batch


@runtime_checkable
class Batches(Protocol):
    """The batch of every step, a function of the step alone, so that data order resumes."""

    def __call__(self, step: int) -> Batch:
        """The batch of step ``step``, counted from 0, in arrays that nobody reuses."""
        ...

    def frames(self, step: int) -> Int[np.ndarray, " b"]:
        """Global indices of this process's frames in that batch."""
        ...

    def places(self, step: int) -> Int[np.ndarray, "b 2"]:
        """Episode, and frame within it, of every frame in that batch, of all processes."""
        ...


class _Item(NamedTuple):
    step: int
    batch: Batch


class Prefetch:
    """An iterator over ``(step, batch)`` for steps ``start`` to ``stop - 1``.

    Batches are moved to their devices in the background. Leaving the ``with`` block ends the
    thread. An exception while making a batch is raised where that batch is asked for.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        start: int,
        stop: int,
        depth: int = 2,
        place: Callable[[Batch], Batch] = jax.device_put,
    ) -> None:
        """Prepare; the thread starts with the ``with`` block.

        Args:
            batches: Makes the batch of a step.
            start: First step.
            stop: One past the last step.
            depth: Batches that wait, on their devices.
            place: Moves a batch to its devices.
        """
        self.waited_s = 0.0
        """Seconds that the last batch was waited for."""
        self._batches = batches
        self._place = place
        self._steps = range(start, stop)
        self._queue: queue.Queue[_Item | Exception] = queue.Queue(maxsize=depth)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="prefetch", daemon=True)

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The producer puts at most one more item once it can see the event, so room is enough.
        self._closing.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._thread.join()

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        for _ in self._steps:
            asked_at = time.monotonic()
            item = self._queue.get()
            self.waited_s = time.monotonic() - asked_at
            if isinstance(item, Exception):
                raise item
            yield item.step, item.batch

    def _produce(self) -> None:
        for step in self._steps:
            if self._closing.is_set():
                return
            try:
                item = _Item(step, self._place(self._batches(step)))
            except Exception as error:  # noqa: BLE001 - raised again by the consumer
                self._queue.put(error)
                return
            self._queue.put(item)
