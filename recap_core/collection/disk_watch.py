"""How much room a disk has: looked at in a thread, because a slow disk may let it wait."""

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0


def free_bytes(directory: Path) -> int:
    """Bytes that may still be written where a directory is.

    Raises:
        OSError: If the disk does not answer.
    """
    return shutil.disk_usage(directory).free


class DiskWatch:
    """Knows the free space of a directory's disk, a second old at most.

    Args:
        directory: Where is written.
        measure: Free bytes of a directory.
    """

    def __init__(self, directory: Path, measure: Callable[[Path], int] = free_bytes) -> None:
        self._directory = directory
        self._measure = measure
        self._is_over = threading.Event()
        self.free_bytes = measure(directory)
        self._thread = threading.Thread(target=self._run, name="disk watch", daemon=True)
        self._thread.start()

    def look(self) -> int:
        """Measure now; free bytes.

        Raises:
            OSError: If the disk does not answer.
        """
        self.free_bytes = self._measure(self._directory)
        return self.free_bytes

    def stop(self) -> None:
        """End the thread."""
        self._is_over.set()
        self._thread.join(INTERVAL_S)

    def _run(self) -> None:
        while not self._is_over.wait(INTERVAL_S):
            try:
                self.look()
            except OSError as error:
                logger.warning("the free space of %s is not known (%s)", self._directory, error)
                self.free_bytes = 0
