"""Who listens to the sources in these tests."""

import threading
from collections.abc import Callable

import pytest

from recap_core.collection.inputs import health
from recap_core.rollout.live import InputSource, Request

GENEROUS_S = 300.0
"""Longest wait for what is certain to come, on however slow a machine."""


class Listener:
    """Keeps what it hears, refuses what it is told to, and can be waited for."""

    def __init__(self, refused: frozenset[Request] = frozenset()) -> None:
        self.requests: list[Request] = []
        self.sources: list[str] = []
        self._refused = refused
        self._news = threading.Condition()

    def __call__(self, request: Request, source_name: str) -> bool:
        """Hear it."""
        with self._news:
            self.requests.append(request)
            self.sources.append(source_name)
            self._news.notify_all()
        return request not in self._refused

    def wait_for(self, num_requests: int) -> list[Request]:
        """The requests, once there are that many."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= num_requests, GENEROUS_S), (
                f"only {self.requests} after {GENEROUS_S} s"
            )
            return list(self.requests)


def eventually(is_so: Callable[[], bool], what: str) -> None:
    """Wait until ``is_so``."""
    waiting = threading.Event()
    for _ in range(int(GENEROUS_S / 0.005)):
        if is_so():
            return
        waiting.wait(0.005)
    raise AssertionError(f"{what} has not come true within {GENEROUS_S} s")


def num_warnings(caplog: pytest.LogCaptureFixture) -> int:
    """How many problems of sources were logged; what threads of other tests log does not count."""
    return sum(
        (record.name, record.levelname) == (health.__name__, "WARNING") for record in caplog.records
    )


def works(source: InputSource) -> Callable[[], bool]:
    """Whether ``source`` has no problem."""
    return lambda: source.status().problem is None


def has_problem(source: InputSource, text: str) -> Callable[[], bool]:
    """Whether ``source`` has a problem that says ``text``."""
    return lambda: text in (source.status().problem or "")
