"""Keys typed into a terminal, through a real pseudo-terminal."""

import io
import os
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from recap_core.collection.inputs.requests import bound_requests
from recap_core.collection.inputs.terminal import QuietTerminal, TerminalKeyboard
from recap_core.config.operator import KEYBOARD_KEYS
from recap_core.rollout.live import EpisodeSignal, InputSource
from recap_core.rollout.phase import PhaseEvent
from tests.core.collection.inputs.hearing import Listener, eventually, has_problem

ESC = b"\x1b"


class Terminal(NamedTuple):
    """Both ends: what is written to ``keys`` is typed into the terminal at ``path``."""

    keys: io.FileIO
    screen: io.FileIO
    path: str

    def type(self, keys: bytes) -> None:
        """Type them."""
        self.keys.write(keys)

    @property
    def is_echoing(self) -> bool:
        """Whether it shows what is typed, as it does in a shell."""
        return bool(termios.tcgetattr(self.screen)[3] & termios.ECHO)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    keys, screen = os.openpty()
    with io.FileIO(keys, "r+") as typed, io.FileIO(screen, "r+") as shown:
        yield Terminal(typed, shown, os.ttyname(screen))


def _keyboard(path: str, clock: Iterator[float] | None = None) -> TerminalKeyboard:
    """All events are 10 s apart, unless a clock says otherwise."""
    times = clock or iter(float(10 * index) for index in range(1000))
    return TerminalKeyboard(
        bound_requests(KEYBOARD_KEYS), held_s=0.7, path=path, clock=lambda: next(times)
    )


def test_keys_are_requests_and_the_terminal_is_restored(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.screen)
    keyboard, listener = _keyboard(terminal.path), Listener()

    keyboard.start(listener)
    assert keyboard.status().problem is None
    assert not terminal.is_echoing
    terminal.type(b" xs")
    terminal.type(ESC + b"[D" + ESC + b"[Cq")
    heard = listener.wait_for(5)
    keyboard.stop()

    assert heard == [
        EpisodeSignal.START_STOP,
        EpisodeSignal.SUCCESS,
        PhaseEvent.PAUSE_RESUME,
        PhaseEvent.CORRECTION,
        EpisodeSignal.QUIT,
    ]
    assert termios.tcgetattr(terminal.screen) == before
    assert isinstance(keyboard, InputSource)
    assert keyboard.status().problem == "it has been stopped"


def test_ctrl_s_does_not_freeze_the_screen(terminal: Terminal) -> None:
    """What writes to it would wait, and with it perhaps the robot."""
    keyboard, listener = _keyboard(terminal.path), Listener()
    keyboard.start(listener)

    terminal.type(b"\x13s")
    assert listener.wait_for(1) == [EpisodeSignal.SUCCESS]
    terminal.screen.write(b"shown")

    assert terminal.keys.read(16) == b"shown"
    keyboard.stop()


def test_a_lone_esc_quits(terminal: Terminal) -> None:
    keyboard, listener = _keyboard(terminal.path), Listener()
    keyboard.start(listener)

    terminal.type(ESC)

    assert listener.wait_for(1) == [EpisodeSignal.QUIT]
    keyboard.stop()


def test_a_held_key_is_one_request(terminal: Terminal) -> None:
    """The times at which a terminal sends a key held for 1.5 s, and a second press later."""
    times = [0.0, *(0.66 + 0.04 * index for index in range(22)), 3.0]
    keyboard, listener = _keyboard(terminal.path, iter([*times, 9.0])), Listener()
    keyboard.start(listener)

    terminal.type(b"p" * len(times) + b"q")

    assert listener.wait_for(3) == [
        PhaseEvent.PAUSE_RESUME,
        PhaseEvent.PAUSE_RESUME,
        EpisodeSignal.QUIT,
    ]
    keyboard.stop()


def test_a_terminal_that_hangs_up_is_a_problem(terminal: Terminal) -> None:
    keyboard = _keyboard(terminal.path)
    keyboard.start(Listener())

    terminal.keys.close()

    eventually(has_problem(keyboard, "the terminal is gone"), "told")
    keyboard.stop()


def test_no_terminal_is_a_problem() -> None:
    keyboard = _keyboard("/dev/null")

    keyboard.start(Listener())

    assert "no keys can be read from a terminal" in (keyboard.status().problem or "")
    keyboard.stop()


def test_a_terminal_is_restored_once(terminal: Terminal) -> None:
    quiet = QuietTerminal(terminal.path)
    assert not terminal.is_echoing

    quiet.restore()
    quiet.restore()

    assert terminal.is_echoing


IN_BACKGROUND = """
import os, sys
from recap_core.collection.inputs.terminal import TerminalKeyboard
terminal = os.open(sys.argv[1], os.O_RDWR)  # it controls this session from now on
if os.fork() == 0:
    os.setpgid(0, 0)
    keyboard = TerminalKeyboard({}, held_s=0.7, path=sys.argv[1])
    keyboard.start(lambda request, name: True)
    print(keyboard.status().problem, flush=True)
    os._exit(0)
os.wait()
"""


def test_in_the_background_it_does_not_read(terminal: Terminal) -> None:
    """The system would stop the whole program."""
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", IN_BACKGROUND, terminal.path],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        check=True,
    )

    assert "this program runs in the background of its terminal" in result.stdout


PROGRAM = """
import signal, sys, time
from recap_core.collection.inputs.terminal import TerminalKeyboard
keyboard = TerminalKeyboard({}, held_s=0.7)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
keyboard.start(lambda request, name: True)
print(keyboard.status().problem, flush=True)
if sys.argv[1] == "raise":
    raise RuntimeError("of the test")
while True:
    time.sleep(0.02)  # signal.pause() would miss a signal that comes just before it
"""


@pytest.mark.parametrize("end", ["raise", "terminate"])
def test_a_program_that_ends_early_leaves_the_terminal_as_it_was(
    terminal: Terminal, end: str
) -> None:
    """By an exception, and by a signal that it turns into its normal exit. Nobody calls stop."""
    before = termios.tcgetattr(terminal.screen)
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", PROGRAM, end],
        stdin=terminal.screen,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "None\n"
        if end == "terminate":
            assert not terminal.is_echoing
            program.terminate()
        _, errors = program.communicate()

    assert ("of the test" in errors) == (end == "raise")
    assert termios.tcgetattr(terminal.screen) == before
