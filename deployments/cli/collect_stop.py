"""How a session is ended from outside, and the terminal that it leaves behind."""

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_SIGNALS: Final = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_NAMES: Final = {signal.SIGINT: "Ctrl-C"}


@contextmanager
def ended_by_signals(ask_to_quit: Callable[[str], object]) -> Generator[None]:
    """Inside the block the first Ctrl-C, SIGTERM or SIGHUP asks to quit, the second one is obeyed.

    The signal may come while the interrupted code holds the very lock that asking needs, so
    another thread asks. The second signal raises ``KeyboardInterrupt`` or ``SystemExit`` in the
    main thread, which lets go of the robot on its way out.

    Args:
        ask_to_quit: Called with the name of the signal.
    """
    heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # may be fed by a signal handler

    def pass_on() -> None:
        while (name := heard.get()) is not None:
            ask_to_quit(name)

    num_heard = 0

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        nonlocal num_heard
        num_heard += 1
        if num_heard == 1:
            heard.put(_NAMES.get(signal.Signals(number), signal.Signals(number).name))
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            sys.exit(128 + number)

    thread = threading.Thread(target=pass_on, name="collect-quit", daemon=True)
    thread.start()
    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        heard.put(None)
        thread.join(timeout=1)


@contextmanager
def terminal_restored() -> Generator[None]:
    """The terminal has its settings again after the block, whatever a reader of keys did to it."""
    terminal = _own_terminal()
    if terminal is None:
        yield
        return
    import termios

    try:
        settings = termios.tcgetattr(terminal)
        try:
            yield
        finally:
            with suppress(termios.error):  # it is gone
                termios.tcsetattr(terminal, termios.TCSADRAIN, settings)
    finally:
        os.close(terminal)


def _own_terminal() -> int | None:
    """The terminal of this process; None where there is none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, AttributeError):  # AttributeError: not a Unix
        return None
