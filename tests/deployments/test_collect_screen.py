"""What an operator sees during a session, at the sizes that terminals have."""

import io
import re
import threading
from collections.abc import Mapping

import pytest
from rich.console import Console

from deployments.cli.collect_alarms import alarms
from deployments.cli.collect_facts import Facts
from deployments.cli.collect_keys import is_legal, key_meanings
from deployments.cli.collect_letters import big_word
from deployments.cli.collect_lines import SessionLines
from deployments.cli.collect_panels import bar, clock_text, success_text
from deployments.cli.collect_screen import CollectScreen, draw, shown
from recap_core.rollout.live import (
    EpisodeSignal,
    InputStatus,
    LiveStatus,
    Message,
    PolicyStatus,
    RecorderStatus,
    Request,
    SafetySignal,
)
from recap_core.rollout.phase import Phase, PhaseEvent

FACTS = Facts("sim-aloha", rate_hz=30)
KEYBOARD: Mapping[str, Request] = {
    "space": EpisodeSignal.START_STOP,
    "enter": EpisodeSignal.START_STOP,
    "s": EpisodeSignal.SUCCESS,
    "d": EpisodeSignal.DISCARD,
    "q": EpisodeSignal.QUIT,
    "e": SafetySignal.EMERGENCY_STOP,
    "r": SafetySignal.RESET,
}
PEDAL: Mapping[str, Request] = {"KEY_A": PhaseEvent.PAUSE_RESUME, "KEY_B": PhaseEvent.CORRECTION}
STATUS = LiveStatus(
    task="Put the cube into the other hand",
    phase=Phase.AUTONOMOUS,
    is_recording=True,
    is_stopped=False,
    episode=9,
    episode_s=23.4,
    episode_limit_s=200,
    num_successes=5,
    num_failures=3,
    num_discarded=1,
    num_corrections=12,
    correcting_share=0.08,
    goal="8 of 20 episodes",
    goal_share=0.4,
    loop_hz=29.98,
    jitter_p99_ms=2.1,
    num_late_ticks=7,
    recorder=RecorderStatus(
        is_recording=True,
        num_frames=702,
        queue_share=0.03,
        num_dropped=0,
        free_bytes=412_000_000_000,
        seconds_left=183_600.0,
    ),
    policy=PolicyStatus(
        where="ws://gpu:8000",
        policy_id="round-2-policy-1a2b3c4d",
        is_connected=True,
        latency_ms=43.2,
        latency_p95_ms=60.1,
        num_reconnects=0,
        num_late=0,
    ),
    inputs=(InputStatus("keyboard", None, KEYBOARD), InputStatus("pedal", None, PEDAL)),
    messages=(
        Message(1_790_000_000.0, "info", "saved episode_8: success"),
        Message(1_790_000_001.0, "warning", "refused correction: the robot is autonomous"),
    ),
)
TROUBLE = STATUS._replace(
    loop_hz=24.0,
    recorder=STATUS.recorder._replace(
        queue_share=0.8, num_dropped=31, seconds_left=60.0, problem="the disk is full"
    ),
    policy=PolicyStatus(
        where="ws://gpu:8000",
        policy_id="",
        is_connected=False,
        latency_ms=None,
        latency_p95_ms=None,
        num_reconnects=2,
        num_late=40,
        problem="no answer for 2.1 s",
    ),
    inputs=(STATUS.inputs[0], InputStatus("pedal", "not found: plug it in " * 12, {})),
    messages=tuple(Message(1.79e9, "error", f"trouble {i} " * 30) for i in range(50)),
)


def drawn(status: LiveStatus, width: int, height: int, facts: Facts = FACTS) -> list[str]:
    lines = draw(status, facts, width=width, height=height, elapsed_s=754)
    return [line.plain.rstrip() for line in lines]


@pytest.mark.parametrize("status", [STATUS, TROUBLE], ids=["well", "trouble"])
@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (200, 50), (100, 30), (60, 20), (40, 12), (20, 5)]
)
@pytest.mark.parametrize("is_ascii", [False, True], ids=["blocks", "ascii"])
def test_it_fits_every_terminal(
    status: LiveStatus, width: int, height: int, *, is_ascii: bool
) -> None:
    """No line wider, no more lines than there is room for, and the task or the phase is there."""
    for phase in Phase:
        lines = draw(
            status._replace(phase=phase),
            FACTS,
            width=width,
            height=height,
            elapsed_s=3,
            is_ascii=is_ascii,
        )

        assert len(lines) <= height
        assert max(line.cell_len for line in lines) <= width
        if is_ascii:
            assert " ".join(phase.upper())[:width] in "\n".join(map(str, lines)) or width < 40
            shown_text = "".join(line.plain for line in lines).replace("│", "").replace("…", "")
            assert shown_text.isascii()


