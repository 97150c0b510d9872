"""An operator who follows a script: for tests, benchmarks and sessions that nobody watches."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from recap_core.collection.inputs.health import SourceHealth
from recap_core.collection.inputs.listening import Listening
from recap_core.collection.inputs.stop_signal import StopSignal
from recap_core.rollout.live import Heard, InputStatus, Request


class AtTime(NamedTuple):
    """When that much time has passed since the start."""

    time_s: float


class AtTick(NamedTuple):
    """When :meth:`ScriptedOperator.tick` is called for the time ``tick``, counted from 1."""

    tick: int


type When = AtTime | AtTick | Callable[[], bool]
"""A time, a tick, or whatever makes a function say True."""


class ScriptStep(NamedTuple):
    """One thing the operator does, once all before it is done."""

    when: When
    request: Request


class Answered(NamedTuple):
    """A step that was done."""

    request: Request
    was_accepted: bool


class ScriptedOperator:
    """Makes the requests of a script in their order, each as soon as its condition holds.

    Conditions are looked at in a thread of its own every ``poll_s``, and whenever somebody calls
    :meth:`tick`. Without ``poll_s`` there is no thread, and the same ticks give the same requests.
    """

    def __init__(
        self,
        script: Sequence[ScriptStep],
        *,
        poll_s: float | None = None,
        name: str = "script",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up.

        Args:
            script: What to do.
            poll_s: How often to look, s; None: at ticks only.
            name: Handed on with every request.
            clock: Seconds that never go back.
        """
        self._script = tuple(script)
        self._poll_s = poll_s
        self._clock = clock
        self._health = SourceHealth(name, {})
        self._lock = threading.Lock()
        self._answers: list[Answered] = []
        self._num_ticks = 0
        self._start_s = 0.0
        self._heard: Heard | None = None
        self._listening = Listening(self._health)

    @property
    def answers(self) -> tuple[Answered, ...]:
        """The steps that are done."""
        return tuple(self._answers)

    @property
    def is_done(self) -> bool:
        """Whether all are."""
        return len(self._answers) == len(self._script)

    def start(self, heard: Heard) -> None:
        """Begin; time counts from here."""
        self._start_s = self._clock()
        self._heard = heard
        self._health.works(f"{len(self._script)} steps")
        if (poll_s := self._poll_s) is not None:
            self._listening.begin(lambda stop: self._poll(stop, poll_s))

    def tick(self) -> None:
        """One tick of the control loop has come: do what is due, in the caller's thread."""
        self._num_ticks += 1
        self._do_what_is_due()

    def status(self) -> InputStatus:
        """How it is doing now."""
        return self._health.status()

    def stop(self) -> None:
        """Do no more."""
        self._listening.end()
        self._heard = None
        self._health.rests("it has been stopped")

    def _poll(self, stop: StopSignal, poll_s: float) -> None:
        while not (self.is_done or stop.wait(poll_s)):
            self._do_what_is_due()

    def _do_what_is_due(self) -> None:
        with self._lock:
            while self._heard is not None and not self.is_done:
                step = self._script[len(self._answers)]
                if not self._is_due(step.when):
                    return
                accepted = self._heard(step.request, self._health.name)
                self._answers.append(Answered(step.request, accepted))

    def _is_due(self, when: When) -> bool:
        match when:
            case AtTime(time_s):
                return self._clock() - self._start_s >= time_s
            case AtTick(tick):
                return self._num_ticks >= tick
            case _:
                return when()
