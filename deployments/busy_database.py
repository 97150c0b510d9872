"""Answers of the Prefect server while its SQLite is busy.

SQLite refuses at once what began to read before somebody else wrote. Prefect answers 503 then, and
its clients try again after two seconds; every third task of a flow met that. Here the server tries
again by itself, within milliseconds; nothing of the refused attempt was written.

Nothing in this module imports Prefect: the server loads it before.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

BUSY = 503
NUM_ATTEMPTS = 20
WAIT_S = 0.05
"""Between attempts; a second in all. Then the client is told, and waits as it always does."""

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]


class PatientDatabase:
    """An ASGI application that asks another one again where that answers 503.

    Args:
        app: The other one; it must have changed nothing when it answers so.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; what is no HTTP goes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = await _whole(receive)
        for _ in range(NUM_ATTEMPTS):
            if await self._is_answered(scope, _replayed(request, receive), send):
                return
            await asyncio.sleep(WAIT_S)
        await self._app(scope, _replayed(request, receive), send)

    async def _is_answered(self, scope: Message, receive: Receive, send: Send) -> bool:
        """Whether the other one had an answer; it was sent then."""
        is_busy = False

        async def send_unless_busy(message: Message) -> None:
            nonlocal is_busy
            if message["type"] == "http.response.start":
                is_busy = message["status"] == BUSY
            if not is_busy:
                await send(message)

        try:
            await self._app(dict(scope), receive, send_unless_busy)
        except Exception:
            if not is_busy:  # the error that led to a 503 is raised again for logs
                raise
        return not is_busy


async def _whole(receive: Receive) -> list[Message]:
    """All messages of a request."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _replayed(request: list[Message], receive: Receive) -> Receive:
    """The same request from its beginning, then whatever else comes."""
    left = list(reversed(request))

    async def next_message() -> Message:
        return left.pop() if left else await receive()

    return next_message
