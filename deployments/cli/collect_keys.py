"""What the operator's keys mean at this moment, and which of them would be refused."""

from collections.abc import Mapping
from typing import NamedTuple

from recap_core.rollout.live import EpisodeSignal, LiveStatus, Request, SafetySignal
from recap_core.rollout.phase import Phase, PhaseEvent, next_phase

_ORDER: tuple[Request, ...] = (
    PhaseEvent.PAUSE_RESUME, PhaseEvent.CORRECTION, EpisodeSignal.START_STOP,
    EpisodeSignal.SUCCESS, EpisodeSignal.DISCARD, EpisodeSignal.QUIT,
    SafetySignal.EMERGENCY_STOP, SafetySignal.RESET,
)  # fmt: skip


class KeyMeaning(NamedTuple):
    """The keys of one request, for the screen."""

    keys: str
    """``SPACE / ENTER``."""
    meaning: str
    is_legal: bool
    """Whether it would be obeyed now."""


def key_meanings(
    keys: Mapping[str, Request], status: LiveStatus, *, is_evaluation: bool = False
) -> list[KeyMeaning]:
    """The keys of one input source, those of one request together.

    Args:
        keys: Key to request, as an input source tells it.
        status: What is going on; decides what a key means and whether it is obeyed.
        is_evaluation: Corrections are refused.
    """
    by_request: dict[Request, list[str]] = {}
    for key, request in keys.items():
        by_request.setdefault(request, []).append(key_label(key))
    known = [request for request in _ORDER if request in by_request]
    return [
        KeyMeaning(
            " / ".join(by_request[request]),
            _meaning(request, status, is_evaluation=is_evaluation),
            is_legal(request, status, is_evaluation=is_evaluation),
        )
        for request in known
    ]


def key_label(key: str) -> str:
    """``KEY_A`` and ``space`` as they are printed on a key."""
    return key.removeprefix("KEY_").upper() if len(key) > 1 else key


def keys_of(request: Request, status: LiveStatus) -> str:
    """How to say something with the inputs that work; empty if nobody can."""
    found = [
        f"{key_label(key)} ({source.name})"
        for source in status.inputs
        if source.problem is None
        for key, meant in source.keys.items()
        if meant == request
    ]
    return " or ".join(found)


def is_legal(request: Request, status: LiveStatus, *, is_evaluation: bool = False) -> bool:
    """Whether a request would be obeyed in this state (SPEC §2.1, §2.3)."""
    if isinstance(request, SafetySignal):
        return status.is_stopped is (request is SafetySignal.RESET)
    if isinstance(request, PhaseEvent):
        is_refused = is_evaluation and request is PhaseEvent.CORRECTION
        has_edge = next_phase(status.phase, request) is not None
        return has_edge and not status.is_stopped and not is_refused
    if request is EpisodeSignal.START_STOP:
        return status.is_recording or not status.is_stopped
    return request is EpisodeSignal.QUIT or status.is_recording


def _meaning(request: Request, status: LiveStatus, *, is_evaluation: bool) -> str:
    """A few words: what would happen."""
    correction = "end correction" if status.phase is Phase.CORRECTING else "take over"
    words: dict[Request, str] = {
        PhaseEvent.PAUSE_RESUME: "policy drives" if status.phase is Phase.PAUSED else "pause",
        PhaseEvent.CORRECTION: "disqualifies" if is_evaluation else correction,
        EpisodeSignal.START_STOP: "end: FAILURE" if status.is_recording else "start episode",
        EpisodeSignal.SUCCESS: "end: SUCCESS",
        EpisodeSignal.DISCARD: "discard",
        EpisodeSignal.QUIT: "quit",
        SafetySignal.EMERGENCY_STOP: "EMERGENCY STOP",
        SafetySignal.RESET: "end the stop",
    }
    return words[request]
