"""The keyboard, through the display or the terminal, whichever works."""

from collections.abc import Sequence

from recap_core.collection.inputs.display import DisplayKeyboard
from recap_core.collection.inputs.requests import bound_requests
from recap_core.collection.inputs.terminal import TerminalKeyboard
from recap_core.config.operator import KeyboardConfig, display_in_use
from recap_core.rollout.live import Heard, InputSource, InputStatus


class FirstThatWorks:
    """Several ways to hear the same keys: the first without a problem is the one that is used."""

    def __init__(self, ways: Sequence[InputSource]) -> None:
        self._ways = ways
        self._used = ways[-1]
        self._passed_over: list[str] = []

    def start(self, heard: Heard) -> None:
        """Start one after the other until one works."""
        self._passed_over = []
        for way in self._ways:
            self._used = way
            way.start(heard)
            problem = way.status().problem
            if problem is None:
                return
            self._passed_over.append(problem)

    def status(self) -> InputStatus:
        """Of the one that is used; where none works, the problems of all."""
        status = self._used.status()
        if status.problem is None or len(self._passed_over) < len(self._ways):
            return status
        return status._replace(problem="; ".join(self._passed_over))

    def stop(self) -> None:
        """Give the keyboard back."""
        self._used.stop()


def keyboard_source(config: KeyboardConfig, *, terminal: str | None = None) -> InputSource:
    """The keyboard of ``config``.

    Args:
        config: Keys, and where to hear them.
        terminal: Path of the terminal; None: this program's.
    """
    keys = bound_requests(config.keys)
    through_display = DisplayKeyboard(keys, debounce_s=config.debounce_s)
    through_terminal = TerminalKeyboard(
        keys, held_s=config.held_s, debounce_s=config.debounce_s, path=terminal
    )
    if config.mode == "display":
        return through_display
    if config.mode == "terminal" or display_in_use() in {"none", "wayland"}:
        return through_terminal
    return FirstThatWorks([through_display, through_terminal])
