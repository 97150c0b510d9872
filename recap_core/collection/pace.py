"""The beat of a control loop, and how well it is kept."""

import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

KEPT_TICKS = 200_000
"""Of the session's statistics: nearly two hours at 30 Hz."""


class TimingStats(NamedTuple):
    """How regular ticks came."""

    num_ticks: int
    mean_hz: float
    """Ticks per second, over all of them."""
    jitter_p99_ms: float
    """99th percentile of |time between two ticks - period|."""
    jitter_max_ms: float
    num_late: int
    """Ticks that began a whole period late, or later; the beat goes on from there."""


class Pace:
    """Waits for the next tick of an absolute schedule, so that delays do not add up.

    Args:
        hz: Ticks per second.
        now: Monotonic seconds.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        hz: float | int,
        *,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._period_s = 1 / hz
        self._now = now
        self._sleep = sleep
        self._next_s: float | None = None
        self._last_s: float | None = None
        self._intervals: deque[float] = deque(maxlen=KEPT_TICKS)
        self._num_late = 0

    def wait(self) -> float:
        """Wait for the next tick; returns how long it has been since the last one, s (0 at first).

        A loop that is late by a whole period or more gives up the ticks it has missed.
        """
        now = self._now()
        if self._next_s is None:
            self._next_s = now
        elif now - self._next_s >= self._period_s:
            self._num_late += 1
            self._next_s = now
        while now < self._next_s:
            self._sleep(self._next_s - now)
            now = self._now()
        self._next_s += self._period_s
        interval = 0.0 if self._last_s is None else now - self._last_s
        if self._last_s is not None:
            self._intervals.append(interval)
        self._last_s = now
        return interval

    def skip(self) -> None:
        """Begin anew: what has just been done between ticks took its time (saving, a reset)."""
        self._next_s = self._last_s = None

    @property
    def num_late(self) -> int:
        """Ticks that came a whole period late."""
        return self._num_late

    def stats(self, *, num_last: int | None = None) -> TimingStats:
        """Of the last so many ticks, or of the whole session."""
        newest = itertools.islice(reversed(self._intervals), num_last)
        kept = tuple(newest)
        if not kept:
            return TimingStats(0, 0.0, 0.0, 0.0, self._num_late)
        intervals = np.array(kept)
        deviation_ms = np.abs(intervals - self._period_s) * 1000
        return TimingStats(
            num_ticks=len(kept),
            mean_hz=float(1 / intervals.mean()),
            jitter_p99_ms=float(np.percentile(deviation_ms, 99)),
            jitter_max_ms=float(deviation_ms.max()),
            num_late=self._num_late,
        )
