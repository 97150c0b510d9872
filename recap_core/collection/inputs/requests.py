"""Requests by name, and keys by what they ask for."""

from collections.abc import Mapping

from recap_core.config.operator import REQUEST_NAMES, RequestName
from recap_core.rollout.live import EpisodeSignal, Request, SafetySignal
from recap_core.rollout.phase import PhaseEvent

REQUESTS: Mapping[str, Request] = {
    str(request): request for kind in (PhaseEvent, EpisodeSignal, SafetySignal) for request in kind
}
"""Every request by its name."""

_LABELS: Mapping[RequestName, str] = {
    "start_stop": "start, or end as a failure",
    "success": "end as a success",
    "discard": "discard",
    "pause_resume": "pause or resume",
    "correction": "begin or end a correction",
    "emergency_stop": "EMERGENCY STOP",
    "reset": "reset after a stop",
    "quit": "quit",
}
REQUEST_LABELS: Mapping[Request, str] = {REQUESTS[name]: _LABELS[name] for name in REQUEST_NAMES}
"""What a screen calls each request, in its order."""


def bound_requests(keys: Mapping[str, RequestName]) -> dict[str, Request]:
    """The request of each key of a configuration."""
    return {key: REQUESTS[name] for key, name in keys.items()}
