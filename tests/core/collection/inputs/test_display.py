"""Keys of a real X server, pressed by another program."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

XVFB = shutil.which("Xvfb") or ""
XDOTOOL = shutil.which("xdotool") or ""
MISSING = [name for name, path in (("Xvfb", XVFB), ("xdotool", XDOTOOL)) if not path]
if importlib.util.find_spec("pynput") is None:
    MISSING.append("pynput")

pytestmark = [
    pytest.mark.display,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

LISTENING = """
import sys
from recap_core.collection.inputs import display
from recap_core.collection.inputs.keyboard import keyboard_source
from recap_core.config.operator import KeyboardConfig
display.OPEN_S = 300.0  # however slow the machine is
keyboard = keyboard_source(KeyboardConfig())
def heard(request, name):
    print(name, request, flush=True)
    return True
keyboard.start(heard)
print(keyboard.status().problem, flush=True)
for line in sys.stdin:
    if line == "stop\\n":
        keyboard.stop()
    print("status:", keyboard.status().problem, flush=True)
"""
"""A program of its own, as pynput's thread outlives its listener and the X server."""


class Cell(NamedTuple):
    """An X server, and a program that hears its keys."""

    server: subprocess.Popen[str]
    program: subprocess.Popen[str]
    environment: dict[str, str]

    def press(self, *commands: str) -> None:
        """Give xdotool's commands: real key events of the X server."""
        subprocess.run([XDOTOOL, *commands], env=self.environment, check=True)  # noqa: S603

    def told(self) -> str:
        """The next line of the program."""
        assert self.program.stdout is not None
        return self.program.stdout.readline().rstrip("\n")

    def ask(self, line: str) -> str:
        """Say something to the program; what it says then."""
        assert self.program.stdin is not None
        self.program.stdin.write(f"{line}\n")
        self.program.stdin.flush()
        return self.told()


@contextlib.contextmanager
def _server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    read_fd, write_fd = os.pipe()
    with subprocess.Popen(  # noqa: S603
        [XVFB, "-displayfd", str(write_fd), "-screen", "0", "320x240x24", "-nolisten", "tcp"],
        pass_fds=[write_fd],
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        os.close(write_fd)
        with os.fdopen(read_fd) as number:
            display = f":{number.readline().strip()}"
        try:
            yield server, display
        finally:
            server.kill()


@pytest.fixture
def cell() -> Iterator[Cell]:
    with _server() as (server, display):
        environment = {**os.environ, "DISPLAY": display}
        environment.pop("WAYLAND_DISPLAY", None)
        environment.pop("XDG_SESSION_TYPE", None)
        with subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", LISTENING],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            cell = Cell(server, program, environment)
            assert cell.told() == "None"
            yield cell
            program.kill()


def test_real_keys_and_a_key_that_is_held(cell: Cell) -> None:
    """One X server for all, as each costs a second.

    A key held for 1.5 s, which the server repeats, is one request; so is the next press. Shift does
    not matter; keys pressed together with Ctrl are other programs' commands, but for a stop.
    """
    for key in ("space", "Return", "s", "d", "p", "Left", "c", "Right", "BackSpace", "r", "x"):
        cell.press("key", key)
    assert [cell.told() for _ in range(10)] == [
        "keyboard start_stop",
        "keyboard start_stop",
        "keyboard success",
        "keyboard discard",
        "keyboard pause_resume",
        "keyboard pause_resume",
        "keyboard correction",
        "keyboard correction",
        "keyboard emergency_stop",
        "keyboard reset",
    ]

    cell.press("keydown", "p", "sleep", "1.5", "keyup", "p", "key", "q")
    assert [cell.told() for _ in range(2)] == ["keyboard pause_resume", "keyboard quit"]
    cell.press("sleep", "0.1", "key", "p")
    assert cell.told() == "keyboard pause_resume"

    cell.press("key", "shift+s", "key", "ctrl+s", "key", "alt+q", "key", "ctrl+e", "key", "Escape")
    assert [cell.told() for _ in range(3)] == [
        "keyboard success",
        "keyboard emergency_stop",
        "keyboard quit",
    ]

    assert cell.ask("stop") == "status: it has been stopped"
    cell.press("key", "s")
    assert cell.ask("status") == "status: it has been stopped"


def test_a_display_that_dies_is_a_problem(cell: Cell) -> None:
    assert cell.ask("status") == "status: None"

    cell.server.kill()
    cell.server.wait()

    answer = "status: None"
    while answer == "status: None":  # until its thread has noticed
        answer = cell.ask("status")
    assert answer == "status: the display is gone; start again"
