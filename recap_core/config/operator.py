"""What an operator presses, and what it means: keyboard, pedal, gamepad and socket.

A robot cell's settings hold them as ``inputs``; alone they are a YAML file::

    keyboard: {mode: terminal}
    pedal: {device: "3553:b001"}
    socket: {port: 8113}

``keys`` of a source replaces its default table as a whole, so that a file shows everything that
has an effect.
"""

import difflib
import ipaddress
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, cast

from pydantic import Field, field_validator, model_validator

from recap_core.config.base import RuntimeConfig
from recap_core.errors import ConfigError

type RequestName = Literal[
    "pause_resume",
    "correction",
    "start_stop",
    "success",
    "discard",
    "quit",
    "emergency_stop",
    "reset",
]
"""What can be asked for, by the names of :mod:`recap_core.rollout.live`."""

REQUEST_NAMES: tuple[RequestName, ...] = (
    "start_stop",
    "success",
    "discard",
    "pause_resume",
    "correction",
    "emergency_stop",
    "reset",
    "quit",
)
"""All of them, in the order in which a screen shows them."""

NAMED_KEYS = frozenset(
    {"space", "enter", "esc", "tab", "backspace", "delete", "insert"}
    | {"up", "down", "left", "right", "home", "end", "page_up", "page_down"}
    | {f"f{number}" for number in range(1, 13)}
)
"""Keys of a keyboard that print nothing; any other key is named by what it prints."""

_OTHER_NAMES = {
    " ": "space",
    "return": "enter",
    "escape": "esc",
    "del": "delete",
    "pageup": "page_up",
    "pagedown": "page_down",
}

KEYBOARD_KEYS: Mapping[str, RequestName] = {
    "space": "start_stop",
    "enter": "start_stop",
    "s": "success",
    "d": "discard",
    "p": "pause_resume",
    "left": "pause_resume",
    "c": "correction",
    "right": "correction",
    "e": "emergency_stop",
    "backspace": "emergency_stop",
    "r": "reset",
    "q": "quit",
    "esc": "quit",
}
PEDAL_KEYS: Mapping[str, RequestName] = {"KEY_A": "pause_resume", "KEY_B": "correction"}
GAMEPAD_KEYS: Mapping[str, RequestName] = {
    "BTN_START": "start_stop",
    "BTN_NORTH": "success",
    "BTN_WEST": "discard",
    "BTN_SOUTH": "pause_resume",
    "BTN_EAST": "correction",
    "BTN_TL": "emergency_stop",
    "BTN_TR": "emergency_stop",
    "BTN_MODE": "reset",
    "BTN_SELECT": "quit",
}


def keyboard_key(name: str) -> str:
    """The one name of a key of a keyboard.

    Raises:
        ValueError: If there is no such key; it names the nearest one.
    """
    lower = name.lower()
    known = _OTHER_NAMES.get(lower, lower)
    if known in NAMED_KEYS or (len(known) == 1 and known.isprintable()):
        return known
    raise ValueError(
        f"{name!r} is no key{nearest(lower, sorted(NAMED_KEYS | set(_OTHER_NAMES)))} A key is "
        f"named by what it prints, or is one of {', '.join(sorted(NAMED_KEYS))}"
    )


