"""Waiting for a file descriptor until somebody says stop."""

import os
import select
import threading


class StopSignal:
    """Set once by any thread; ends the waiting of the thread that listens."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._read_fd, self._write_fd = os.pipe()

    @property
    def is_set(self) -> bool:
        """Whether it is time to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """It is time to stop."""
        if not self._event.is_set():
            self._event.set()
            os.close(self._write_fd)  # which makes the other end readable

    def wait(self, timeout_s: float) -> bool:
        """Wait for that time, or until it is set; whether it is."""
        return self._event.wait(timeout_s)

    def fileno(self) -> int:
        """Becomes readable when it is set, for those who wait for several things."""
        return self._read_fd

    def readable(self, fd: int, timeout_s: float | None = None) -> bool:
        """Wait until ``fd`` can be read; False where the time is over or it is time to stop.

        Args:
            fd: A file descriptor; one that is closed at its other end can be read.
            timeout_s: None: for ever.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._read_fd, select.POLLIN)
        ready = poll.poll(None if timeout_s is None else timeout_s * 1000)
        return not self.is_set and any(ready_fd == fd for ready_fd, _ in ready)

    def close(self) -> None:
        """The listening thread has ended."""
        os.close(self._read_fd)
