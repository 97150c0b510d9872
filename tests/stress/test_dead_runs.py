"""The automation that ends runs without a process, on a real server; waits two minutes."""

import time
from collections.abc import Generator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Pending, Running

from deployments.automations import (
    HEARTBEAT,
    RUN_TAG,
    DeadRunRule,
    dead_run_automation,
    keep_automations,
)
from deployments.server import prefect_server
from recap_core.config.nights import NOTHING_NEW

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


@flow
def some_flow() -> None:
    """Never really run here: the tests say what a process would have said."""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[SyncPrefectClient]:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with prefect_server(tmp_path) as server:
        assert server is not None
        api = server.wait().api_url
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
            yield client


def _started(client: SyncPrefectClient, tag: str = RUN_TAG) -> UUID:
    run = client.create_flow_run(some_flow, tags=[tag], state=Pending())
    client.set_flow_run_state(run.id, Running())
    return run.id


def _beat(run: UUID, tag: str = RUN_TAG) -> None:
    emit_event(
        event=HEARTBEAT,
        resource={"prefect.resource.id": f"prefect.flow-run.{run}"},
        related=[
            {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"},
        ],
    )


def test_only_a_run_that_fell_silent_is_crashed(client: SyncPrefectClient) -> None:
    """Not one that ended, under any name; not one whose last heartbeat came late; not others'."""
    keep_automations([dead_run_automation()])
    time.sleep(1)
    silent, alive, ended, named, late = (_started(client) for _ in range(5))
    foreign = _started(client, tag="somebody-else")
    for run in (silent, alive, ended, named):
        _beat(run)
    _beat(foreign, tag="somebody-else")
    EventsWorker.drain_all(timeout=10)
    time.sleep(2)
    client.set_flow_run_state(ended, Completed())
    client.set_flow_run_state(named, Completed(name=NOTHING_NEW))
    client.set_flow_run_state(late, Completed())
    time.sleep(2)
    _beat(late)
    deadline = time.monotonic() + DeadRunRule().silence_s + 40
    while time.monotonic() < deadline:
        time.sleep(20)
        _beat(alive)

    def state(run: UUID) -> str | None:
        return client.read_flow_run(run).state_name

    assert state(silent) == "Crashed"
    assert state(alive) == "Running"
    assert state(ended) == "Completed"
    assert state(named) == NOTHING_NEW
    assert state(late) == "Completed"
    assert state(foreign) == "Running"
