"""The thread in which an input source listens, from its start to its stop."""

import logging
import threading
from collections.abc import Callable

from recap_core.collection.inputs.health import SourceHealth
from recap_core.collection.inputs.stop_signal import StopSignal

logger = logging.getLogger(__name__)

STOP_S = 0.8
"""A thread that does not end by then is left to end by itself, s."""


class Listening:
    """At most one daemon thread at a time; should it fail, the operator is told.

    Args:
        health: Of the source; ``begin`` and ``end`` say nothing of it.
    """

    def __init__(self, health: SourceHealth) -> None:
        self._health = health
        self._stop: StopSignal | None = None
        self._thread: threading.Thread | None = None

    def begin(self, listen: Callable[[StopSignal], None]) -> None:
        """Run ``listen`` in a thread until it returns, which it does once the signal is set."""
        stop = self._stop = StopSignal()

        def guarded() -> None:
            try:
                listen(stop)
            except Exception as error:  # one that dies in silence is worse
                logger.exception("%s: its thread has ended", self._health.name)
                self._health.report(f"it has failed ({type(error).__name__}: {error}); start again")
            finally:
                stop.close()

        name = f"input-{self._health.name}"
        self._thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._thread.start()

    def end(self) -> bool:
        """Set the signal and wait for the thread, within ``STOP_S``; whether it had begun."""
        if self._stop is None or self._thread is None:
            return False
        self._stop.set()
        self._thread.join(STOP_S)
        self._stop = self._thread = None
        return True
