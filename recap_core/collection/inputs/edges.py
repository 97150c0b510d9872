"""Which key events count: the first press of a key until its release, and not too often.

A held key arrives in three ways. An X server sends it as many presses, some as pairs of release and
press at the same moment, and often keeps them back and sends all just before the release. Linux's
input devices send one press and then repeats of another kind, which never come here. A terminal
sends it again and again and never tells a release. One rule covers all: a press counts if the key
was up, or, where releases go unheard, comes in a rhythm that no held key has.
"""

import math
import threading
from collections.abc import Mapping
from typing import NamedTuple

from recap_core.rollout.live import Request, SafetySignal


class KeyEvent(NamedTuple):
    """One key going down or up."""

    key: str
    is_down: bool
    time_s: float
    """On a clock that never goes back."""


class EdgeRule(NamedTuple):
    """When a press counts."""

    debounce_s: float = 0.0
    """Not within this time of the last press of the key that counted, s."""
    flicker_s: float = 0.0
    """Not within this time of the key's release: it was never let go of, s."""
    silence_s: float = math.inf
    """Even while the key is down, once nothing came from it for this time, s. 0: every press of a
    key that is down means that its release was lost."""
    repeat_s: float = math.inf
    """Even while the key is down, if it comes this much later than its last repeat, s: a held key
    waits once, before its first repeat."""


class _Key:
    """What was last heard from a key."""

    def __init__(self) -> None:
        self.is_down = False
        self.is_repeating = False
        self.pressed_s = -math.inf
        self.released_s = -math.inf
        self.counted_s = -math.inf


class EdgeTrigger:
    """Says which events are new presses; any thread may ask."""

    def __init__(self, rule: EdgeRule) -> None:
        self._rule = rule
        self._lock = threading.Lock()
        self._keys: dict[str, _Key] = {}

    def is_press(self, event: KeyEvent) -> bool:
        """Whether ``event`` begins a press that counts."""
        with self._lock:
            key = self._keys.setdefault(event.key, _Key())
            if event.is_down:
                return self._pressed(key, event.time_s)
            if key.is_down:
                key.is_down, key.released_s = False, event.time_s
            return False

    def reset(self) -> None:
        """All keys are up; what was debounced stays so."""
        with self._lock:
            for key in self._keys.values():
                key.is_down, key.released_s = False, -math.inf

    def _pressed(self, key: _Key, time_s: float) -> bool:
        if key.is_down:
            gap_s = time_s - key.pressed_s
            is_late = key.is_repeating and gap_s > self._rule.repeat_s
            is_held = gap_s < self._rule.silence_s and not is_late
        else:
            is_held = time_s - key.released_s <= self._rule.flicker_s
        key.is_down, key.is_repeating, key.pressed_s = True, is_held, time_s
        if is_held or time_s - key.counted_s < self._rule.debounce_s:
            return False
        key.counted_s = time_s
        return True


class BoundKeys:
    """Turns key events into requests; keys that mean nothing are ignored.

    Every coming of a key that means an emergency stop is one, repeats included.
    """

    def __init__(self, requests: Mapping[str, Request], rule: EdgeRule) -> None:
        self._requests = requests
        self._trigger = EdgeTrigger(rule)

    def request(self, event: KeyEvent) -> Request | None:
        """What ``event`` asks for; None: nothing."""
        request = self._requests.get(event.key)
        if request is SafetySignal.EMERGENCY_STOP:
            return request if event.is_down else None
        if request is None or not self._trigger.is_press(event):
            return None
        return request

    def reset(self) -> None:
        """All keys are up."""
        self._trigger.reset()
