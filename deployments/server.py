"""The Prefect server of a store: found, or started and stopped again, without the user's help.

``PREFECT_API_URL`` wins if it is set. Otherwise every home has at most one server of its own; the
first that needs it starts it, later ones share it, and it ends with its last user: normally because
that user stops it, after ``kill -9`` because the server itself notices. Locked files say so, and
the kernel releases them with the processes that hold them:

    server.json         pid and address, locked by the server; unlocked, it is out of date
    server.lock         locked by the server from its first moment: there is only one
    server-users.lock   locked, shared, by every process that uses the server

Nothing in this module imports Prefect: its settings must be in the environment before that.
"""

import base64
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from deployments.server_process import ALREADY_RUNNING
from recap_core.errors import ServerError

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 15.0
BUSY_TIMEOUT_S = 20.0
"""For an answer that is asked for once: a server that runs flows may be busy for seconds."""
_LEASES_ON_DISK = "prefect.server.concurrency.lease_storage.filesystem"


class PrefectServer:
    """A running Prefect server.

    Attributes:
        url: Address of the UI, for example ``http://127.0.0.1:4200``.
        is_shared: Whether it was there before this process asked for it.
    """

    def __init__(self, url: str, *, is_shared: bool) -> None:
        self.url = url
        self.is_shared = is_shared

    @property
    def api_url(self) -> str:
        """Address of the API."""
        return f"{self.url}/api"

    def is_healthy(self, *, timeout_s: float | int = 2) -> bool:
        """Whether the API answers; a server that is not there says so at once."""
        return self._status("health", timeout_s) == 200

    def lets_in(self) -> bool:
        """Whether it accepts what ``PREFECT_API_AUTH_STRING`` says, or asks for nothing."""
        said = os.environ.get("PREFECT_API_AUTH_STRING", "")
        login = {"Authorization": f"Basic {base64.b64encode(said.encode()).decode()}"}
        status = self._status("admin/version", BUSY_TIMEOUT_S, login if said else None)
        return status not in {401, 403}

    def _status(
        self, page: str, timeout_s: float | int, headers: Mapping[str, str] | None = None
    ) -> int | None:
        # no proxy: 127.0.0.1 behind HTTP_PROXY would not be this machine
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{self.api_url}/{page}", headers=dict(headers or {}))  # noqa: S310 - a server's
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return None


def require_answer(named: str) -> None:
    """Nothing, if the server that ``PREFECT_API_URL`` names can be asked.

    Raises:
        ServerError: If none answers there, or it wants another auth string.
    """
    server = PrefectServer(named.removesuffix("/").removesuffix("/api"), is_shared=True)
    if not server.is_healthy(timeout_s=BUSY_TIMEOUT_S):
        raise ServerError(
            f"PREFECT_API_URL is {named}, but no Prefect server answers there. "
            "Start it, or unset PREFECT_API_URL: without it, recap up starts a server of its own."
        )
    if not os.environ.get("PREFECT_API_KEY") and not server.lets_in():
        raise ServerError(
            f"the Prefect server at {named} refuses this login. Set PREFECT_API_AUTH_STRING to "
            "what the server has as PREFECT_SERVER_API_AUTH_STRING."
        )


