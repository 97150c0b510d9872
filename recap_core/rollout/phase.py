"""Who drives: the policy, nobody, or the operator.

Three phases, two events and four legal edges::

    AUTONOMOUS <-- pause_resume --> PAUSED <-- correction --> CORRECTING

Any other request is refused when it is made. There is no direct edge between AUTONOMOUS and
CORRECTING: whoever takes over stops the robot first.
"""

import threading
from enum import StrEnum
from typing import NamedTuple


class Phase(StrEnum):
    """Who drives; the values are the strings in ``phase.npy``."""

    AUTONOMOUS = "autonomous"
    PAUSED = "paused"
    CORRECTING = "correcting"


class PhaseEvent(StrEnum):
    """What an operator can ask for (left and right pedal)."""

    PAUSE_RESUME = "pause_resume"
    CORRECTION = "correction"


class Transition(NamedTuple):
    """One change of phase."""

    before: Phase
    after: Phase


def next_phase(phase: Phase, event: PhaseEvent) -> Phase | None:
    """The phase that ``event`` leads to, or None where there is no such edge."""
    match phase, event:
        case Phase.AUTONOMOUS, PhaseEvent.PAUSE_RESUME:
            return Phase.PAUSED
        case Phase.PAUSED, PhaseEvent.PAUSE_RESUME:
            return Phase.AUTONOMOUS
        case Phase.PAUSED, PhaseEvent.CORRECTION:
            return Phase.CORRECTING
        case Phase.CORRECTING, PhaseEvent.CORRECTION:
            return Phase.PAUSED
    return None


def event_towards(phase: Phase, *, is_intervention: bool) -> PhaseEvent | None:
    """The event that leads from ``phase`` towards the wanted driver; None where it is reached.

    Turns the level "somebody wants control" (lerobot's ``is_intervention``) into edges of the
    machine; a takeover is two of them, through PAUSED.

    Args:
        phase: The present phase.
        is_intervention: True: the operator shall drive; False: the policy.
    """
    if phase is Phase.PAUSED:
        return PhaseEvent.CORRECTION if is_intervention else PhaseEvent.PAUSE_RESUME
    if phase is Phase.AUTONOMOUS and is_intervention:
        return PhaseEvent.PAUSE_RESUME
    if phase is Phase.CORRECTING and not is_intervention:
        return PhaseEvent.CORRECTION
    return None


class PhaseMachine:
    """The phase of one robot, with an inbox of one slot.

    Any thread may ``request``; only the control loop calls ``consume``, at most once per tick.
    A request is judged against the phase at that moment. A later valid request replaces a pending
    one; an invalid request changes nothing.
    """

    def __init__(self, initial: Phase = Phase.PAUSED) -> None:
        self._lock = threading.Lock()
        self._phase = initial
        self._pending: Phase | None = None

    @property
    def phase(self) -> Phase:
        """The present phase; a pending request does not show."""
        with self._lock:
            return self._phase

    def request(self, event: PhaseEvent) -> bool:
        """Ask for a transition; False where the present phase has no such edge."""
        with self._lock:
            target = next_phase(self._phase, event)
            if target is None:
                return False
            self._pending = target
            return True

    def consume(self) -> Transition | None:
        """Make the pending transition, if there is one."""
        with self._lock:
            if self._pending is None:
                return None
            transition = Transition(self._phase, self._pending)
            self._phase, self._pending = self._pending, None
            return transition

    def reset(self, phase: Phase = Phase.PAUSED) -> None:
        """Start over in ``phase`` and forget a pending request."""
        with self._lock:
            self._phase, self._pending = phase, None
