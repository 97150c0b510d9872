"""The bytes that a terminal sends for keys, by the keys' names."""

import codecs

ESCAPE = "\x1b"
_SINGLE = {" ": "space", "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace"}
_SINGLE["\x08"] = "backspace"
_LETTERS = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "P": "f1",
    "Q": "f2",
    "R": "f3",
    "S": "f4",
}
_NUMBERS = {
    "1": "home",
    "2": "insert",
    "3": "delete",
    "4": "end",
    "5": "page_up",
    "6": "page_down",
    "7": "home",
    "8": "end",
    "11": "f1",
    "12": "f2",
    "13": "f3",
    "14": "f4",
    "15": "f5",
    "17": "f6",
    "18": "f7",
    "19": "f8",
    "20": "f9",
    "21": "f10",
    "23": "f11",
    "24": "f12",
}


class TerminalDecoder:
    """Cuts what a terminal sends into keys.

    An arrow key begins with the very byte that Esc sends alone. So Esc is known only once nothing
    has followed for a while: the reader then calls :meth:`flush`. Keys pressed together with Alt or
    Ctrl are none of ours, and neither are sequences that are not known.
    """

    def __init__(self) -> None:
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._pending = ""

    @property
    def is_pending(self) -> bool:
        """Whether it holds the beginning of a sequence."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[str]:
        """Names of the keys that are complete now, in order."""
        keys: list[str] = []
        for character in self._characters.decode(data):
            if self._pending:
                keys += self._continue(character)
            elif character == ESCAPE:
                self._pending = character
            else:
                keys += _plain(character)
        return keys

    def flush(self) -> list[str]:
        """Nothing has followed for a while: a lone Esc was one; anything else is dropped."""
        pending, self._pending = self._pending, ""
        return ["esc"] if pending == ESCAPE else []

    def _continue(self, character: str) -> list[str]:
        if self._pending == ESCAPE:
            if character == ESCAPE:
                return ["esc"]  # the new one may begin a sequence
            # Otherwise a sequence begins, or the key was pressed together with Alt.
            self._pending = self._pending + character if character in "[O" else ""
            return []
        if character == ESCAPE:  # whatever was begun has broken off
            self._pending = character
            return []
        self._pending += character
        body = self._pending[2:]
        is_linux_console = body == "[" and self._pending[1] == "["  # F1 to F5 there: ESC [ [ A
        if is_linux_console or not "@" <= character <= "~":
            return []
        introducer, self._pending = self._pending[1], ""
        return _sequence(introducer, body)


def _plain(character: str) -> list[str]:
    if character in _SINGLE:
        return [_SINGLE[character]]
    return [character.lower()] if character.isprintable() else []


def _sequence(introducer: str, body: str) -> list[str]:
    """The key of ``ESC [ body`` or ``ESC O body``; none where it is not known."""
    if body.startswith("["):
        name = {"A": "f1", "B": "f2", "C": "f3", "D": "f4", "E": "f5"}.get(body[1:])
    elif body.endswith("~") and introducer == "[":
        name = _NUMBERS.get(body[:-1])
    else:
        name = {"M": "enter", **_LETTERS}.get(body) if introducer == "O" else _LETTERS.get(body)
    return [name] if name else []
