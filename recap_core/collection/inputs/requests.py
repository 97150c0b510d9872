"""Requests by name, and keys by what they ask for."""

from collections.abc import Mapping

from recap_core.config.operator import RequestName
from recap_core.rollout.live import EpisodeSignal, Request, SafetySignal
from recap_core.rollout.phase import PhaseEvent

REQUESTS: Mapping[str, Request] = {
    str(request): request for kind in (PhaseEvent, EpisodeSignal, SafetySignal) for request in kind
}
"""Every request by its name."""


def bound_requests(keys: Mapping[str, RequestName]) -> dict[str, Request]:
    """The request of each key of a configuration."""
    return {key: REQUESTS[name] for key, name in keys.items()}