def device_key(name: str) -> str:
    """The one name of a key or button of an input device, as Linux names it.

    Raises:
        ValueError: If it is no such name; whether a name of the right form exists is known only
            where devices are read.
    """
    upper = name.upper()
    if re.fullmatch(r"(KEY|BTN)_[A-Z0-9_]+", upper):
        return upper
    raise ValueError(
        f"{name!r} is no key of an input device; did you mean 'KEY_{upper}'? They are named as "
        "Linux names them: KEY_A, KEY_F13, BTN_SOUTH"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence: ``; did you mean 'x'?`` where something is near, else a full stop."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _checked_keys(keys: object, key_name: Callable[[str], str]) -> dict[str, str]:
    """``keys`` under the keys' one names.

    Raises:
        ValueError: If a key or a request is unknown, or two lines bind the same key.
    """
    if not isinstance(keys, Mapping) or not keys:
        raise ValueError(
            "it must say for at least one key what it means, as in {space: start_stop}"
        )
    checked: dict[str, str] = {}
    for given, request in cast("Mapping[object, object]", keys).items():
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise ValueError(f"{given!r} is no key; put its name in quotes")  # noqa: TRY004
        key = key_name(str(given))
        if request not in REQUEST_NAMES:
            raise ValueError(
                f"{given!r} is bound to {request!r}, which nobody can ask for"
                f"{nearest(str(request), REQUEST_NAMES)} There are {', '.join(REQUEST_NAMES)}"
            )
        if key in checked:
            raise ValueError(
                f"{key!r} is bound twice, to {checked[key]!r} and to {request!r} (as {given!r}); "
                "take one of the lines out"
            )
        checked[key] = str(request)
    return checked


class KeyboardConfig(RuntimeConfig):
    """A keyboard, heard through the display or through the terminal."""

    mode: Literal["auto", "display", "terminal"] = "auto"
    """``display`` hears keys typed into any window of an X display, also into other programs;
    ``terminal`` those typed into the terminal of this program. ``auto``: the display where one
    works, else the terminal."""
    keys: Mapping[str, RequestName] = dict(KEYBOARD_KEYS)
    """What each key asks for."""
    debounce_s: float = Field(default=0.0, ge=0, le=2)
    """A key counts once in this time, however often it is pressed, s."""
    held_s: float = Field(default=0.7, gt=0, le=3)
    """On a terminal, which tells no release: a key that comes again within this time is the same
    press, held, unless its rhythm says otherwise, s. Longer than the keyboard waits before it
    repeats."""

    @field_validator("keys", mode="before")
    @classmethod
    def _check_keys(cls, keys: object) -> dict[str, str]:
        return _checked_keys(keys, keyboard_key)


class DeviceConfig(RuntimeConfig):
    """A Linux input device whose keys or buttons are read directly."""

    device: str = Field(min_length=1)
    """Which one: its USB id (``3553:b001``), a path under ``/dev/input``, where ``*`` may stand for
    anything (``/dev/input/by-id/*FootSwitch*``), or a part of its name (``FootSwitch``)."""
    keys: Mapping[str, RequestName]
    """What each key asks for, by Linux's names of keys."""
    debounce_s: float = Field(default=0.3, ge=0, le=2)
    """A key counts once in this time, however often it is pressed, s."""
    grab: bool = True
    """Have it alone: without that, a pedal also types into the window that has the focus."""

    @field_validator("keys", mode="before")
    @classmethod
    def _check_keys(cls, keys: object) -> dict[str, str]:
        return _checked_keys(keys, device_key)


class PedalConfig(DeviceConfig):
    """A foot pedal: by default the double one of the reference cell."""

    device: str = Field(default="3553:b001", min_length=1)
    keys: Mapping[str, RequestName] = dict(PEDAL_KEYS)


class GamepadConfig(DeviceConfig):
    """The buttons of a gamepad; sticks and the cross are not read."""

    device: str = Field(default="/dev/input/by-id/*-event-joystick", min_length=1)
    keys: Mapping[str, RequestName] = dict(GAMEPAD_KEYS)
    debounce_s: float = Field(default=0.1, ge=0, le=2)


class SocketConfig(RuntimeConfig):
    """A TCP port that takes requests as lines of text, for a phone, a script or another program."""

    host: str = "127.0.0.1"
    """Address to listen at. Any other than this machine's own needs a token."""
    port: int = Field(default=8113, ge=0, le=65535)
    """0: one that is free."""
    token_variable: str | None = None
    """Environment variable that holds the token a client must show first; None: nobody is asked."""
    max_clients: int = Field(default=4, ge=1, le=64)
    max_line_bytes: int = Field(default=256, ge=16, le=4096)
    """Longer lines end the connection."""

    @model_validator(mode="after")
    def _check_token(self) -> "SocketConfig":
        if self.token_variable is None and not _is_this_machine(self.host):
            raise ValueError(
                f"host {self.host!r} lets other machines drive the robot without a token; set "
                "token_variable to the environment variable that holds one, or host to 127.0.0.1"
            )
        return self

    def token(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The token a client must show; None: nobody is asked.

        Raises:
            ConfigError: If the environment does not hold it.
        """
        if self.token_variable is None:
            return None
        token = environment.get(self.token_variable, "").strip()
        if not token:
            raise ConfigError(
                f"the environment variable {self.token_variable} is empty, but socket."
                "token_variable says that it holds the token of the operator's socket. Set it, "
                "for instance to what `openssl rand -hex 16` prints."
            )
        return token


class OperatorConfig(RuntimeConfig):
    """All that an operator can press; None: not used."""

    keyboard: KeyboardConfig | None = KeyboardConfig()
    pedal: PedalConfig | None = None
    gamepad: GamepadConfig | None = None
    socket: SocketConfig | None = None


def display_in_use(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Literal["x11", "wayland", "native", "none"]:
    """What shows windows here.

    A Wayland session has an X display, too, but tells it only of keys typed into X windows.
    """
    if not platform.startswith("linux"):
        return "native"
    if environment.get("WAYLAND_DISPLAY") or environment.get("XDG_SESSION_TYPE") == "wayland":
        return "wayland"
    return "x11" if environment.get("DISPLAY") else "none"


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
