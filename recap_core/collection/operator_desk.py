"""Where an operator's requests arrive, from any thread, and why some are refused."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from recap_core.rollout.episode_lifecycle import EpisodeLifecycle, refusal
from recap_core.rollout.live import EpisodeSignal, Message, Request, SafetySignal
from recap_core.rollout.phase import Phase, PhaseEvent, PhaseMachine

logger = logging.getLogger(__name__)

KEPT_MESSAGES = 50
HAMMERED_S = 0.5
"""A pause key that comes again within so long pauses again: whoever hammers it wants the robot to
stand still. Any other key in between says that somebody looked."""

type WhyNot = Callable[[PhaseEvent, Phase], str | None]
"""Why a phase event that the machine would allow is not to happen now; None: it may."""


class OperatorDesk:
    """Passes requests on to the phase machine and the episodes, and keeps what was said.

    Args:
        machine: Who drives.
        lifecycle: The episodes.
        why_not: Rules beyond the machine's own edges: no policy, nobody may correct, and so on.
        now: Unix time, s.
    """

    def __init__(
        self,
        machine: PhaseMachine,
        lifecycle: EpisodeLifecycle,
        *,
        why_not: WhyNot | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._machine = machine
        self._lifecycle = lifecycle
        self._why_not = why_not
        self._now = now
        self._lock = threading.Lock()
        self._is_stopped = False
        self._asked_to_pause_s = -HAMMERED_S
        self._messages: deque[Message] = deque(maxlen=KEPT_MESSAGES)
        self.num_refused = 0
        """Requests that were refused."""
        self.num_stops = 0
        """Emergency stops so far: one that was reset at once shows here all the same."""

    @property
    def is_stopped(self) -> bool:
        """Whether an emergency stop is in force."""
        return self._is_stopped

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said, the newest last."""
        with self._lock:
            return tuple(self._messages)

    def say(self, level: Literal["info", "warning", "error"], text: str) -> None:
        """Tell the operator, and the log."""
        logger.log(getattr(logging, level.upper()), "%s", text)
        with self._lock:
            self._messages.append(Message(self._now(), level, text))

    def request(self, request: Request, source: str) -> bool:
        """Take a request; False where it is refused, and the operator is told why."""
        is_again = request is SafetySignal.EMERGENCY_STOP and self._is_stopped
        reason = self._refused(request)
        if reason is None:
            if not is_again:
                logger.info("%s asks for %s", source, request.value)
            return True
        with self._lock:
            self.num_refused += 1
        self.say("warning", f"refused {reason} ({source})")
        return False

    def _refused(self, request: Request) -> str | None:
        if isinstance(request, SafetySignal):
            return self._stop_or_reset(request)
        if request is not PhaseEvent.PAUSE_RESUME:
            self._asked_to_pause_s = -HAMMERED_S
        if isinstance(request, EpisodeSignal):
            state = self._lifecycle.state
            return None if self._lifecycle.request(request) else refusal(state, request)
        phase = self._machine.phase
        if self._is_stopped:
            return f"{request.value}: an emergency stop is in force; reset it first"
        if request is PhaseEvent.PAUSE_RESUME and self._is_hammered(phase):
            return f"{request.value}: the robot has just been paused; look, then press again"
        if self._why_not and (reason := self._why_not(request, phase)):
            return f"{request.value}: {reason}"
        return None if self._machine.request(request) else _no_edge(phase, request)

    def _is_hammered(self, phase: Phase) -> bool:
        """Whether a wish to resume is one more blow on the key that has paused the robot."""
        is_again = self._now() - self._asked_to_pause_s < HAMMERED_S
        if phase is Phase.AUTONOMOUS or is_again:
            self._asked_to_pause_s = self._now()
        return is_again and phase is Phase.PAUSED

    def _stop_or_reset(self, signal: SafetySignal) -> str | None:
        if signal is SafetySignal.EMERGENCY_STOP:
            with self._lock:
                self.num_stops += not self._is_stopped  # a held key asks again and again
                self._is_stopped = True
            return None
        if not self._is_stopped:
            return f"{signal.value}: no emergency stop is in force"
        self._is_stopped = False
        self.say("info", "the emergency stop is over; the robot is paused")
        return None


def _no_edge(phase: Phase, event: PhaseEvent) -> str:
    if event is PhaseEvent.CORRECTION:
        return f"{event.value}: the robot is {phase.value}; pause it first"
    return f"{event.value}: the robot is {phase.value}; end the correction first"
