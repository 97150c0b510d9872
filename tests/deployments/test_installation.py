"""What a server has after ``recap deploy``: pools, queues, limits, automations."""

import json
import threading
from collections.abc import Generator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.events import emit_event

from deployments.automations import dead_run_automation, stuck_run_automation
from deployments.installation import QUEUES, Change, Installation, install
from deployments.server import server_environment
from recap_core.errors import ConfigError
from tests.stage_processes import until

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("own_garbage"),
]


@pytest.fixture(scope="module", autouse=True)
def api(prefect_api: None) -> None:
    """All tests here need the server."""


def by_action(changes: list[Change]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for change in changes:
        found.setdefault(change.action, set()).add(change.subject)
    return found


def test_what_is_there_stays_and_what_differs_is_put_right() -> None:
    """Said by a dry run first, which changes nothing; the second time nothing is left to do."""
    said = by_action(install(Installation(), dry_run=True))
    done = by_action(install(Installation()))
    again = by_action(install(Installation()))

    assert said == done
    assert set(again) == {"kept"}
    assert {
        f"automation {each.name}" for each in (dead_run_automation(), stuck_run_automation())
    } <= set().union(*said.values())
    with get_client(sync_client=True) as client:
        queues = client.read_work_queues(work_pool_name="gpu")
        assert QUEUES.items() <= {queue.name: queue.priority for queue in queues}.items()
        assert client.read_work_pool("gpu").concurrency_limit == 1
        client.update_work_pool("cpu", WorkPoolUpdate(concurrency_limit=99))
        client.update_work_queue(queues[0].id, priority=42)
    assert by_action(install(Installation(num_gpus=2)))["updated"] >= {
        "work pool cpu",
        "work pool gpu",
    }
    assert set(by_action(install(Installation(num_gpus=2)))) == {"kept"}


def test_a_pool_of_another_infrastructure_is_not_touched() -> None:
    """It may have runs; the error says how to go on."""
    install(Installation())

    with pytest.raises(ConfigError, match="exists with infrastructure process, not docker"):
        install(Installation(infrastructure="docker"))


def test_the_page_s_server_keeps_leases_where_recap_up_does(tmp_path: Path) -> None:
    """In memory, a killed server would leave a deployment's only place taken for ever."""
    page = (Path(__file__).parents[2] / "docs/installation.md").read_text(encoding="utf-8")
    setting = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"

    assert f"{setting}={server_environment(tmp_path)[setting]}" in page.splitlines()


def test_a_block_that_does_not_exist_changes_nothing() -> None:
    """The whole installation is refused, with what to do."""
    with pytest.raises(ConfigError, match="no block 'slack-webhook/nosuch'"):
        install(Installation(notify="slack-webhook/nosuch"))


@pytest.fixture
def told() -> Generator[tuple[str, SimpleQueue[dict]]]:
    """Address of a web hook, and what it was told."""
    queue: SimpleQueue[dict] = SimpleQueue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            queue.put(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", queue
        server.shutdown()


def test_somebody_is_told_of_a_pool_without_workers(
    told: tuple[str, SimpleQueue[dict]],
) -> None:
    """Through a notification block that the server has, to a web hook."""
    url, queue = told
    CustomWebhookNotificationBlock(
        name="hook",
        url=url,
        json_data={"subject": "{{subject}}", "body": "{{body}}"},
        headers=None,
        cookies=None,
    ).save("lab", overwrite=True)
    install(Installation(notify="custom-webhook/lab"))
    with get_client(sync_client=True) as client:
        pool = client.read_work_pool("gpu")
    resource = {"prefect.resource.id": f"prefect.work-pool.{pool.id}"}

    def subject() -> str | None:
        """Of what was told; a server heeds a new automation a moment after it has stored it."""
        emit_event("prefect.work-pool.not-ready", resource=resource)
        with suppress(Empty):
            return queue.get(timeout=5)["subject"]

    assert until(subject) == "recap: no worker for gpu"
    assert set(by_action(install(Installation(notify="custom-webhook/lab")))) == {"kept"}
