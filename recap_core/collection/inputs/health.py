"""How an input source is doing."""

import logging
import threading
from collections.abc import Mapping

from recap_core.rollout.live import InputStatus, Request

logger = logging.getLogger(__name__)


class SourceHealth:
    """Name, keys and problem of a source; any thread may read and write it.

    A problem is logged when it begins and when it is over, not every time it is found again.
    """

    def __init__(self, name: str, keys: Mapping[str, Request]) -> None:
        self.name = name
        self._keys = dict(keys)
        self._lock = threading.Lock()
        self._problem: str | None = "it has not been started"
        self._logged: str | None = None

    def report(self, problem: str) -> None:
        """Nothing can come from it now, and what to do."""
        with self._lock:
            self._problem = problem
            is_new, self._logged = problem != self._logged, problem
        if is_new:
            logger.warning("%s: %s", self.name, problem)

    def rests(self, why: str) -> None:
        """Nothing can come from it now, and that is as it should be."""
        with self._lock:
            self._problem = why

    def works(self, how: str) -> None:
        """It listens now; ``how`` is for the log."""
        with self._lock:
            self._problem = self._logged = None
        logger.info("%s: %s", self.name, how)

    def status(self) -> InputStatus:
        """How it is doing now."""
        with self._lock:
            return InputStatus(self.name, self._problem, self._keys)
