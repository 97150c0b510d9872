"""The websocket server of a policy.

The event loop only moves bytes; one worker thread unpacks, infers and packs, in the order in which
requests arrive. A client has one request in flight at most, so no client waits for more than one
request of each other.
"""

import asyncio
import hmac
import http
import json
import logging
import socket
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from recap_core.config.serving import ServeSettings
from recap_core.errors import DataError, RecapError, ServerError
from recap_core.serving.host import PolicyHost, Reply
from recap_core.serving.protocol import (
    API_KEY_HEADER,
    API_KEY_SCHEME,
    CLOSE_INTERNAL_ERROR,
    CLOSE_REASON,
    HEALTH_PATH,
    METRICS_PATH,
    STATS_PATH,
)
from recap_core.serving.statistics import ServingStatistics

logger = logging.getLogger(__name__)

CLOSE_GOING_AWAY = 1001
_NUM_CALLS, _MAX_ERROR_TEXT = 3, 1000
"""How much of an unforeseen exception a client is told."""
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_JSON = "application/json; charset=utf-8"
_MAX_LOGS_PER_MINUTE = 10


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds the address but does not listen yet: clients are refused, and wait.

    Raises:
        ServerError: If the address is taken or is not one of this machine.
    """
    try:
        families = {found[0] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        # asyncio switches Nagle's delays off only where the protocol is spelt out.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise _address_error(host, port, error) from error
    return listener


class PolicyServer:
    """Serves a :class:`~recap_core.serving.host.PolicyHost` by openpi's protocol.

    Args:
        host: Who answers.
        settings: Limits and timeouts.
        statistics: Told about everything that happens.
        api_key: Where set, clients must send ``Authorization: Api-Key <key>``.
    """

    def __init__(
        self,
        host: PolicyHost,
        settings: ServeSettings,
        *,
        statistics: ServingStatistics,
        api_key: str | None = None,
    ) -> None:
        self._host = host
        self._settings = settings
        self._statistics = statistics
        self._api_key = api_key
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._clients: set[_Client] = set()
        self._is_draining = False
        self._log = _ClientLog()

    async def run(
        self,
        stop: asyncio.Event,
        *,
        listener: socket.socket | None = None,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        """Serve until ``stop`` is set; then finish the requests in flight and close with 1001.

        Args:
            stop: Ends the server.
            listener: What :func:`bind` returned; None: bound here.
            on_ready: Called with the address, ``ws://host:port``, once clients can connect.

        Raises:
            ServerError: If the address cannot be listened on.
        """
        settings = self._settings
        listener = listener or bind(settings.host, settings.port)
        # Handshakes that fail are everyday noise, and would fill the log with tracebacks.
        quiet = logging.getLogger(f"{__name__}.websockets")
        quiet.setLevel(logging.CRITICAL + 1)
        try:
            server = await serve(
                self._serve_client,
                sock=listener,
                compression=None,
                origins=[None],  # no web page may talk to a robot's policy
                max_size=settings.max_message_bytes,
                max_queue=1,  # frames; further ones wait in the client's own machine
                process_request=self._process_request,
                server_header=None,
                open_timeout=settings.open_timeout_s,
                ping_interval=settings.ping_interval_s,
                ping_timeout=settings.ping_timeout_s,
                close_timeout=settings.close_timeout_s,
                create_connection=self._bounded_connection(),
                logger=quiet,
            )
        except OSError as error:
            raise _address_error(settings.host, settings.port, error) from error
        try:
            if on_ready is not None:
                on_ready(_url(listener))
            await stop.wait()
        finally:
            await self._drain(server)

    def _bounded_connection(self) -> type[ServerConnection]:
        limit = self._settings.max_connections + self._settings.max_handshakes

        class BoundedConnection(ServerConnection):
            """A connection that is dropped at once where there are too many."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                if len(self.server.handlers) > limit and isinstance(transport, asyncio.Transport):
                    transport.abort()

        return BoundedConnection

    async def _drain(self, server: Server) -> None:
        self._is_draining = True
        server.close(close_connections=False)
        closing = [
            asyncio.ensure_future(client.connection.close(CLOSE_GOING_AWAY, "server shutting down"))
            for client in self._clients
            if not client.is_busy
        ]
        try:
            async with asyncio.timeout(self._settings.shutdown_grace_s):
                await server.wait_closed()
        except TimeoutError:
            logger.warning("%d clients were cut off at shutdown", len(self._clients))
            for connection in list(server.handlers):
                connection.transport.abort()
        for task in closing:
            task.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain HTTP; None goes on with the websocket handshake."""
        path = request.path.partition("?")[0]
        if path == HEALTH_PATH:
            if self._is_draining:
                return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "stopping\n")
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if path in (METRICS_PATH, STATS_PATH) and self._is_authorized(request):
            return self._told(connection, path)
        return self._refusal(connection, request)

    def _told(self, connection: ServerConnection, path: str) -> Response:
        """Statistics."""
        labels = self._host.labels()
        if path == METRICS_PATH:
            text, content_type = self._statistics.prometheus(labels), _PROMETHEUS
        else:
            text, content_type = json.dumps(self._statistics.plain(labels)) + "\n", _JSON
        response = connection.respond(http.HTTPStatus.OK, text)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = content_type
        return response

    def _refusal(self, connection: ServerConnection, request: Request) -> Response | None:
        """Why a handshake may not go on."""
        limit = self._settings.max_connections
        if not self._is_authorized(request):
            response = connection.respond(
                http.HTTPStatus.UNAUTHORIZED,
                "This policy server needs a key: send the header 'Authorization: Api-Key <key>'.\n",
            )
            response.headers["WWW-Authenticate"] = API_KEY_SCHEME
        elif len(self._clients) >= limit and "Upgrade" in request.headers:
            response = connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"All {limit} places for clients are taken.\n"
            )
        else:
            return None
        self._statistics.count("refused_connections_total")
        return response

    def _is_authorized(self, request: Request) -> bool:
        if self._api_key is None:
            return True
        sent = request.headers.get_all(API_KEY_HEADER)
        scheme, _, key = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
        is_equal = hmac.compare_digest(key.strip().encode(), self._api_key.encode())
        return scheme.lower() == API_KEY_SCHEME.lower() and is_equal

    async def _serve_client(self, connection: ServerConnection) -> None:
        client = _Client(connection)
        self._clients.add(client)
        self._statistics.count("connections_total")
        self._statistics.gauge("connections", 1)
        gone = asyncio.ensure_future(connection.wait_closed())
        try:
            await connection.send(self._host.metadata())
            await self._answer_requests(client, gone)
        except ConnectionClosed:
            pass
        finally:
            gone.cancel()
            self._clients.discard(client)
            self._statistics.gauge("connections", -1)

    async def _answer_requests(self, client: "_Client", gone: asyncio.Future[None]) -> None:
        previous_s = None
        while not self._is_draining:
            try:
                message = await _receive(client.connection, self._settings.max_fragments)
                started = time.perf_counter()
                client.is_busy = True
                reply = await self._answer(message, previous_s, gone)
            except ConnectionClosed:
                raise
            except Exception as error:  # noqa: BLE001 - every error is the client's to read
                await self._fail(client.connection, error)
                return
            if reply is None:
                return
            await client.connection.send(reply.data)
            client.is_busy = False
            previous_s = time.perf_counter() - started
            self._statistics.answered(inference_s=reply.inference_s, total_s=previous_s)
        await client.connection.close(CLOSE_GOING_AWAY, "server shutting down")

    async def _answer(
        self, message: bytes, previous_s: float | None, gone: asyncio.Future[None]
    ) -> Reply | None:
        """The worker's answer; None if the client left before it came."""
        self._statistics.gauge("queue_length", 1)
        try:
            answer = asyncio.get_running_loop().run_in_executor(
                self._worker, self._host.respond, message, previous_s
            )
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            answer.cancel()  # nobody waits for it: where it has not begun, it never will
            return None
        finally:
            self._statistics.gauge("queue_length", -1)

    async def _fail(self, connection: ServerConnection, error: Exception) -> None:
        """Say as openpi does that a request failed: a text frame, then code 1011."""
        if isinstance(error, RecapError):
            self._statistics.count("request_errors_total")
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._log.note(connection.remote_address, text)
        else:
            self._statistics.count("internal_errors_total")
            logger.error("a request failed", exc_info=error)
            calls = "".join(traceback.format_tb(error.__traceback__)[-_NUM_CALLS:])
            text = f"{calls}{type(error).__name__}: {str(error)[:_MAX_ERROR_TEXT]}"
        await connection.send(text)
        await connection.close(CLOSE_INTERNAL_ERROR, CLOSE_REASON)