class LocalServer:
    """The server of one home, from the moment a user asks for it until that user is done.

    Starting takes seconds of another core's time: call :meth:`start`, do something else, then
    :meth:`wait`.
    """

    def __init__(self, home: Path, *, preferred_port: int = 0) -> None:
        self._home = home
        self._preferred_port = preferred_port
        self._log = home / "logs" / "server.log"
        self._users: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Become a user of the home's server, and start it unless it runs."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._users = (self._home / "server-users.lock").open("a")
        fcntl.flock(self._users, fcntl.LOCK_SH)  # waits while an unused server is ending
        if self._record() is None:
            self._spawn()

    def running(self) -> str | None:
        """Address of the home's server if it runs now; it is left as it is."""
        record = self._record()
        return None if record is None else record["url"]

    def address(self, timeout_s: float = START_TIMEOUT_S) -> str:
        """The server's address, known long before it answers.

        Raises:
            ServerError: If it ends instead.
        """
        url = self._await(self._record, timeout_s)["url"]
        self._preferred_port = int(url.rpartition(":")[2])  # should it ever be started again
        return url

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> PrefectServer:
        """Return the server once it answers.

        Raises:
            ServerError: If it ends instead, or does not answer within ``timeout_s``.
        """
        return self._await(self._answering, timeout_s)

    def revive(self) -> None:
        """Start the server again, where it was, if it has ended though it still has this user."""
        is_starting = self._child is not None and self._child.poll() is None
        if self._users is None or is_starting or self._record() is not None:
            return
        self._spawn()

    def stop(self) -> None:
        """Stop being a user; the last one stops the server and waits until it is gone."""
        users, self._users = self._users, None
        if users is None:
            return
        with users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return  # others still use it, or it is already ending by itself
            self._end_process()

    def _spawn(self) -> None:
        script = Path(__file__).with_name("server_process.py")
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-P", str(script), str(self._home), str(self._preferred_port)],
                env=server_environment(self._home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C must not reach it before its users are done
            )

    def _await[T](self, condition: Callable[[], T | None], timeout_s: float) -> T:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = condition()
            if found is not None:
                return found
            self._check_process()
            time.sleep(0.05)
        raise ServerError(
            f"the Prefect server did not answer within {timeout_s:.0f} s. {self._log_end()}"
        )

    def _answering(self) -> PrefectServer | None:
        record = self._record()
        if record is None:
            return None
        is_mine = self._child is not None and self._child.pid == record["pid"]
        server = PrefectServer(record["url"], is_shared=not is_mine)
        return server if server.is_healthy() else None

    def _check_process(self) -> None:
        if self._child is None:
            if self._record() is None:  # it was somebody else's, and it died while it started
                self._spawn()
            return
        status = self._child.poll()
        if status == ALREADY_RUNNING:
            self._child = None
        elif status is not None:
            raise ServerError(f"the Prefect server ended with status {status}. {self._log_end()}")

    def _record(self) -> dict[str, Any] | None:
        """What a living server says of itself."""
        try:
            with (self._home / "server.json").open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    return json.load(file)
        except FileNotFoundError:
            pass
        return None

    def _end_process(self) -> None:
        record = self._record()
        if record is not None:
            self._signal(record["pid"], signal.SIGTERM)
        elif self._child is not None:  # it has not come as far as its record
            self._child.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while record is not None and self._record() is not None:
            if time.monotonic() > deadline:
                self._signal(record["pid"], signal.SIGKILL)
            time.sleep(0.02)
        if self._child is not None:
            self._child.wait()

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    def _log_end(self, num_lines: int = 8) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line]
        return f"End of {self._log}: {' | '.join(lines[-num_lines:])}"


def server_environment(home: Path) -> dict[str, str]:
    """Environment of a server whose files are all below ``home``, and that reports to nobody."""
    replaced = {"PREFECT_API_URL", "PREFECT_UI_API_URL", "PREFECT_PROFILE"}
    inherited = {name: value for name, value in os.environ.items() if name not in replaced}
    return inherited | {
        "PREFECT_HOME": str(home / "prefect"),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # In memory, the default, a restart would forget who holds a night's only slot: the running
        # night would be stopped, and no later one could ever start.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES_ON_DISK,
    }


@contextmanager
def prefect_server(home: Path, *, preferred_port: int = 0) -> Generator[LocalServer | None]:
    """Use the server of ``home`` inside the block; None if ``PREFECT_API_URL`` names another.

    Raises:
        ServerError: If the server that ``PREFECT_API_URL`` names cannot be asked.
    """
    named = os.environ.get("PREFECT_API_URL")
    if named:
        require_answer(named)
        yield None
        return
    local = LocalServer(home, preferred_port=preferred_port)
    try:
        local.start()
        yield local
    finally:
        local.stop()
