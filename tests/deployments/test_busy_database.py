"""The server tries again by itself where its database is busy."""

import asyncio

import pytest

from deployments import busy_database
from deployments.busy_database import BUSY, Message, PatientDatabase, Receive, Send

PARTS = [b"half a ", b"request"]


class Echo:
    """Answers with the request's body, but for the first ``num_busy`` times."""

    def __init__(self, num_busy: int) -> None:
        self.num_busy = num_busy
        self.num_asked = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.num_asked += 1
        is_busy = self.num_asked <= self.num_busy
        status = BUSY if is_busy else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"" if is_busy else body})
        scope["path"] = "spoilt"
        if is_busy:  # as Starlette does, for the log
            raise TimeoutError("database is locked")


def answer(app: Echo) -> list[Message]:
    """What a client receives."""
    request = [
        {"type": "http.request", "body": part, "more_body": part is not PARTS[-1]} for part in PARTS
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return request.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Message = {"type": "http", "path": "/api"}
    asyncio.run(PatientDatabase(app)(scope, receive, send))
    assert scope["path"] == "/api"
    return sent


@pytest.mark.parametrize("num_busy", [0, 1, 3])
def test_a_busy_database_is_asked_again_with_the_whole_request(num_busy: int) -> None:
    """The client sees one answer."""
    app = Echo(num_busy)

    start, body = answer(app)

    assert (start["status"], body["body"]) == (200, b"half a request")
    assert app.num_asked == num_busy + 1


def test_a_database_that_stays_busy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the client waits, and the error is logged as ever."""
    monkeypatch.setattr(busy_database, "WAIT_S", 0.0)
    app = Echo(10**6)

    with pytest.raises(TimeoutError, match="locked"):
        answer(app)

    assert app.num_asked == busy_database.NUM_ATTEMPTS + 1


def test_other_errors_are_not_tried_again() -> None:
    """An error is one at the first attempt."""
    num_asked = 0

    async def broken(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal num_asked
        del scope, receive, send
        num_asked += 1
        raise ValueError("broken")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        del message

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(PatientDatabase(broken)({"type": "http"}, receive, send))
    assert num_asked == 1
