"""The sources of a configuration, and the keys that a screen shows."""

import os
from collections.abc import Iterator

import pytest

from recap_core.collection.inputs import display
from recap_core.collection.inputs.device_source import DeviceSource
from recap_core.collection.inputs.keyboard import FirstThatWorks, keyboard_source
from recap_core.collection.inputs.opening import open_inputs
from recap_core.collection.inputs.scripted import ScriptedOperator
from recap_core.collection.inputs.terminal import TerminalKeyboard
from recap_core.config.operator import (
    GamepadConfig,
    KeyboardConfig,
    OperatorConfig,
    PedalConfig,
    SocketConfig,
)
from recap_core.errors import ConfigError, RobotError
from recap_core.rollout.live import Heard
from tests.core.collection.inputs.fake_devices import FakeDevices
from tests.core.collection.inputs.hearing import GENEROUS_S, Listener

NO_DISPLAY = "no display can be used"


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose DISPLAY leads nowhere, and however slow, says so."""
    monkeypatch.setattr(display, "OPEN_S", GENEROUS_S)
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)


@pytest.fixture
def terminal() -> Iterator[str]:
    keys, screen = os.openpty()
    yield os.ttyname(screen)
    os.close(keys)
    os.close(screen)


def test_each_part_of_the_settings_is_a_source() -> None:
    config = OperatorConfig(
        pedal=PedalConfig(),
        gamepad=GamepadConfig(keys={"BTN_SOUTH": "pause_resume"}),
        socket=SocketConfig(port=0),
    )

    names = [source.status().name for source in open_inputs(config, devices=FakeDevices())]

    assert names == ["keyboard", "pedal", "gamepad", "socket"]
    assert open_inputs(OperatorConfig(keyboard=None)) == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"KEY_AA": "quit"}, "pedal.keys has 'KEY_AA', which Linux does not know; did you mean"),
        ({"BTN_A": "quit", "BTN_SOUTH": "reset"}, "two names of the same key"),
    ],
)
def test_keys_that_linux_does_not_know_are_refused(keys: dict[str, str], message: str) -> None:
    config = OperatorConfig.model_validate({"pedal": {"keys": keys}})

    with pytest.raises(ConfigError, match=message):
        open_inputs(config, devices=FakeDevices())


def test_without_evdev_the_pedal_itself_says_what_is_missing() -> None:
    class WithoutEvdev(FakeDevices):
        def codes(self) -> dict[str, int]:
            raise RobotError("evdev is not installed")

    (source,) = open_inputs(
        OperatorConfig(keyboard=None, pedal=PedalConfig()), devices=WithoutEvdev()
    )

    assert isinstance(source, DeviceSource)


@pytest.mark.usefixtures("no_display")
def test_without_a_display_the_keyboard_is_heard_in_the_terminal(terminal: str) -> None:
    """Whether pynput is missing or has nothing to connect to."""
    keyboard = keyboard_source(KeyboardConfig(mode="auto"), terminal=terminal)
    assert isinstance(keyboard, FirstThatWorks)

    keyboard.start(Listener())

    assert keyboard.status().problem is None
    keyboard.stop()
    assert keyboard.status().problem == "it has been stopped"


@pytest.mark.usefixtures("no_display")
def test_without_either_both_reasons_are_said() -> None:
    keyboard = keyboard_source(KeyboardConfig(mode="auto"), terminal="/dev/null")

    keyboard.start(Listener())

    problem = keyboard.status().problem or ""
    assert "use mode: terminal; no keys can be read from a terminal" in problem
    keyboard.stop()


@pytest.mark.usefixtures("no_display")
def test_a_display_that_is_wanted_and_missing_is_a_problem() -> None:
    keyboard = keyboard_source(KeyboardConfig(mode="display"))

    keyboard.start(Listener())

    problem = keyboard.status().problem or ""
    assert problem.startswith((NO_DISPLAY, "pynput is not installed"))
    keyboard.stop()


@pytest.mark.usefixtures("no_display")
def test_wayland_tells_nobody_of_keys_so_the_terminal_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")

    assert isinstance(keyboard_source(KeyboardConfig()), TerminalKeyboard)


def test_the_first_way_that_works_is_used() -> None:
    class Broken(ScriptedOperator):
        def start(self, heard: Heard) -> None:
            self._health.report(f"broken for {heard}")

    good, spare = ScriptedOperator([]), ScriptedOperator([])
    keyboard = FirstThatWorks([Broken([]), good, spare])

    keyboard.start(Listener())

    assert good.status().problem is None
    assert keyboard.status().problem is None
    assert spare.status().problem == "it has not been started"