def test_all_that_matters_is_on_a_small_screen() -> None:
    """80 by 24: outcomes with their interval, goal, loop, latency, disk, keys, the last words."""
    lines = drawn(STATUS, 80, 24)
    text = "\n".join(lines)

    for words in (
        "Put the cube into the other hand", "sim-aloha  12:34", "the policy drives",
        "RECORDING    episode 9   0:23 of 3:20", "702 frames",
        "5 of 8, 62 % [31, 86]", "8 of 20 episodes", "12, 8% of the frames",
        "30.0/30 Hz, jitter 2.1 ms, 7 late", "43 ms, p95 60", "queue 3%, 0 dropped",
        "412 GB free, 51 h 00 min left", "SPACE / ENTER  end: FAILURE", "B  take over",
        "saved episode_8: success", "refused correction: the robot is autonomous",
    ):  # fmt: skip
        assert words in text, words
    assert big_word("AUTONOMOUS", width=80)[0].strip() in text


def test_every_phase_has_a_word_and_a_colour_of_its_own() -> None:
    """Also on a terminal of 16 colours; a stop beats every phase and says how it ends."""
    looks = set()
    for phase, is_stopped in [*((phase, False) for phase in Phase), (Phase.PAUSED, True)]:
        status = STATUS._replace(phase=phase, is_stopped=is_stopped)
        band = draw(status, FACTS, width=80, height=24, elapsed_s=0)[1]
        word = "STOPPED" if is_stopped else phase.value.upper()
        assert big_word(word, width=80)[0].strip() in band.plain
        looks.add(str(band.style))
    assert len(looks) == 4

    stopped = "\n".join(drawn(STATUS._replace(is_stopped=True), 80, 24))
    assert "nothing is sent to the robot; r (keyboard) ends the stop" in stopped
    without = STATUS._replace(is_stopped=True, inputs=())
    assert "no input can end the stop" in "\n".join(drawn(without, 80, 24))


def test_problems_are_loud_and_say_what_to_do() -> None:
    """Errors first, in bands; a pedal without its keys; the number of those without room."""
    lines = drawn(TROUBLE, 100, 40)

    first = next(line for line in lines if line.startswith(" !"))
    assert first.startswith(" ! pedal: not found: plug it in")
    text = "\n".join(lines)
    assert " ! policy ws://gpu:8000: no answer for 2.1 s" in text
    assert " ! recorder: the disk is full" in text
    assert "and 3 more problems" in text
    assert "pedal     NOT WORKING" in text
    assert "NOT CONNECTED" in text
    levels = [alarm.level for alarm in alarms(TROUBLE, rate_hz=30)]
    assert levels == sorted(levels)  # error, then warning
    assert alarms(STATUS, rate_hz=30) == []


@pytest.mark.parametrize(
    ("changes", "legal"),
    [
        ({}, "pause_resume start_stop success discard quit emergency_stop"),
        ({"is_recording": False}, "pause_resume start_stop quit emergency_stop"),
        (
            {"phase": Phase.PAUSED},
            "pause_resume correction start_stop success discard quit emergency_stop",
        ),
        (
            {"phase": Phase.CORRECTING},
            "correction start_stop success discard quit emergency_stop",
        ),
        ({"is_stopped": True}, "start_stop success discard quit reset"),
    ],
)
def test_only_keys_that_would_be_obeyed_are_bright(changes: dict[str, object], legal: str) -> None:
    """By the rules of phases and episodes."""
    status = STATUS._replace(**changes)
    requests = [*PhaseEvent, *EpisodeSignal, *SafetySignal]

    found = {request.value for request in requests if is_legal(request, status, FACTS)}

    assert found == set(legal.split())


