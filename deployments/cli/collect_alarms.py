"""What is wrong in a running session, the worst first."""

from typing import Literal, NamedTuple

from deployments.cli.quantities import seconds_text
from recap_core.rollout.live import LiveStatus, RecorderStatus

FULL_QUEUE = 0.5
"""Share of a queue that is more than a hiccup."""
LITTLE_TIME_S = 900.0
SLOW_SHARE = 0.97
"""Of the nominal rate: 29.1 of 30 Hz."""
MUCH_JITTER = 0.25
"""Share of a tick: 8 ms at 30 Hz."""


class Alarm(NamedTuple):
    """One line that the operator has to see."""

    level: Literal["warning", "error"]
    text: str


def alarms(status: LiveStatus, *, rate_hz: float | None) -> list[Alarm]:
    """What is wrong, errors first.

    Args:
        status: What is going on.
        rate_hz: Nominal rate of the loop; None: not known.
    """
    found = [*_inputs(status), *_policy(status), *_recorder(status.recorder)]
    if rate_hz is not None and is_slow(status, rate_hz):
        found.append(Alarm("warning", f"the loop runs at {status.loop_hz:.1f} Hz of {rate_hz:g}"))
    return sorted(found, key=lambda alarm: alarm.level != "error")


def is_slow(status: LiveStatus, rate_hz: float) -> bool:
    """Whether ticks are missing; a loop that has not been measured yet is not slow."""
    return 0 < status.loop_hz < SLOW_SHARE * rate_hz


def is_jittery(status: LiveStatus, rate_hz: float) -> bool:
    """Whether ticks come so irregularly that a robot moves visibly so."""
    return status.jitter_p99_ms > MUCH_JITTER * 1000 / rate_hz


def _inputs(status: LiveStatus) -> list[Alarm]:
    return [
        Alarm("error", f"{source.name}: {source.problem}")
        for source in status.inputs
        if source.problem is not None
    ]


def _policy(status: LiveStatus) -> list[Alarm]:
    policy = status.policy
    if policy is None:
        return []
    if policy.problem is not None:
        return [Alarm("error", f"policy {policy.where}: {policy.problem}")]
    if not policy.is_connected:
        return [Alarm("error", f"policy {policy.where}: not connected")]
    return []


def _recorder(recorder: RecorderStatus) -> list[Alarm]:
    found: list[Alarm] = []
    if recorder.problem is not None:
        found.append(Alarm("error", f"recorder: {recorder.problem}"))
    left = recorder.seconds_left
    if left is not None and left < LITTLE_TIME_S:
        found.append(Alarm("error", f"the disk is full in {seconds_text(left)}"))
    if recorder.num_dropped:
        found.append(
            Alarm("warning", f"{recorder.num_dropped:,} images were not recorded, and are marked")
        )
    if recorder.queue_share >= FULL_QUEUE:
        found.append(
            Alarm("warning", f"encoders fall behind: queue {recorder.queue_share:.0%} full")
        )
    return found
