"""A keyboard heard through the display; the one place that loads pynput.

It hears the keys typed into any window, whichever program has the focus.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from recap_core.collection.inputs.edges import BoundKeys, EdgeRule, KeyEvent
from recap_core.collection.inputs.health import SourceHealth
from recap_core.collection.inputs.terminal import QuietTerminal
from recap_core.rollout.live import Heard, InputStatus, Request, SafetySignal

OPEN_S = 15.0
"""A display must answer within this time, s; where a PC has just started, that takes seconds."""
CLOSE_S = 0.5
FLICKER_S = 0.03
"""Nobody lets go of a key and presses it again so quickly: it is held, s."""
_MODIFIERS = frozenset({"ctrl", "alt", "cmd"})


class DisplayKeyboard:
    """Hears the keys of a display in pynput's thread.

    Keys pressed together with Ctrl, Alt or the logo key are other programs' commands and are
    ignored, but for an emergency stop.
    """

    def __init__(
        self,
        keys: Mapping[str, Request],
        *,
        debounce_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up; nothing is opened yet.

        Args:
            keys: What each key asks for.
            debounce_s: A key counts once in this time, s.
            clock: Seconds that never go back.
        """
        self._health = SourceHealth("keyboard", keys)
        # No silence ends a press: an X server may keep a held key's repeats back until its release.
        rule = EdgeRule(debounce_s=debounce_s, flicker_s=FLICKER_S)
        self._keys = BoundKeys(keys, rule)
        self._clock = clock
        self._modifiers: set[str] = set()
        self._listener: Any = None  # pynput has no types
        self._terminal: QuietTerminal | None = None
        self._heard: Heard | None = None

    def start(self, heard: Heard) -> None:
        """Begin to listen; no display is a problem, no error."""
        opening = _Opening(self._on_press, self._on_release)
        problem = opening.problem_within(OPEN_S)
        if problem is not None:
            self._health.report(problem)
            return
        self._listener, self._heard = opening.listener, heard
        with contextlib.suppress(OSError):  # started without a terminal: nothing to keep quiet
            self._terminal = QuietTerminal()
        self._health.works("hearing the keys of all windows of the display")

    def status(self) -> InputStatus:
        """How it is doing now."""
        if self._heard is not None and not self._listener.is_alive():
            self._health.report("the display is gone; start again")
        return self._health.status()

    def stop(self) -> None:
        """Hear nothing more."""
        was_heard, self._heard = self._heard is not None, None
        if was_heard:
            # Its thread may wait for the display for ever, so it is asked, and not waited for.
            asking = threading.Thread(target=self._listener.stop, daemon=True)
            asking.start()
            asking.join(CLOSE_S)
            self._health.rests("it has been stopped")
        if self._terminal is not None:
            self._terminal.restore()
            self._terminal = None

    def _on_press(self, key: Any) -> None:  # noqa: ANN401 - pynput has no types
        name = _key_name(key)
        if name is None or self._heard is None:
            return
        if (modifier := name.partition("_")[0]) in _MODIFIERS:
            self._modifiers.add(modifier)
            return
        request = self._keys.request(KeyEvent(name, is_down=True, time_s=self._clock()))
        if request is not None and (not self._modifiers or request is SafetySignal.EMERGENCY_STOP):
            self._heard(request, self._health.name)

    def _on_release(self, key: Any) -> None:  # noqa: ANN401 - pynput has no types
        name = _key_name(key)
        if name is None:
            return
        self._modifiers.discard(name.partition("_")[0])
        self._keys.request(KeyEvent(name, is_down=False, time_s=self._clock()))


def _key_name(key: Any) -> str | None:  # noqa: ANN401 - pynput has no types
    """Our name of a key of pynput; None for those that have neither a name nor a character."""
    name = getattr(key, "name", None) or getattr(key, "char", None)
    return name.lower() if isinstance(name, str) else None


class _Opening:
    """Loads pynput and starts its listener in a thread, for either may wait for ever."""

    def __init__(self, on_press: Callable[[Any], None], on_release: Callable[[Any], None]) -> None:
        self.listener: Any = None
        self._on_press, self._on_release = on_press, on_release
        self._problem: str | None = None
        self._is_over = threading.Event()
        threading.Thread(target=self._open, name="input-display", daemon=True).start()

    def problem_within(self, timeout_s: float) -> str | None:
        """Why it does not listen by then; None: it does."""
        deadline_s = time.monotonic() + timeout_s
        while not self._is_over.wait(0.02):
            listener = self.listener
            if listener is not None and not listener.is_alive():
                return "the display lets nobody listen to its keys; use mode: terminal"
            if time.monotonic() > deadline_s:
                return f"the display has not answered within {timeout_s:g} s; use mode: terminal"
        return self._problem

    def _open(self) -> None:
        try:
            from pynput import keyboard
        except ImportError as error:
            if error.name is not None and error.name.startswith("pynput"):
                self._problem = (
                    "pynput is not installed; pip install 'recap[robot]', or use mode: terminal"
                )
            else:
                reason = " ".join(str(error).split("Try one of")[0].split())
                self._problem = (
                    f"no display can be used ({reason}); set DISPLAY, or use mode: terminal"
                )
        else:
            listener = keyboard.Listener(on_press=self._on_press, on_release=self._on_release)
            listener.start()
            self.listener = listener
            listener.wait()
        self._is_over.set()
