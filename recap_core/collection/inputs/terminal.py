"""A keyboard heard through the terminal of this program."""

import atexit
import contextlib
import os
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping

from recap_core.collection.inputs.edges import BoundKeys, EdgeRule, KeyEvent
from recap_core.collection.inputs.health import SourceHealth
from recap_core.collection.inputs.listening import Listening
from recap_core.collection.inputs.stop_signal import StopSignal
from recap_core.collection.inputs.terminal_keys import TerminalDecoder
from recap_core.rollout.live import Heard, InputStatus, Request

ESCAPE_WAIT_S = 0.1
"""An Esc that nothing has followed for this time was pressed alone, s. A network
connection may cut a sequence in two, and Esc ends a session: so the wait is longer than most
programs'."""
REPEAT_S = 0.12
"""A held key that has begun to repeat comes again within this time (most after 25 to 50 ms), s."""


class QuietTerminal:
    """A terminal that shows no typed keys and hands each over at once, until it is restored.

    It is restored by :meth:`restore`, and at the latest when the interpreter exits. What was typed
    and not read is then thrown away, so that it does not end up in the shell. Ctrl-C and Ctrl-Z
    mean what they always do.
    """

    def __init__(self, path: str | None = None) -> None:
        """Open the terminal at ``path``; None: this program's.

        Raises:
            OSError: If there is none, or this program runs in its background.
        """
        self.fd = _open_terminal(path)
        self._lock = threading.Lock()
        try:
            _check_foreground(self.fd)
            self._before = termios.tcgetattr(self.fd)
            quiet = termios.tcgetattr(self.fd)
            quiet[3] &= ~(termios.ICANON | termios.ECHO)
            quiet[0] &= ~termios.IXON  # Ctrl-S would halt whoever writes to the screen
            quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
            atexit.register(self.restore)
            termios.tcsetattr(self.fd, termios.TCSADRAIN, quiet)
        except (OSError, termios.error) as error:
            atexit.unregister(self.restore)
            os.close(self.fd)
            raise OSError(str(error)) from error

    def restore(self) -> None:
        """Make it as it was, and let go of it; once is enough."""
        with self._lock:
            if self.fd < 0:
                return
            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(self.fd, termios.TCSAFLUSH, self._before)
            os.close(self.fd)
            self.fd = -1
        atexit.unregister(self.restore)


class TerminalKeyboard:
    """Reads keys from a terminal in a thread of its own.

    A terminal tells no release: a key that comes again within ``held_s`` is taken for the same
    press, held down, and so is what then follows within ``REPEAT_S`` each. So of presses in quick
    succession at least every other one counts.
    """

    def __init__(
        self,
        keys: Mapping[str, Request],
        *,
        held_s: float,
        debounce_s: float = 0.0,
        path: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set up; nothing is opened yet.

        Args:
            keys: What each key asks for.
            held_s: See above, s.
            debounce_s: A key counts once in this time, s.
            path: The terminal; None: this program's.
            clock: Seconds that never go back.
        """
        self._health = SourceHealth("keyboard", keys)
        rule = EdgeRule(debounce_s=debounce_s, silence_s=held_s, repeat_s=REPEAT_S)
        self._keys = BoundKeys(keys, rule)
        self._path = path
        self._clock = clock
        self._terminal: QuietTerminal | None = None
        self._listening = Listening(self._health)

    def start(self, heard: Heard) -> None:
        """Begin to read; no terminal is a problem, no error."""
        try:
            terminal = self._terminal = QuietTerminal(self._path)
        except OSError as error:
            self._health.report(
                f"no keys can be read from a terminal ({error}); start it in the foreground of a "
                "terminal, or use a display or a socket"
            )
            return
        self._health.works("reading keys from the terminal")
        self._listening.begin(lambda stop: self._read(terminal.fd, stop, heard))

    def status(self) -> InputStatus:
        """How it is doing now."""
        return self._health.status()

    def stop(self) -> None:
        """End the thread and restore the terminal."""
        self._listening.end()
        if self._terminal is not None:
            self._terminal.restore()
            self._terminal = None
            self._health.rests("it has been stopped")

    def _read(self, fd: int, stop: StopSignal, heard: Heard) -> None:
        decoder = TerminalDecoder()
        while not stop.is_set:
            if not stop.readable(fd, ESCAPE_WAIT_S if decoder.is_pending else None):
                self._hear(decoder.flush(), heard)
                continue
            try:
                data = os.read(fd, 1024)
            except OSError:
                data = b""
            if not data:
                self._health.report("the terminal is gone; start again in another one")
                return
            self._hear(decoder.feed(data), heard)

    def _hear(self, names: list[str], heard: Heard) -> None:
        for name in names:
            request = self._keys.request(KeyEvent(name, is_down=True, time_s=self._clock()))
            if request is not None:
                heard(request, self._health.name)


def _open_terminal(path: str | None) -> int:
    flags = os.O_RDWR | os.O_NOCTTY
    if path is not None:
        return os.open(path, flags)
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no stdin, or no terminal
        return os.open(os.ttyname(sys.stdin.fileno()), flags)
    return os.open("/dev/tty", flags)


def _check_foreground(fd: int) -> None:
    """Raise OSError where reading from the terminal would stop this process."""
    try:
        group = os.tcgetpgrp(fd)
    except OSError:  # not the terminal that controls this process
        return
    if group != os.getpgrp():
        raise OSError("this program runs in the background of its terminal")
