"""The pages over all rounds, served read-only on this machine.

``GET`` and ``HEAD`` of a handful of addresses; everything else is refused. What an address names is
looked up among the ids of the store, so no text of an address ever becomes part of a path. Pages
are rendered when asked for and kept until the store changes.
"""

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from recap_core.errors import RecapError
from recap_core.lineage.store import Store
from recap_core.stages.index_pages import Site
from recap_core.stages.index_snapshot import state_of

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_KEPT = 64
"""Pages in memory."""
TIMEOUT_S = 20.0
"""A connection that says nothing for so long is closed."""

_ID = re.compile(r"[0-9a-f]{32}")
_OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Answer(NamedTuple):
    """What a request gets."""

    status: HTTPStatus
    page: str
    location: str = ""
    """Where to look instead, of a redirect."""


class PageServer:
    """A server in a thread of its own.

    Args:
        home: ``RECAP_HOME``; it need not exist yet.
        port: Port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, home: Path, port: int = 0) -> None:
        self._pages = _Pages(home)
        self._port = port
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address of the first page, such as ``http://127.0.0.1:4201/``.

        Raises:
            RuntimeError: If the server has not been started.
        """
        if self._server is None:
            raise RuntimeError("the page server has no address before start()")
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def start(self) -> None:
        """Listen and answer, until :meth:`stop`.

        Raises:
            OSError: If the port is taken.
        """
        if self._server is not None:
            return
        pages = self._pages

        class Handler(_Handler):
            answer = staticmethod(pages.answer)

        self._server = _Server((HOST, self._port), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="recap-pages", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port; does nothing if it is closed."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = self._thread = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a browser may keep a connection open


class _Pages:
    """Answers to paths, from one reading of the store at a time."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._state: Hashable = None
        self._site: Site | None = None
        self._kept: OrderedDict[str, Answer] = OrderedDict()

    def answer(self, target: str) -> Answer:
        """The page of a request target; never raises."""
        try:
            path = unquote(urlsplit(target).path, errors="strict")
        except ValueError:
            return Answer(HTTPStatus.BAD_REQUEST, _plain("Bad request"))
        try:
            with self._lock:
                return self._answer(path)
        except Exception:  # noqa: BLE001 - the edge of a thread: the log has it, the page says so
            _log.exception("page %r failed", path)
            text = "This page could not be made; the log of recap says why"
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, _plain(text))

    def _answer(self, path: str) -> Answer:
        site = self._fresh_site()
        found = self._kept.get(path)
        if found is None:
            found = self._render(site, path)
            self._kept[path] = found
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(path)
        return found

    def _fresh_site(self) -> Site:
        """The store as it is now; read again only if it changed."""
        store = Store(self._home) if self._site is None else self._site.snapshot.store
        state = state_of(store)
        if self._site is None or state != self._state:
            self._site, self._state = Site(store), state
            self._kept.clear()
        return self._site

    def _render(self, site: Site, path: str) -> Answer:
        make = _page_of(site, path)
        if make is None:
            if not path.endswith("/") and _page_of(site, f"{path}/") is not None:
                return Answer(HTTPStatus.MOVED_PERMANENTLY, _plain("Moved"), location=f"{path}/")
            text = "There is no such page. It may have been removed, or the address is mistyped."
            return Answer(HTTPStatus.NOT_FOUND, site.message("Not found", text))
        try:
            return Answer(HTTPStatus.OK, make())
        except (RecapError, OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("page %r cannot be shown: %s", path, error)
            return Answer(
                HTTPStatus.NOT_FOUND, site.message("This page cannot be shown", str(error))
            )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "recap"
    sys_version = ""
    timeout = TIMEOUT_S

    @staticmethod
    def answer(target: str) -> Answer:
        """Set by the server."""
        raise NotImplementedError(target)

    def do_GET(self) -> None:
        """Answer with a page."""
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with the headers of a page."""
        self._reply(with_body=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request for a page: another method, or no HTTP at all."""
        del message, explain
        self.close_connection = True
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._send(Answer(status, _plain(status.phrase)), with_body=self.command != "HEAD")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """To the log, not to the terminal."""
        _log.debug(format, *args)

    def _reply(self, *, with_body: bool) -> None:
        # Another site's name that was made to lead to this machine is none of ours.
        host = re.sub(r":\d+$", "", self.headers.get("Host", HOST)).lower()
        if host in _OWN_HOSTS:
            answer = self.answer(self.path)
        else:
            answer = Answer(HTTPStatus.FORBIDDEN, _plain("Open this page as 127.0.0.1"))
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # nobody reads what came with it
        self._send(answer, with_body=with_body)

    def _send(self, answer: Answer, *, with_body: bool) -> None:
        body = answer.page.encode("utf-8", errors="replace")
        self.send_response(answer.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if answer.location:
            self.send_header("Location", answer.location)
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _page_of(site: Site, path: str) -> Callable[[], str] | None:
    """What makes the page of a path; None if the path is no page's."""
    match path.removeprefix("/").split("/"):
        case [""]:
            return site.home
        case ["projects", project, robot, ""] if (project, robot) in site.snapshot.projects():
            return lambda: site.project(project, robot)
        case ["iterations", id_] if _ID.fullmatch(id_):
            return lambda: site.iteration(id_)
        case ["artifacts", id_] if _ID.fullmatch(id_):
            return lambda: site.artifact(id_)
        case ["reports", id_, ""] if _ID.fullmatch(id_):
            return lambda: site.report(id_)
        case _:
            return None


def _plain(text: str) -> str:
    return f"<!DOCTYPE html><title>{text}</title><p>{text}.</p>"
