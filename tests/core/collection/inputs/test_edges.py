"""Which key events count."""

import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.collection.inputs.display import FLICKER_S
from recap_core.collection.inputs.edges import BoundKeys, EdgeRule, EdgeTrigger, KeyEvent
from recap_core.collection.inputs.requests import REQUESTS, bound_requests
from recap_core.collection.inputs.terminal import REPEAT_S
from recap_core.config.operator import KEYBOARD_KEYS, REQUEST_NAMES
from recap_core.rollout.live import EpisodeSignal, SafetySignal
from recap_core.rollout.phase import PhaseEvent

KEYBOARD = EdgeRule(flicker_s=FLICKER_S)
PEDAL = EdgeRule(debounce_s=0.3, silence_s=0.0)
TERMINAL = EdgeRule(silence_s=0.7, repeat_s=REPEAT_S)


def _counted(rule: EdgeRule, events: list[tuple[float, bool]]) -> list[float]:
    trigger = EdgeTrigger(rule)
    return [
        time_s for time_s, down in events if trigger.is_press(KeyEvent("k", down, float(time_s)))
    ]


def test_every_request_has_one_name_everywhere() -> None:
    assert set(REQUESTS) == set(REQUEST_NAMES) == set(KEYBOARD_KEYS.values())


@pytest.mark.parametrize(
    ("rule", "events", "counted"),
    [
        # An X server sends a held key as presses: 0.66 s until the second, then 25 a second.
        (KEYBOARD, [(0, True), (0.66, True), (0.7, True), (0.74, True), (0.75, False)], [0]),
        # Others send pairs of release and press at one moment.
        (KEYBOARD, [(0, True), (0.5, False), (0.5, True), (0.54, False), (0.54, True)], [0]),
        # Let go of and pressed again.
        (KEYBOARD, [(0, True), (0.1, False), (0.2, True)], [0, 0.2]),
        # An X server keeps the repeats back until the release.
        (KEYBOARD, [(0, True), (9, True), (9, True), (9, False), (9.2, True)], [0, 9.2]),
        # A release without a press is nothing, and starts no time.
        (KEYBOARD, [(0, False), (0, True)], [0]),
        # A pedal bounces: down, up, down within milliseconds.
        (PEDAL, [(0, True), (0.01, False), (0.02, True), (0.2, False)], [0]),
        # The debounce runs from the last press that counted, not from those refused.
        (PEDAL, [(0, True), (0.2, True), (0.25, False), (0.31, True)], [0, 0.31]),
        # A press while down, with Linux's other value for repeats: its release was lost.
        (PEDAL, [(0, True), (0.4, True)], [0, 0.4]),
        # A terminal repeats a held key and tells no release.
        (TERMINAL, [(0, True), (0.66, True), (0.7, True), (0.8, True)], [0]),
        # Let go of and pressed again: no held key pauses once it repeats.
        (TERMINAL, [(0, True), (0.66, True), (0.7, True), (1.3, True)], [0, 1.3]),
        # Somebody hammers it: no two presses in a row go unheard.
        (TERMINAL, [(index * 0.3, True) for index in range(5)], [0, 0.6, 1.2]),
        (TERMINAL, [(0, True), (0.5, True), (0.8, True), (1.1, True)], [0, 0.8]),
        (TERMINAL, [(0, True), (0.8, True)], [0, 0.8]),
    ],
)
def test_worked_out_by_hand(
    rule: EdgeRule, events: list[tuple[float, bool]], counted: list[float]
) -> None:
    assert _counted(rule, events) == counted


_MOMENTS = st.lists(st.integers(1, 400), min_size=1, max_size=40).map(
    lambda gaps: [sum(gaps[: index + 1]) / 1000 for index in range(len(gaps))]
)


