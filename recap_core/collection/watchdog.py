"""Says so when the control loop stands still, since the loop itself cannot."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Watchdog:
    """Watches for ticks in a thread of its own.

    Args:
        limit_s: Longest time between two ticks.
        barked: Called in that thread, once per standstill, with how long it has lasted, s.
    """

    def __init__(self, limit_s: float | int, barked: Callable[[float], None]) -> None:
        self._limit_s = limit_s
        self._barked = barked
        self._last_s = time.monotonic()
        self._is_held = False
        self._has_barked = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._last_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._over.set()
        self._thread.join(timeout=1)

    def tick(self) -> None:
        """The loop is alive."""
        self._last_s = time.monotonic()
        self._has_barked = False

    @contextmanager
    def held(self) -> Generator[None]:
        """Something that may take its time, while the robot holds still: saving, a reset."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self.tick()

    def _watch(self) -> None:
        while not self._over.wait(self._limit_s / 4):
            standstill_s = time.monotonic() - self._last_s
            if standstill_s > self._limit_s and not self._is_held and not self._has_barked:
                self._has_barked = True
                self._barked(standstill_s)
