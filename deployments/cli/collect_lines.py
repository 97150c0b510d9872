"""A session as lines of text, one per event: for logs, pipes and terminals that cannot draw."""

import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from deployments.cli.collect_alarms import alarms
from deployments.cli.collect_facts import Facts
from deployments.cli.collect_panels import success_text
from recap_core.rollout.live import LiveStatus, Message


class SessionLines:
    """Says what has changed between one status and the next.

    Args:
        facts: What stays the same all session.
        write: Takes one line, without its end.
        now: Unix time, s, of events that carry none.
    """

    def __init__(
        self,
        facts: Facts,
        write: Callable[[str], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._facts = facts
        self._write = write
        self._now = now
        self._last: LiveStatus | None = None
        self._alarms: set[str] = set()

    def look(self, status: LiveStatus) -> None:
        """Write what is new since the last call."""
        last, self._last = self._last, status
        for message in _new_messages(last, status):
            level = "" if message.level == "info" else f"{message.level}: "
            self._say(f"{level}{message.text}", message.time_s)
        if last is None:
            self._say(f"{self._facts.robot} is ready, {status.phase.value}; goal: {status.goal}")
        else:
            self._changes(last, status)
            self._tell_alarms(last)

    def _tell_alarms(self, status: LiveStatus) -> None:
        """What has come and gone; told one status late, since the last one is of a closed cell."""
        found = {alarm.text for alarm in alarms(status, rate_hz=self._facts.rate_hz)}
        # numbers change all the time; a line is for what has come or gone
        names = {text.partition(":")[0]: text for text in found}
        for name in sorted(names.keys() - self._alarms):
            self._say(f"warning: {names[name]}")
        for name in sorted(self._alarms - names.keys()):
            self._say(f"no longer: {name}")
        self._alarms = set(names)

    def _changes(self, last: LiveStatus, status: LiveStatus) -> None:
        if last.is_stopped != status.is_stopped:
            self._say("EMERGENCY STOP" if status.is_stopped else "the emergency stop is over")
        if last.phase is not status.phase:
            self._say(f"{last.phase.value} -> {status.phase.value}")
        num_before, num_now = _num_episodes(last), _num_episodes(status)
        if num_now > num_before or status.num_discarded > last.num_discarded:
            rate = success_text(status.num_successes, num_now)
            self._say(f"success {rate}; {status.goal}")
        is_next = status.episode != last.episode
        if status.is_recording and (is_next or not last.is_recording):
            self._say(f"episode {status.episode} begins")

    def _say(self, text: str, time_s: float | None = None) -> None:
        when = time.localtime(self._now() if time_s is None else time_s)
        self._write(f"{time.strftime('%H:%M:%S', when)} {' '.join(text.split())}")


def _num_episodes(status: LiveStatus) -> int:
    return status.num_successes + status.num_failures


def _new_messages(last: LiveStatus | None, status: LiveStatus) -> list[Message]:
    """Those after the newest one that was there before; the oldest ones fall out of a status."""
    if last is None or not last.messages:
        return list(status.messages)
    newest = last.messages[-1]
    places = [i for i, message in enumerate(status.messages) if message == newest]
    return list(status.messages[places[-1] + 1 :] if places else status.messages)


@contextmanager
def told(lines: SessionLines) -> Generator[Callable[[LiveStatus], None]]:
    """A thread that looks at every status; yields what takes one, at once.

    When the block ends, all that was taken has been looked at.
    """
    taken: queue.SimpleQueue[LiveStatus | None] = queue.SimpleQueue()

    def watch() -> None:
        while (status := taken.get()) is not None:
            lines.look(status)

    thread = threading.Thread(target=watch, name="collect-lines", daemon=True)
    thread.start()
    try:
        yield taken.put
    finally:
        taken.put(None)
        thread.join()