def test_nobody_drives_without_what_it_takes() -> None:
    """No policy, no leader arm, an evaluation: each takes one key away."""
    paused = STATUS._replace(phase=Phase.PAUSED)
    pause, correct = PhaseEvent

    assert is_legal(pause, paused, FACTS)
    assert is_legal(correct, paused, FACTS)
    assert not is_legal(pause, paused._replace(policy=None), FACTS)
    assert not is_legal(pause, TROUBLE._replace(phase=Phase.PAUSED), FACTS)
    assert not is_legal(correct, paused, FACTS._replace(has_leader=False))
    assert not is_legal(correct, paused, FACTS._replace(is_evaluation=True))


def test_keys_of_one_request_stand_together() -> None:
    """With what they would do now."""
    idle = STATUS._replace(is_recording=False, phase=Phase.PAUSED)

    keyboard = {one.meaning: one.keys for one in key_meanings(KEYBOARD, idle, FACTS)}
    pedal = {one.meaning: one.keys for one in key_meanings(PEDAL, idle, FACTS)}

    assert keyboard["start episode"] == "SPACE / ENTER"
    assert pedal == {"policy drives": "A", "take over": "B"}


def test_an_evaluation_says_that_it_is_one() -> None:
    """And that a correction spoils the trial."""
    text = "\n".join(drawn(STATUS, 80, 24, Facts("yam", 30, is_evaluation=True)))

    assert "EVALUATION  yam" in text
    assert "TRIALS" in text
    assert "B  disqualifies" in text


def test_drawing_uses_the_second_page_and_gives_the_first_one_back() -> None:
    """The terminal's alternate screen is left, and the cursor is shown again."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, legacy_windows=False)
    newest: list[LiveStatus | None] = [None]
    was_asked = threading.Semaphore(0)

    def get() -> LiveStatus | None:
        was_asked.release()
        return newest[0]

    with shown(CollectScreen(get, FACTS), console):
        assert "sim-aloha: starting" in out.getvalue()
        newest[0] = STATUS
        for _ in range(3):  # the first frame with it is complete when the next one is begun
            assert was_asked.acquire(timeout=300)
    text = out.getvalue()

    assert "\x1b[?1049h" in text
    assert text.rindex("\x1b[?1049l") > text.rindex("\x1b[?1049h")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "5 of 8, 62 %" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_lines_tell_what_has_changed_and_nothing_twice() -> None:
    """One line per event, in order, with its time; the last status is that of a closed cell."""
    lines: list[str] = []
    told = SessionLines(FACTS, lines.append, now=lambda: 1.79e9)
    begin = STATUS._replace(
        phase=Phase.PAUSED, is_recording=False, messages=(), num_successes=0, num_failures=0
    )
    recording = begin._replace(phase=Phase.AUTONOMOUS, is_recording=True)
    said = Message(1.79e9, "error", "paused: the pedal\nis gone")
    for status in (
        begin, begin, recording, recording._replace(episode_s=30.0),
        recording._replace(messages=(said,)),
        begin._replace(messages=(said,), num_successes=1, goal="1 of 20 episodes", episode=10),
        TROUBLE._replace(messages=(said,), num_successes=1, num_failures=0, phase=Phase.PAUSED,
                         is_recording=False, episode=10),
        begin._replace(messages=(said,), num_successes=1, episode=10, is_stopped=True),
        TROUBLE._replace(messages=(said,), num_successes=1, num_failures=0, phase=Phase.PAUSED,
                         is_recording=False, is_stopped=True, episode=10),
    ):  # fmt: skip
        told.look(status)

    texts = [line.partition(" ")[2] for line in lines]
    assert texts[:6] == [
        "sim-aloha is ready, paused; goal: 8 of 20 episodes",
        "paused -> autonomous",
        "episode 9 begins",
        "error: paused: the pedal is gone",
        "autonomous -> paused",
        "success 1 of 1, 100 % [21, 100]; 1 of 20 episodes",
    ]
    assert "warning: policy ws://gpu:8000: no answer for 2.1 s" in texts
    assert "no longer: pedal" in texts
    assert "EMERGENCY STOP" in texts
    assert len(texts) == len(set(texts))
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)


def test_numbers_as_people_read_them() -> None:
    """Worked out on paper; Wilson's interval of 5 in 8 is 30.6 to 86.3 %."""
    assert success_text(0, 0) == "no episode yet"
    assert success_text(5, 8) == "5 of 8, 62 % [31, 86]"
    assert [clock_text(s) for s in (0, 65, 3723)] == ["0:00", "1:05", "1:02:03"]
    assert [bar(s, 4) for s in (-1, 0.5, 3)] == ["░░░░", "██░░", "████"]
