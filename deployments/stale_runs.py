"""Runs whose process was killed: nobody was left to say so, so the next server start does."""

from datetime import datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Crashed

_UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_MESSAGE = "Its process ended without a word. Run the same command again: it goes on from there."


def crash_stale_runs(*, before: datetime) -> int:
    """Mark every unfinished flow run, and its task runs, as crashed; their number of flow runs.

    Only right after a home's own server has started: everybody who runs flows is a user of that
    server, so a run from before its start has no process any more.

    Args:
        before: When the server was started; younger runs are left alone.
    """
    flow_filter = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
    )
    task_filter = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED))
    )
    crashed = Crashed(message=_MESSAGE)
    with get_client(sync_client=True) as client:
        flow_runs = [
            run
            for run in client.read_flow_runs(flow_run_filter=flow_filter)
            if run.created is not None and run.created < before
        ]
        for run in flow_runs:
            client.set_flow_run_state(run.id, crashed, force=True)
        for run in client.read_task_runs(task_run_filter=task_filter):
            if run.created is not None and run.created < before:
                client.set_task_run_state(run.id, crashed, force=True)
    return len(flow_runs)
