"""What one client of the operator's socket says, line by line, and what it is told."""

import hmac
from typing import NamedTuple

from recap_core.collection.inputs.requests import REQUESTS
from recap_core.config.operator import REQUEST_NAMES, nearest
from recap_core.rollout.live import Heard


class Answer(NamedTuple):
    """What a client is told."""

    text: str
    """One line, without its end."""
    is_last: bool = False
    """The connection ends with it."""


class ClientLines:
    """One client: a token first, if there is one, then a request per line.

    A request is answered ``ok``, ``refused`` (not possible now) or ``unknown: ...``.
    """

    def __init__(self, *, token: str | None, max_line_bytes: int, name: str) -> None:
        """Set up.

        Args:
            token: What it must say first, as ``token <it>``; None: nothing.
            max_line_bytes: A longer line ends the connection.
            name: Name of the source, handed on with every request.
        """
        self._token = token
        self._max_line_bytes = max_line_bytes
        self._name = name
        self._rest = b""

    def feed(self, data: bytes, heard: Heard) -> list[Answer]:
        """Hand on the requests in ``data``; the answers in order, none after a last one."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        answers: list[Answer] = []
        for line in lines:
            answers.append(self._answer(line, heard))
            if answers[-1].is_last:
                return answers
        if len(self._rest) > self._max_line_bytes:
            answers.append(self._too_long())
        return answers

    def _answer(self, line: bytes, heard: Heard) -> Answer:
        if len(line) > self._max_line_bytes:
            return self._too_long()
        text = line.decode("utf-8", errors="replace").strip()
        if "HTTP/" in text:  # a web page may send a form here, whose lines would be obeyed
            return Answer("error: this is no web server", is_last=True)
        if self._token is not None:
            if not hmac.compare_digest(text.encode(), f"token {self._token}".encode()):
                return Answer("error: say `token <token>` first", is_last=True)
            self._token = None
            return Answer("ok")
        request = REQUESTS.get(text)
        if request is None:
            return Answer(
                f"unknown: {text!r}{nearest(text, REQUEST_NAMES)} "
                f"There are {', '.join(REQUEST_NAMES)}"
            )
        return Answer("ok" if heard(request, self._name) else "refused")

    def _too_long(self) -> Answer:
        return Answer(f"error: a line is longer than {self._max_line_bytes} bytes", is_last=True)
