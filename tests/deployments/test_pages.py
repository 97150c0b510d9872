"""The page server as a browser, and somebody with worse intentions, meets it."""

import http.client
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deployments.pages import PageServer
from recap_core.lineage.iterations import iteration_records
from tests.generated_store import PROJECT, ROBOT, GeneratedStore
from tests.ports import free_port


class Browser:
    """Asks one server, byte for byte what it is told to."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        address = urlsplit(server.url)
        self._connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=500)

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, str]:
        """The answer and its body; no path is cleaned before it is sent."""
        self._connection.request(method, path, body=body, headers=headers)
        response = self._connection.getresponse()
        return response, response.read().decode()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.fixture(scope="module")
def server(
    finished_rounds: GeneratedStore, tmp_path_factory: pytest.TempPathFactory
) -> Generator[PageServer]:
    """A server over a copy of the store, with a secret beside it."""
    home = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(finished_rounds.store.home, home)
    (home.parent / "secret.html").write_text("SECRET")
    (home / "secret.html").write_text("SECRET")
    server = PageServer(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def browser(server: PageServer) -> Generator[Browser]:
    """One connection per test: the server closes those that say nothing for twenty seconds."""
    browser = Browser(server)
    yield browser
    browser.close()


def test_every_page_is_reached_from_the_first(
    browser: Browser, finished_rounds: GeneratedStore
) -> None:
    """Following links finds a page for every round, project and report, and no dead end."""
    waiting, seen = ["/"], {"/"}
    while waiting:
        path = waiting.pop()
        response, page = browser.ask(path)
        assert response.status == 200, f"{path}: {response.status}"
        for found in re.findall(r'href="(/[^"#]*)', page):
            if found not in seen:
                seen.add(found)
                waiting.append(found)

    manifests = list(finished_rounds.store.artifacts())
    rounds = {f"/iterations/{m.id}" for m in manifests if m.kind == "iteration"}
    assert rounds | {f"/projects/{PROJECT}/{ROBOT}/"} <= seen
    reports = {f"/reports/{m.id}/" for m in manifests if m.kind == "report"}
    assert len(reports & seen) == 4
    assert {f"/artifacts/{m.id}" for m in manifests} <= seen


def test_headers_forbid_what_pages_do_not_need(browser: Browser) -> None:
    """Nothing is loaded, run, framed, guessed or told to others."""
    response, page = browser.ask("/")

    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert int(response.headers["Content-Length"]) == len(page.encode())


def test_head_is_get_without_its_body(browser: Browser) -> None:
    """The length is told, and nothing is sent."""
    got, page = browser.ask("/")
    head, nothing = browser.ask("/", method="HEAD")

    assert (head.status, nothing) == (200, "")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert page


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(browser: Browser, method: str) -> None:
    """Only GET and HEAD are understood."""
    response, _ = browser.ask("/", method=method, body="x=1")

    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert browser.ask("/")[0].status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/secret.html",
        "/reports/../../secret.html",
        "/reports/..%2f..%2fsecret.html/",
        "/reports/%2e%2e/%2e%2e/secret.html",
        "/artifacts/../secret",
        "/artifacts/%00",
        "/artifacts/" + "0" * 32,
        "/artifacts/" + "A" * 32,
        "/artifacts//etc/passwd",
        "/projects/../../",
        "/projects/%2e%2e/%2e%2e/",
        "/iterations/" + "f" * 32 + "/..",
        "//etc/passwd",
        "/index.html",
        "/artifacts/",
        "/reports/",
        "/%ff",
        "/" + "a" * 5000,
    ],
)
def test_an_address_never_becomes_a_path(browser: Browser, path: str) -> None:
    """What is no known page is not found, wherever it points."""
    response, page = browser.ask(path)

    assert response.status in {400, 404}
    assert "SECRET" not in page
    assert "root:" not in page


def test_a_file_of_an_artifact_is_no_page(
    browser: Browser, finished_rounds: GeneratedStore
) -> None:
    """A report's page is served; its manifest, and any other file, is not."""
    report = next(m for m in finished_rounds.store.artifacts() if m.kind == "report")

    assert browser.ask(f"/reports/{report.id}/")[0].status == 200
    assert browser.ask(f"/reports/{report.id}")[0].status == 301
    assert browser.ask(f"/reports/{report.id}/artifact.json")[0].status == 404
    policy = next(m for m in finished_rounds.store.artifacts() if m.kind == "policy_checkpoint")
    assert browser.ask(f"/reports/{policy.id}/")[0].status == 404


def test_another_name_of_this_machine_is_refused(browser: Browser) -> None:
    """A web site whose name was made to lead here reads nothing; a tunnel's port may differ."""
    assert browser.ask("/", Host="evil.example")[0].status == 403
    assert browser.ask("/", Host="localhost:8080")[0].status == 200


def test_a_text_of_an_address_is_not_code(browser: Browser) -> None:
    """What was not found is not repeated as markup."""
    response, page = browser.ask("/artifacts/%3Cscript%3Ealert(1)%3C/script%3E")

    assert response.status == 404
    assert "<script" not in page


def test_a_page_is_as_new_as_the_store(finished_rounds: GeneratedStore, tmp_path: Path) -> None:
    """A promotion and a damaged artifact show at the next request; neither ends the server."""
    home = tmp_path / "home"
    shutil.copytree(finished_rounds.store.home, home)
    server = PageServer(home)
    server.start()
    browser = Browser(server)
    try:
        store = type(finished_rounds.store)(home)
        first, *_, last = iteration_records(store, PROJECT, ROBOT)
        project = f"/projects/{PROJECT}/{ROBOT}/"
        before = browser.ask(project)[1]
        policies = [store.get(str(record.id("policy"))) for record in (first, last)]
        for policy in policies:
            store.set_ref(f"{PROJECT}/{ROBOT}/current", policy)
        assert browser.ask(project)[1] != before

        report = store.get(str(first.id("report")))
        directory = store.path(report)
        directory.chmod(0o755)
        (directory / "index.html").unlink()
        response, page = browser.ask(f"/reports/{report.id}/")
        assert response.status == 404
        assert "cannot be shown" in page
        assert "Traceback" not in page
    finally:
        browser.close()
        server.stop()


def test_a_server_ends_and_starts_again(tmp_path: Path) -> None:
    """The port is free after stop; an empty home is served and not created."""
    port = free_port()
    server = PageServer(tmp_path / "home", port=port)
    with pytest.raises(RuntimeError, match="before start"):
        _ = server.url
    server.start()
    server.stop()
    server.stop()

    again = PageServer(tmp_path / "home", port=port)
    again.start()
    browser = Browser(again)
    assert browser.ask("/")[0].status == 200
    browser.close()
    again.stop()

    assert not (tmp_path / "home").exists()


def test_serving_pages_takes_no_accelerator(finished_rounds: GeneratedStore) -> None:
    """The server and its pages import neither JAX nor lerobot nor torch."""
    code = (
        "import sys; from pathlib import Path\n"
        "import deployments.pages\n"
        "from recap_core.lineage.store import Store\n"
        "from recap_core.stages.index_pages import Site\n"
        "site = Site(Store(Path(sys.argv[1])))\n"
        "[site.project(*name) for name in site.snapshot.projects()]\n"
        "[site.iteration(id_) for id_ in site.snapshot.settings]\n"
        "print({'jax', 'lerobot', 'torch', 'prefect'} & set(sys.modules))\n"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code, str(finished_rounds.store.home)],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == "set()"
