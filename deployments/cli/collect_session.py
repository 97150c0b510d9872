"""One session with a person before it: the loop here, the screen in a thread of its own."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from deployments.cli.collect_lines import SessionLines, told
from deployments.cli.collect_panels import Facts
from deployments.cli.collect_screen import CollectScreen, shown
from deployments.cli.collect_stop import ended_by_signals, terminal_restored
from recap_core.rollout.live import EpisodeSignal, LiveStatus, Request

if TYPE_CHECKING:
    from recap_core.collection.live_loop import SessionEnd


class Runnable(Protocol):
    """A session that can be run once."""

    def run(self, on_status: Callable[[LiveStatus], None]) -> "SessionEnd":
        """Tick until it is over."""
        ...

    def request(self, request: Request, source: str) -> bool:
        """Ask for something; any thread may."""
        ...


class _Newest:
    """Holds the newest status; storing it is all that the loop does for a screen."""

    def __init__(self) -> None:
        self._status: LiveStatus | None = None

    def set(self, status: LiveStatus) -> None:
        self._status = status

    def get(self) -> LiveStatus | None:
        return self._status


def run_session(session: Runnable, facts: Facts, console: Console, *, draws: bool) -> "SessionEnd":
    """Run ``session`` to its end, in this thread, which must be the main one.

    Ctrl-C, SIGTERM and a lost terminal quit: the open episode is saved as a failure. A second
    Ctrl-C ends it at once. The terminal has its old settings afterwards.

    Args:
        session: What is run.
        facts: What stays the same all session, for the screen.
        console: Where it is shown.
        draws: Draw a screen; else one line per event.
    """
    newest = _Newest()
    with (
        terminal_restored(),
        ended_by_signals(lambda name: session.request(EpisodeSignal.QUIT, name)),
        _watched(newest, facts, console, draws=draws),
    ):
        return session.run(newest.set)


@contextmanager
def _watched(newest: _Newest, facts: Facts, console: Console, *, draws: bool) -> Generator[None]:
    if draws:
        with shown(CollectScreen(newest.get, facts), console):
            yield
        return

    def write(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with told(SessionLines(facts, write), newest.get):
        yield
