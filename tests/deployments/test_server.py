"""The local Prefect server: started for whoever needs it, gone with its last user."""

import base64
import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deployments.server import LocalServer, PrefectServer, prefect_server, require_answer
from recap_core.errors import ServerError
from tests.stage_processes import is_alive, until

USER = """
import sys, time
from pathlib import Path
from deployments.server import prefect_server
with prefect_server(Path(sys.argv[1])) as server:
    print(server.wait().url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the module: its database is migrated once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_named_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own settings must not decide."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def server_pid(home: Path) -> int:
    return int(json.loads((home / "server.json").read_text())["pid"])


def test_two_users_share_a_server_that_ends_with_the_last_one(home: Path) -> None:
    """One of them starts it; when the first leaves, the second keeps it; then it is gone."""
    first, second = LocalServer(home), LocalServer(home)
    first.start()
    second.start()
    server = first.wait()
    pid = server_pid(home)

    assert second.wait().url == server.url
    # Mostly the first; on a busy machine the second one's process may be the first to listen.
    assert {server.is_shared, second.wait().is_shared} == {False, True}
    first.stop()
    until(server.is_healthy)
    second.stop()
    for child in (first._child, second._child):
        if child is not None:
            child.wait()  # it was this process's child; nobody else collects its status

    assert not server.is_healthy()
    assert not is_alive(pid)


def test_the_server_ends_when_its_only_user_is_killed(home: Path) -> None:
    """After ``kill -9`` of the user, the server notices within seconds."""
    with subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", USER, str(home)], stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        url = user.stdout.readline().strip()
        pid = server_pid(home)
        until(PrefectServer(url, is_shared=True).is_healthy)
        user.send_signal(signal.SIGKILL)
        user.wait()

    until(lambda: not is_alive(pid))


def test_an_exception_inside_the_block_stops_a_server_that_is_still_starting(home: Path) -> None:
    """Whoever fails before the server is ready leaves no process behind."""
    pids = []

    def fail_early() -> None:
        with prefect_server(home) as server:
            assert server is not None
            server.address()  # known long before it answers
            pids.append(server_pid(home))
            assert is_alive(pids[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_early()

    assert not is_alive(pids[0])


def test_a_server_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error quotes the end of the server's own log."""
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense://")

    with prefect_server(tmp_path) as server:
        assert server is not None
        with pytest.raises(ServerError, match=r"ended with status 1.*server\.log.*nonsense"):
            server.wait()


def test_a_named_server_must_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``PREFECT_API_URL`` wins, and nothing is started in its place."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    with pytest.raises(ServerError, match=r"no Prefect server answers"), prefect_server(tmp_path):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_server_with_a_login_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its health is open; everything else wants the auth string."""
    monkeypatch.delenv("PREFECT_API_KEY", raising=False)
    right = f"Basic {base64.b64encode(b'robots:secret').decode()}"

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_let_in = self.path == "/api/health" or self.headers["Authorization"] == right
            self.send_response(200 if is_let_in else 401)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        for wrong in ("", "robots:guessed"):
            monkeypatch.setenv("PREFECT_API_AUTH_STRING", wrong)
            with pytest.raises(ServerError, match=r"refuses this login. Set PREFECT_API_AUTH_STR"):
                require_answer(url)
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", "robots:secret")
        require_answer(url)
        server.shutdown()


def test_the_client_side_imports_no_prefect() -> None:
    """Prefect reads its settings at import, and they are known only once the server is."""
    code = "import sys, deployments.server; assert 'prefect' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
