"""One session with a person before it: the loop here, the screen in a thread of its own."""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from deployments.cli.collect_facts import Facts
from deployments.cli.collect_lines import SessionLines, told
from deployments.cli.collect_log import warnings_go_to
from deployments.cli.collect_screen import CollectScreen, shown
from deployments.cli.collect_stop import ended_by_signals, terminal_restored
from recap_core.rollout.live import EpisodeSignal, LiveStatus, Request

if TYPE_CHECKING:
    from recap_core.collection.live_parts import SessionEnd


KEPT_WARNINGS = 50


type OnStatus = Callable[[LiveStatus], None]


class Runnable(Protocol):
    """A session that can be run once."""

    def run(self, on_status: OnStatus) -> "SessionEnd":
        """Tick until it is over."""
        ...

    def request(self, request: Request, source: str) -> bool:
        """Ask for something; any thread may."""
        ...


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
    with (
        terminal_restored(),
        ended_by_signals(lambda name: session.request(EpisodeSignal.QUIT, name)),
        (_drawn if draws else _told)(facts, console) as on_status,
    ):
        return session.run(on_status)


@contextmanager
def _drawn(facts: Facts, console: Console) -> Generator[OnStatus]:
    newest: deque[LiveStatus] = deque(maxlen=1)  # storing it is all that the loop does for a screen
    screen = CollectScreen(lambda: newest[-1] if newest else None, facts)
    warnings: deque[str] = deque(maxlen=KEPT_WARNINGS)
    try:
        with warnings_go_to(warnings.append), shown(screen, console):
            yield newest.append
    finally:
        for text in dict.fromkeys(warnings):
            _write(console, f"warning: {text}")


@contextmanager
def _told(facts: Facts, console: Console) -> Generator[OnStatus]:
    with (
        warnings_go_to(lambda text: _write(console, f"warning: {text}")),
        told(SessionLines(facts, lambda line: _write(console, line))) as on_status,
    ):
        yield on_status


def _write(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
