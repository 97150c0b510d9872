"""Runs that are handed to whoever serves the flows, seen from the command that follows them."""

import io
from uuid import UUID

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from rich.console import Console

from deployments.submission import find_served, follow, require_served
from recap_core.errors import RecapError, ServerError
from tests.stage_processes import until


@pytest.fixture(autouse=True)
def _address(prefect_api: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del prefect_api
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")


@task(name="learn", task_run_name="learn-round-1")
def learn() -> int:
    """A stage."""
    return 3


@flow(name="followed", persist_result=True, result_serializer="json")
def followed(*, fails: bool) -> int:
    """A round."""
    if fails:
        raise ValueError("value_label[3] is 0.2")
    return learn()


def run_of(*, fails: bool) -> UUID:
    """Id of a run that has ended."""
    state = followed(fails=fails, return_state=True)
    run = state.state_details.flow_run_id
    assert run is not None
    until(lambda: fails or is_recorded(run))
    return run


def is_recorded(run: UUID) -> bool:
    """Whether the server knows that a run's task has ended: its record lags behind a little."""
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    with get_client(sync_client=True) as client:
        (task,) = client.read_task_runs(flow_run_filter=mine) or [None]
    return task is not None and task.state is not None and task.state.is_final()


def test_a_finished_run_gives_its_result() -> None:
    """Its tasks are printed, each with its state."""
    output = io.StringIO()

    assert follow(run_of(fails=False), Console(file=output, width=120), interval_s=0.1) == 3

    assert "learn-round-1" in output.getvalue()
    assert "http://127.0.0.1:4200/runs/flow-run/" in output.getvalue()


def test_a_failed_run_says_how_it_ended() -> None:
    """In one line, with its page."""
    run = run_of(fails=True)

    with pytest.raises(RecapError, match=r"ended as Failed: .*value_label\[3\] is 0\.2.*/runs/"):
        follow(run, Console(file=io.StringIO()), interval_s=0.1)


def test_what_nobody_serves_is_named() -> None:
    """With the two ways to go on."""
    assert find_served("recap-iteration", "nobody/robot") is None
    with pytest.raises(ServerError, match=r"recap-iteration/nobody-robot.*recap up.*--here"):
        require_served("recap-iteration", "nobody/robot")
