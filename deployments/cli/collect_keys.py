"""What the operator's keys mean at this moment, and which of them would be refused."""

from collections.abc import Mapping
from typing import NamedTuple

from deployments.cli.collect_facts import Facts
from recap_core.rollout.episode_lifecycle import EpisodeState, step_of
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


def key_meanings(keys: Mapping[str, Request], status: LiveStatus, facts: Facts) -> list[KeyMeaning]:
    """The keys of one input source, those of one request together.

    Args:
        keys: Key to request, as an input source tells it.
        status: What is going on; decides what a key means and whether it is obeyed.
        facts: Whether anybody may correct.
    """
    by_request: dict[Request, list[str]] = {}
    for key, request in keys.items():
        by_request.setdefault(request, []).append(key_label(key))
    known = [request for request in _ORDER if request in by_request]
    return [
        KeyMeaning(
            " / ".join(by_request[request]),
            _meaning(request, status, facts),
            is_legal(request, status, facts),
        )
        for request in known
    ]


def key_label(key: str) -> str:
    """``KEY_A``, ``BTN_START`` and ``space`` as they are printed on a key."""
    return key.removeprefix("KEY_").removeprefix("BTN_").upper() if len(key) > 1 else key


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


def is_legal(request: Request, status: LiveStatus, facts: Facts) -> bool:
    """Whether a request would be obeyed in this state (SPEC §2.1, §2.3)."""
    if isinstance(request, SafetySignal):
        return status.is_stopped is (request is SafetySignal.RESET)
    if isinstance(request, EpisodeSignal):
        state = EpisodeState.RECORDING if status.is_recording else EpisodeState.IDLE
        return step_of(state, request) is not None
    match next_phase(status.phase, request):
        case None:
            return False
        case Phase.CORRECTING if facts.is_evaluation or not facts.has_leader:
            return False
        case Phase.AUTONOMOUS if status.policy is None or status.policy.problem is not None:
            return False
    return not status.is_stopped


def _meaning(request: Request, status: LiveStatus, facts: Facts) -> str:
    """A few words: what would happen."""
    correction = "end correction" if status.phase is Phase.CORRECTING else "take over"
    if facts.is_evaluation:
        correction = "disqualifies"
    elif not facts.has_leader:
        correction = "no leader arm"
    words: dict[Request, str] = {
        PhaseEvent.PAUSE_RESUME: "policy drives" if status.phase is Phase.PAUSED else "pause",
        PhaseEvent.CORRECTION: correction,
        EpisodeSignal.START_STOP: "end: FAILURE" if status.is_recording else "start episode",
        EpisodeSignal.SUCCESS: "end: SUCCESS",
        EpisodeSignal.DISCARD: "discard",
        EpisodeSignal.QUIT: "quit",
        SafetySignal.EMERGENCY_STOP: "EMERGENCY STOP",
        SafetySignal.RESET: "end the stop",
    }
    return words[request]