@settings(deadline=None)
@given(times=_MOMENTS, downs=st.lists(st.booleans(), min_size=40, max_size=40))
def test_between_two_presses_that_count_lies_a_release(
    times: list[float], downs: list[bool]
) -> None:
    """Whatever a keyboard sends: no auto-repeat counts."""
    events = list(zip(times, downs, strict=False))

    counted = _counted(KEYBOARD, events)

    presses = [time_s for time_s, is_down in events if is_down]
    assert counted[:1] == presses[:1]
    for before, after in itertools.pairwise(counted):
        assert any(not is_down for time_s, is_down in events if before < time_s < after)


@settings(deadline=None)
@given(times=_MOMENTS, downs=st.lists(st.booleans(), min_size=40, max_size=40))
def test_a_pedal_counts_each_debounce_time_once(times: list[float], downs: list[bool]) -> None:
    """The plain definition: the first press, then the first one 0.3 s or more after it, and on."""
    events = list(zip(times, downs, strict=False))
    expected: list[float] = []
    for time_s, is_down in events:
        if is_down and (not expected or time_s - expected[-1] >= 0.3):
            expected.append(time_s)

    assert _counted(PEDAL, events) == expected


@settings(deadline=None)
@given(
    keys=st.lists(st.sampled_from("abc"), max_size=30),
    debounce_s=st.sampled_from([0.0, 0.3]),
)
def test_keys_do_not_touch_one_another(keys: list[str], debounce_s: float) -> None:
    """The events of all keys together count as those of each key alone."""
    rule = EdgeRule(debounce_s=debounce_s, silence_s=0.5)
    events = [KeyEvent(key, is_down=True, time_s=0.1 * i) for i, key in enumerate(keys)]
    together = EdgeTrigger(rule)
    counted = [event for event in events if together.is_press(event)]

    for key in "abc":
        alone = EdgeTrigger(rule)
        own = [event for event in events if event.key == key]
        assert [event for event in counted if event.key == key] == [
            event for event in own if alone.is_press(event)
        ]


def test_a_key_becomes_what_it_is_bound_to() -> None:
    keys = BoundKeys(bound_requests({"space": "start_stop", "p": "pause_resume"}), KEYBOARD)

    heard = [
        keys.request(KeyEvent(key, is_down=True, time_s=float(index)))
        for index, key in enumerate(["space", "x", "p", "f1"])
    ]

    assert heard == [EpisodeSignal.START_STOP, None, PhaseEvent.PAUSE_RESUME, None]


@pytest.mark.parametrize("rule", [KEYBOARD, PEDAL, TERMINAL, EdgeRule(debounce_s=2.0)])
def test_every_press_of_an_emergency_stop_counts(rule: EdgeRule) -> None:
    """Bouncing, repeated or held: to stop twice does no harm. A release asks for nothing."""
    keys = BoundKeys(bound_requests({"e": "emergency_stop"}), rule)
    events = [(0.0, True), (0.01, True), (0.02, False), (0.025, True), (0.5, True), (0.6, True)]

    heard = [keys.request(KeyEvent("e", is_down, time_s)) for time_s, is_down in events]

    assert heard == [SafetySignal.EMERGENCY_STOP if down else None for _, down in events]


def test_after_a_reset_all_keys_are_up() -> None:
    keys = BoundKeys(bound_requests({"s": "success"}), EdgeRule())

    assert keys.request(KeyEvent("s", is_down=True, time_s=0.0)) is EpisodeSignal.SUCCESS
    assert keys.request(KeyEvent("s", is_down=True, time_s=1.0)) is None
    keys.reset()
    assert keys.request(KeyEvent("s", is_down=True, time_s=2.0)) is EpisodeSignal.SUCCESS


def test_of_many_threads_with_the_same_press_one_counts() -> None:
    trigger = EdgeTrigger(EdgeRule(debounce_s=1.0))
    gate = threading.Barrier(8)
    events = [KeyEvent("k", is_down=True, time_s=index / 200) for index in range(100)]
    counted: list[bool] = []

    def press() -> None:
        gate.wait()
        for event in events:
            counted.append(trigger.is_press(event))  # noqa: PERF401 - all threads at the same time

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counted.count(True) == 1