class _Client:
    """A connection, and whether its request is being answered."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.is_busy = False


class _ClientLog:
    """Logs what clients do wrong, a few lines a minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._num_logged = 0

    def note(self, address: Any, text: str) -> None:  # noqa: ANN401 - as the socket has it
        """Log one error, unless there were many lately."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            if self._num_logged > _MAX_LOGS_PER_MINUTE:
                hidden = self._num_logged - _MAX_LOGS_PER_MINUTE
                logger.warning("%d more requests failed in that minute", hidden)
            self._minute, self._num_logged = minute, 0
        self._num_logged += 1
        if self._num_logged <= _MAX_LOGS_PER_MINUTE:
            logger.warning("request of %s refused: %.500s", address and address[0], text)


async def _receive(connection: ServerConnection, max_fragments: int) -> bytes:
    """The next message.

    Raises:
        ConnectionClosed: If there is none.
        DataError: If it is text, or comes in too many pieces.
    """
    fragments: list[bytes] = []
    async for fragment in connection.recv_streaming():
        if isinstance(fragment, str):
            raise DataError("a request came as text; send msgpack in one binary message.")
        fragments.append(fragment)
        # Pieces may be empty, so the limit of bytes alone would not end such a message.
        if len(fragments) > max_fragments:
            raise DataError(f"a request came in more than {max_fragments} pieces. Send one.")
    return fragments[0] if len(fragments) == 1 else b"".join(fragments)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def _address_error(host: str, port: int, error: OSError) -> ServerError:
    return ServerError(
        f"{host}:{port} cannot be listened on: {error.strerror or error}. Another server may use "
        "the port: choose one with --port, or --port 0 for any free one."
    )
