"""A session as a person ends it, and what it says at its end; the loop is the real one."""

import io
import json
import logging
import os
import re
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console

from deployments.cli.collect_facts import Facts
from deployments.cli.collect_next import Place, look_around, next_steps
from deployments.cli.collect_session import run_session
from deployments.cli.collect_summary import plain_summary, print_summary
from recap_core.collection.live_parts import SessionEnd
from recap_core.collection.pace import TimingStats
from recap_core.config.flows import ProjectConfig
from recap_core.config.presets import plumbing_project
from recap_core.lineage.project_files import save_project
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSignal, EpisodeSummary
from recap_core.rollout.phase import PhaseEvent
from tests.core.collection.live_cell import FPS, Cell

FACTS = Facts("point", FPS)


class Session:
    """The cell's loop, which lets a test wait until a request has arrived."""

    def __init__(self, cell: Cell) -> None:
        self.run = cell.loop.run
        self._loop = cell.loop
        self.was_asked = threading.Event()

    def request(self, request: EpisodeSignal, source: str) -> bool:
        """Pass it on."""
        is_obeyed = self._loop.request(request, source)
        self.was_asked.set()
        return is_obeyed


def play(cell: Cell, *signals: signal.Signals, draws: bool = False) -> tuple[SessionEnd, str]:
    """Begin an episode, let the policy drive, then send signals to this process."""
    session, out = Session(cell), io.StringIO()

    def script(tick: int) -> None:
        if tick == 2:
            cell.loop.request(EpisodeSignal.START_STOP, "test")
        if tick == 4:
            cell.loop.request(PhaseEvent.PAUSE_RESUME, "test")
        if tick == 9:
            for number in signals:
                os.kill(os.getpid(), number)
            assert session.was_asked.wait(timeout=30)

    cell.script = script
    console = Console(file=out, force_terminal=draws, width=100, height=30)
    end = run_session(session, FACTS, console, draws=draws)  # type: ignore[arg-type]
    return end, out.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_quits_and_the_open_episode_is_a_failure(number: signal.Signals) -> None:
    """As the quit key does; afterwards signals mean what they meant before."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    cell = Cell()

    end, text = play(cell, number)

    assert end.reason == "quit"
    assert [episode.outcome for episode in end.episodes] == [Outcome.FAILURE]
    assert cell.recorder.is_closed
    assert not cell.robot.is_connected
    assert "paused -> autonomous" in text
    assert {one: signal.getsignal(one) for one in before} == before


def test_a_second_ctrl_c_is_obeyed_at_once() -> None:
    """The loop is left by an exception; the robot is let go of, and the episode is saved."""
    cell = Cell()

    with pytest.raises(KeyboardInterrupt):
        play(cell, signal.SIGINT, signal.SIGINT)

    assert not cell.robot.is_connected
    assert cell.recorder.is_closed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_drivers_log_does_not_run_across_the_screen() -> None:
    """It is told once, below, when the first page is back; the operator's messages are not."""
    cell = Cell()
    tick = cell.robot.send_action

    def noisy(action: object) -> object:
        logging.getLogger("some.driver").warning("motor 3 is hot")
        return tick(action)  # type: ignore[arg-type]

    cell.robot.send_action = noisy  # type: ignore[method-assign]
    handlers = list(logging.getLogger().handlers)

    _, text = play(cell, signal.SIGINT, draws=True)

    after = text[text.rindex("\x1b[?1049l") :]
    assert after.count("motor 3 is hot") == 1
    assert text.count("motor 3 is hot") == 1
    assert logging.getLogger().handlers == handlers
