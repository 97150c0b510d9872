"""A session as a person ends it, and what it says at its end; the loop is the real one."""

import io
import json
import logging
import os
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
from recap_core.config.presets import plumbing_project
from recap_core.lineage.project_files import project_name, save_project
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSignal, EpisodeSummary
from recap_core.rollout.phase import PhaseEvent
from tests.core.collection.memory_cell import FPS, Cell
from tests.deployments.waiting_runs import wait_for_episodes

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
            assert session.was_asked.wait(timeout=300)

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


def episode(number: int, outcome: Outcome, *, num_correcting: int) -> EpisodeSummary:
    return EpisodeSummary(f"episode_{number}", outcome, 900, 30.0, 2, num_correcting, 0)


def session(num_correcting: int = 200) -> list[EpisodeSummary]:
    outcomes = [Outcome.SUCCESS, Outcome.FAILURE] * 4
    return [
        episode(number, outcome, num_correcting=num_correcting)
        for number, outcome in enumerate(outcomes)
    ]


SESSION = Path("/data/my sessions/fold_20260101_120000")


def steps(
    episodes: list[EpisodeSummary], place: Place, *, is_evaluation: bool = False
) -> tuple[str, list[str]]:
    """The words, and the commands."""
    found = next_steps(SESSION, episodes, place, is_evaluation=is_evaluation)
    commands = [step.command for step in found if step.command is not None]
    return "\n".join(step.text for step in found), commands


def test_on_a_robots_computer_the_session_is_copied_to_the_store() -> None:
    """A name with a blank is quoted; whether to go on collecting is said from the data."""
    words, commands = steps(session(), Place(has_store=False))

    copied = "'/data/my sessions/fold_20260101_120000' recap@SERVER:/srv/recap/inbox/"
    assert commands == [f"rsync -a --partial-dir=.partial {copied}"]
    assert "16 corrections, 22% of the frames" in words
    few = "hardly needs you"
    assert few in steps(session(num_correcting=89), Place(has_store=False))[0]  # 9.9 %
    assert few not in steps(session(num_correcting=90), Place(has_store=False))[0]
    assert "4 episodes say little" in steps(session()[:4], Place(has_store=False))[0]
    assert "no failure" in steps(session()[::2] * 2, Place(has_store=False))[0]
    assert steps([], Place(has_store=False)) == (
        "Nothing was saved, so there is nothing to take in.",
        [],
    )


def test_where_the_store_is_a_project_with_an_inbox_gets_it(tmp_path: Path) -> None:
    """And a run that waits for episodes is named; without an inbox it is ingested by hand."""
    home, inbox = tmp_path / "home", tmp_path / "inbox"
    inbox.mkdir()
    (home / "artifacts").mkdir(parents=True)
    project = plumbing_project()
    iteration = project.iteration.model_copy(update={"inbox": str(inbox)})
    save_project(home, project.model_copy(update={"iteration": iteration}))
    name = project_name(project)
    wait_for_episodes(home, name, run_name="round-2")

    words, commands = steps(session(), look_around(home))

    assert f"For the next round of {name}" in words
    assert f"round-2 of {name} waits for 20 new episodes" in words
    assert commands[1] == f"recap ingest '{SESSION}' --project {name}"
    assert commands[0].endswith(f" '{SESSION}' {inbox}/")
    assert look_around(tmp_path / "nothing") == Place(has_store=False)
    by_hand = steps(session(), Place(has_store=True))[1]
    assert by_hand == [f"recap ingest '{SESSION}'", f"recap doctor data '{SESSION}'"]


def test_an_evaluation_ends_with_the_commands_that_decide() -> None:
    """Taken in, judged, promoted; nobody is told to correct more."""
    words, commands = steps(session(), Place(has_store=True), is_evaluation=True)

    assert commands == [
        f"recap ingest '{SESSION}'",
        f"recap doctor data '{SESSION}'",
        "recap evaluate --recording fold_20260101_120000-ID",
        "recap promote",
    ]
    assert "corrections" not in words


def test_the_summary_counts_what_was_saved(tmp_path: Path) -> None:
    """By hand: 4 of 8, 2 corrections each, 200 of 900 frames; and the same as JSON."""
    (tmp_path / "video.mp4").write_bytes(bytes(1_500_000))
    timing = TimingStats(7200, 29.97, 1.25, 9.0, 1)
    trials = tuple(episode.outcome is Outcome.SUCCESS for episode in session())
    end = SessionEnd(tmp_path, tuple(session()), trials, 3, 2, "goal", None, timing)
    found = next_steps(tmp_path, end.episodes, Place(has_store=False), is_evaluation=False)
    out = io.StringIO()

    print_summary(end, found, Console(file=out, width=120), is_evaluation=False)

    text = out.getvalue()
    for words in (
        "The session is over: the goal is reached.", "8 saved, 3 discarded",
        "4 of 8, 50 % [22, 78]", "16, 22.2% of the frames", "7,200 in 4:00, 0 images dropped",
        "29.97 Hz, jitter p99 1.2 ms, longest 9 ms, 1 late ticks", "1.5 MB", "rsync -a",
    ):  # fmt: skip
        assert words in text, words
    plain = json.loads(json.dumps(plain_summary(end, found)))
    assert (plain["num_episodes"], plain["num_successes"], plain["num_bytes"]) == (8, 4, 1_500_000)
    assert plain["episodes"][1]["outcome"] == "failure"
    assert plain["next"][-1]["command"].startswith("rsync")

    failed = end._replace(reason="error", error="the robot could not be read", trials=trials[:6])
    print_summary(failed, found, Console(file=out, width=120), is_evaluation=True, target_rate=0.9)
    assert "3 of 6, 50 %" in out.getvalue()
    assert "whether it reaches 90 %" in out.getvalue()
    assert "it failed: the robot could not be read" in out.getvalue()
    assert "disqualified  2 episodes:" in out.getvalue()
