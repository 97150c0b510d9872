"""What an operator's settings may say."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from recap_core.config.operator import (
    GAMEPAD_KEYS,
    KEYBOARD_KEYS,
    PEDAL_KEYS,
    REQUEST_NAMES,
    DeviceConfig,
    GamepadConfig,
    KeyboardConfig,
    OperatorConfig,
    PedalConfig,
    SocketConfig,
    display_in_use,
)
from recap_core.config.overlay import overlaid, read_settings, validated
from recap_core.errors import ConfigError

ANYWHERE = "0.0.0.0"  # noqa: S104 - nothing is opened here
VARIABLE = "CELL_TOKEN"


def _read(tmp_path: Path, text: str) -> OperatorConfig:
    file = tmp_path / "operator.yaml"
    file.write_text(text, encoding="utf-8")
    return validated(OperatorConfig, read_settings(file), of=str(file))


def test_the_keys_of_the_reference_cell_are_the_defaults() -> None:
    keyboard, pedal = KeyboardConfig().keys, PedalConfig().keys

    assert {key: keyboard[key] for key in ("space", "enter", "s", "d", "q", "esc")} == {
        "space": "start_stop",
        "enter": "start_stop",
        "s": "success",
        "d": "discard",
        "q": "quit",
        "esc": "quit",
    }
    assert pedal == {"KEY_A": "pause_resume", "KEY_B": "correction"}
    assert PedalConfig().device == "3553:b001"
    assert PedalConfig().debounce_s == 0.3


def test_without_a_file_there_is_a_keyboard_only() -> None:
    config = OperatorConfig()

    assert config.keyboard == KeyboardConfig()
    assert (config.pedal, config.gamepad, config.socket) == (None, None, None)


def test_a_file_says_what_each_key_means(tmp_path: Path) -> None:
    """Numbers and other spellings are keys, too; ``keys`` replaces the defaults."""
    config = _read(
        tmp_path,
        """
keyboard:
  mode: terminal
  keys: {1: start_stop, S: success, Return: discard, "y": quit, PageUp: correction}
pedal: {device: FootSwitch, keys: {key_f13: pause_resume}}
gamepad: {}
socket: {port: 0}
""",
    )

    assert config.keyboard is not None
    assert config.keyboard.keys == {
        "1": "start_stop",
        "s": "success",
        "enter": "discard",
        "y": "quit",
        "page_up": "correction",
    }
    assert config.pedal == PedalConfig(device="FootSwitch", keys={"KEY_F13": "pause_resume"})
    assert config.gamepad == GamepadConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keyboard: {keys: {spce: quit}}", "'spce' is no key; did you mean 'space'?"),
        (
            "keyboard: {keys: {a: correct}}",
            "'a' is bound to 'correct', which nobody can ask for; did you mean 'correction'?",
        ),
        ("keyboard: {keys: {a: zzz}}", "which nobody can ask for. There are start_stop"),
        (
            "keyboard: {keys: {esc: quit, Escape: discard}}",
            "'esc' is bound twice, to 'quit' and to 'discard' (as 'Escape')",
        ),
        ("keyboard: {keys: {s: quit, d: quit, s: success}}", "'s' is given twice"),
        ("keyboard: {keys: {on: quit}}", "True is no key; put its name in quotes"),
        ("keyboard: {keys: {}}", "it must say for at least one key what it means"),
        ("pedal: {keys: {a: quit}}", "'a' is no key of an input device; did you mean 'KEY_A'?"),
        ("keyboards: {}", "unknown setting 'keyboards'; did you mean 'keyboard'?"),
        ("socket: {host: 0.0.0.0}", "lets other machines drive the robot without a token"),
        ("socket: {host: robot.local}", "lets other machines drive the robot without a token"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        _read(tmp_path, text)

    assert message in str(error.value)
    assert "operator.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_survive_being_written_and_read() -> None:
    """As every project file does with them, also with changes laid over."""
    config = OperatorConfig(
        keyboard=KeyboardConfig(keys={"x": "quit"}),
        pedal=PedalConfig(),
        socket=SocketConfig(host=ANYWHERE, token_variable=VARIABLE),
    )

    assert validated(OperatorConfig, config.model_dump(mode="json")) == config
    changed = overlaid(config, {"keyboard": {"mode": "terminal"}})
    assert changed.keyboard == KeyboardConfig(keys={"x": "quit"}, mode="terminal")


def test_a_device_has_no_keys_of_its_own() -> None:
    with pytest.raises(ConfigError, match="keys"):
        validated(DeviceConfig, {"device": "x"})


def test_parts_of_a_file_may_be_written_once(tmp_path: Path) -> None:
    """YAML's anchors and merge keys, under which a key may come again."""
    config = _read(
        tmp_path,
        """
keyboard: {keys: {x: quit, s: success}}
pedal: {keys: {KEY_A: pause_resume}, device: a}
gamepad: {<<: {device: b, debounce_s: 0.2}, debounce_s: 0.5}
""",
    )

    assert config.gamepad == GamepadConfig(device="b", debounce_s=0.5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert SocketConfig(host=host).token({}) is None


def test_a_token_is_in_the_environment_not_in_the_file() -> None:
    config = SocketConfig(host=ANYWHERE, token_variable=VARIABLE)

    assert config.token({"CELL_TOKEN": " abc \n"}) == "abc"
    with pytest.raises(ConfigError, match="the environment variable CELL_TOKEN is empty"):
        config.token({"CELL_TOKEN": " "})


@pytest.mark.parametrize(
    ("environment", "platform", "display"),
    [
        ({}, "linux", "none"),
        ({"DISPLAY": ":0"}, "linux", "x11"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "linux", "wayland"),
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland"}, "linux", "wayland"),
        ({}, "darwin", "native"),
    ],
)
def test_what_shows_windows(environment: dict[str, str], platform: str, display: str) -> None:
    assert display_in_use(environment, platform) == display


def test_the_page_says_what_the_code_does() -> None:
    """The YAML of docs/inputs.md is accepted, and its table has the default keys."""
    page = (Path(__file__).parents[3] / "docs/inputs.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \| [^|]+\| ([^|]+)\| ([^|]*)\| ([^|]*)\|$", page, re.MULTILINE)

    for example in examples:
        validated(OperatorConfig, yaml.safe_load(example)["inputs"])
    assert len(examples) == 2
    assert {row[0] for row in rows} == set(REQUEST_NAMES)
    for request, keyboard, pedal, gamepad in rows:
        assert keyboard.strip().split(", ") == _keys_of(request, KEYBOARD_KEYS)
        assert re.findall("`(.*?)`", pedal) == _keys_of(request, PEDAL_KEYS)
        buttons = _keys_of(request, GAMEPAD_KEYS)
        assert re.findall(r"\w+", gamepad) == [key.removeprefix("BTN_") for key in buttons]


def _keys_of(request: str, keys: Mapping[str, str]) -> list[str]:
    return [key for key, meant in keys.items() if meant == request]
