"""The phase machine."""

import itertools
import threading

import pytest

from recap_core.rollout.phase import (
    Phase,
    PhaseEvent,
    PhaseMachine,
    Transition,
    event_towards,
    next_phase,
)

LEGAL = {
    (Phase.AUTONOMOUS, PhaseEvent.PAUSE_RESUME): Phase.PAUSED,
    (Phase.PAUSED, PhaseEvent.PAUSE_RESUME): Phase.AUTONOMOUS,
    (Phase.PAUSED, PhaseEvent.CORRECTION): Phase.CORRECTING,
    (Phase.CORRECTING, PhaseEvent.CORRECTION): Phase.PAUSED,
}


@pytest.mark.parametrize(("phase", "event"), [*itertools.product(Phase, PhaseEvent)])
def test_exactly_four_edges_are_legal(phase: Phase, event: PhaseEvent) -> None:
    """Four of the six pairs of phase and event lead somewhere; the others nowhere."""
    assert next_phase(phase, event) == LEGAL.get((phase, event))


def test_phases_are_the_strings_on_disk() -> None:
    """``phase.npy`` holds these words."""
    assert [phase.value for phase in Phase] == ["autonomous", "paused", "correcting"]


def test_an_illegal_request_is_refused_and_changes_nothing() -> None:
    """A request without an edge returns False, and the pending one stays."""
    machine = PhaseMachine(Phase.AUTONOMOUS)
    assert machine.request(PhaseEvent.PAUSE_RESUME)
    assert not machine.request(PhaseEvent.CORRECTION)
    assert machine.consume() == Transition(Phase.AUTONOMOUS, Phase.PAUSED)


def test_a_request_shows_only_when_it_is_consumed() -> None:
    """The control loop alone changes the phase."""
    machine = PhaseMachine(Phase.PAUSED)
    machine.request(PhaseEvent.CORRECTION)
    assert machine.phase is Phase.PAUSED
    machine.consume()
    assert machine.phase is Phase.CORRECTING


def test_the_last_valid_request_wins() -> None:
    """One slot: correction replaces the pending resume."""
    machine = PhaseMachine(Phase.PAUSED)
    machine.request(PhaseEvent.PAUSE_RESUME)
    machine.request(PhaseEvent.CORRECTION)
    assert machine.consume() == Transition(Phase.PAUSED, Phase.CORRECTING)
    assert machine.consume() is None


def test_validity_is_judged_when_the_request_is_made() -> None:
    """A pending pause does not make a correction legal yet."""
    machine = PhaseMachine(Phase.AUTONOMOUS)
    machine.request(PhaseEvent.PAUSE_RESUME)
    assert not machine.request(PhaseEvent.CORRECTION)


def test_reset_forgets_a_pending_request() -> None:
    """A new episode does not begin with an old wish."""
    machine = PhaseMachine(Phase.AUTONOMOUS)
    machine.request(PhaseEvent.PAUSE_RESUME)
    machine.reset(Phase.CORRECTING)
    assert machine.consume() is None
    assert machine.phase is Phase.CORRECTING


def test_requests_from_threads_never_leave_the_four_edges() -> None:
    """Four threads press pedals at random while the loop consumes: every transition is legal."""
    machine = PhaseMachine()
    stop = threading.Event()

    def press(event: PhaseEvent) -> None:
        while not stop.is_set():
            machine.request(event)

    threads = [threading.Thread(target=press, args=(event,)) for event in [*PhaseEvent] * 2]
    for thread in threads:
        thread.start()
    seen = [transition for _ in range(2000) if (transition := machine.consume())]
    stop.set()
    for thread in threads:
        thread.join()

    edges = {(before, after) for (before, _), after in LEGAL.items()}
    assert set(seen) <= edges
    pairs = itertools.pairwise(seen)
    assert all(first.after is second.before for first, second in pairs)


@pytest.mark.parametrize(
    ("phase", "wanted", "event"),
    [
        (Phase.AUTONOMOUS, True, PhaseEvent.PAUSE_RESUME),
        (Phase.PAUSED, True, PhaseEvent.CORRECTION),
        (Phase.CORRECTING, True, None),
        (Phase.CORRECTING, False, PhaseEvent.CORRECTION),
        (Phase.PAUSED, False, PhaseEvent.PAUSE_RESUME),
        (Phase.AUTONOMOUS, False, None),
    ],
)
def test_a_wish_becomes_the_next_edge(
    phase: Phase, *, wanted: bool, event: PhaseEvent | None
) -> None:
    """From every phase, the event leads one edge closer to the wanted driver."""
    assert event_towards(phase, is_intervention=wanted) is event
