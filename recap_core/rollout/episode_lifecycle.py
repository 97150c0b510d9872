"""When an episode begins and ends, by an operator's signals (SPEC §2.3). Pure.

======== ============================ ==================================
signal   between episodes             while recording
======== ============================ ==================================
start    begin                        end, a failure
success  refused                      end, a success
discard  refused                      delete
quit     end the session              end, a failure; end the session
======== ============================ ==================================

An episode that reaches its time limit is a failure, unless the operator is correcting: then it goes
on until the correction is over. Nothing but the operator's word makes a success.
"""

import threading
from enum import StrEnum
from typing import Literal, NamedTuple

from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSignal


class EpisodeState(StrEnum):
    """Where a session is."""

    IDLE = "idle"
    """Between episodes; robot and pedals stay live."""
    RECORDING = "recording"
    OVER = "over"


class EpisodeStep(NamedTuple):
    """What the loop has to do now."""

    kind: Literal["start", "end", "quit"]
    outcome: Outcome | None = None
    """How the episode ended."""
    ends_session: bool = False


_STEPS = {
    (EpisodeState.IDLE, EpisodeSignal.START_STOP): EpisodeStep("start"),
    (EpisodeState.IDLE, EpisodeSignal.QUIT): EpisodeStep("quit", ends_session=True),
    (EpisodeState.RECORDING, EpisodeSignal.START_STOP): EpisodeStep("end", Outcome.FAILURE),
    (EpisodeState.RECORDING, EpisodeSignal.SUCCESS): EpisodeStep("end", Outcome.SUCCESS),
    (EpisodeState.RECORDING, EpisodeSignal.DISCARD): EpisodeStep("end", Outcome.DISCARD),
    (EpisodeState.RECORDING, EpisodeSignal.QUIT): EpisodeStep(
        "end", Outcome.FAILURE, ends_session=True
    ),
}


def step_of(state: EpisodeState, signal: EpisodeSignal) -> EpisodeStep | None:
    """What a signal leads to; None where it is refused."""
    return _STEPS.get((state, signal))


def refusal(state: EpisodeState, signal: EpisodeSignal) -> str:
    """Why a signal is refused, for the operator."""
    if state is EpisodeState.OVER:
        return f"{signal.value}: the session is over"
    return f"{signal.value}: no episode is being recorded; begin one first"


class EpisodeLifecycle:
    """The episodes of one session, with an inbox of one slot.

    Any thread may ``request``; only the control loop calls the rest, ``consume`` at most once per
    tick. A request is judged against the state at that moment. A later valid request replaces a
    pending one, but nothing replaces ``quit``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = EpisodeState.IDLE
        self._pending: EpisodeStep | None = None

    @property
    def state(self) -> EpisodeState:
        """The present state; a pending request does not show."""
        with self._lock:
            return self._state

    def request(self, signal: EpisodeSignal) -> bool:
        """Ask for a step; False where the present state has none for that signal."""
        with self._lock:
            step = step_of(self._state, signal)
            if step is None:
                return False
            if self._pending is None or not self._pending.ends_session:
                self._pending = step
            return True

    def consume(self) -> EpisodeStep | None:
        """Make the pending step, if there is one."""
        with self._lock:
            step, self._pending = self._pending, None
            if step is not None:
                self._move(step)
            return step

    def expire(self) -> EpisodeStep:
        """The episode's time is over: a failure. A pending request is forgotten, except ``quit``.

        Raises:
            ValueError: If no episode is being recorded.
        """
        with self._lock:
            if self._state is not EpisodeState.RECORDING:
                raise ValueError(f"an episode can only expire while recording, not {self._state}")
            pending, self._pending = self._pending, None
            step = EpisodeStep(
                "end", Outcome.FAILURE, ends_session=pending is not None and pending.ends_session
            )
            self._move(step)
            return step

    def cancel_start(self) -> None:
        """The episode that was to begin could not: there is none. Only ``quit`` is still wanted."""
        with self._lock:
            if self._state is EpisodeState.RECORDING:
                self._state = EpisodeState.IDLE
            wants_to_quit = self._pending is not None and self._pending.ends_session
            self._pending = EpisodeStep("quit", ends_session=True) if wants_to_quit else None

    def finish(self) -> None:
        """The session is over, because its goal is reached."""
        with self._lock:
            self._state, self._pending = EpisodeState.OVER, None

    def _move(self, step: EpisodeStep) -> None:
        if step.ends_session:
            self._state = EpisodeState.OVER
        else:
            self._state = EpisodeState.RECORDING if step.kind == "start" else EpisodeState.IDLE
