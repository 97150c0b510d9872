"""Runs that are handed to whoever serves the flows, and followed from here."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from rich.console import Console
from rich.markup import escape

from deployments.environment import deployment_name, ui_url
from recap_core.errors import RecapError, ServerError

_POLLED_LATELY = timedelta(seconds=30)
_WARNING = 30
_LAST = datetime.max.replace(tzinfo=UTC)
TOLD_AFTER_S: Final = 12.0
"""Seconds after which a run that has not begun is explained."""
ANSWERS_WITHIN: Final = timedelta(seconds=10)
"""Whoever serves looks for runs every two seconds."""


def find_served(flow: str, project: str) -> UUID | None:
    """The deployment of a flow for a project; None if nobody waits for its runs now."""
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(f"{flow}/{deployment_name(project)}")
        except ObjectNotFound:
            return None
    return found.id if _is_polled(found, _POLLED_LATELY) else None


def _is_polled(deployment: DeploymentResponse, within: timedelta) -> bool:
    """Whether somebody has looked for its runs lately."""
    polled = deployment.last_polled
    return polled is not None and datetime.now(UTC) - polled < within


def require_served(flow: str, project: str) -> UUID:
    """The same.

    Raises:
        ServerError: If nobody serves it.
    """
    found = find_served(flow, project)
    if found is None:
        raise ServerError(
            f"nobody serves {flow}/{deployment_name(project)} on {ui_url()}. Start 'recap up' for "
            "this project in another terminal, or run it in this one with --here"
        )
    return found


def submit(deployment: UUID, parameters: Mapping[str, Any]) -> UUID:
    """Ask for a run; its id."""
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(
            deployment, parameters=dict(parameters), tags=["cli"]
        ).id


def follow(run: UUID, console: Console, *, interval_s: float = 1.0) -> Any:  # noqa: ANN401 - the flow's
    """Print every finished task and every warning of a run until it ends; what it returned.

    Ctrl-C only stops following.

    Raises:
        RecapError: If the run does not complete; says how it ended.
    """
    address = f"{ui_url()}/runs/flow-run/{run}"
    console.print(f"Submitted: {address}   (Ctrl-C leaves it running)", soft_wrap=True)
    try:
        with get_client(sync_client=True) as client:
            ended = _Follower(client, run, console).until_it_ends(interval_s)
    except httpx.HTTPError as error:
        raise ServerError(
            f"the server does not answer any more ({error!r}). The run may go on without it; look "
            f"at {address} once 'recap up' runs again"
        ) from error
    except KeyboardInterrupt:
        console.print(f"The run goes on. Look at it, or cancel it, at {address}", soft_wrap=True)
        raise
    state = ended.state
    if state is not None and state.is_paused():
        raise RecapError(f"run {ended.name} waits for a person: answer it at {address}")
    if state is None or not state.is_completed():
        how = "without a state" if state is None else f"as {state.name}: {state.message}"
        raise RecapError(f"run {ended.name} ended {how}. Its log is at {address}")
    return state.result(_sync=True)  # pyright: ignore[reportCallIssue] - Prefect adds the argument


class _Follower:
    """Knows what has been printed of a run and of the runs below it."""

    def __init__(self, client: SyncPrefectClient, run: UUID, console: Console) -> None:
        self._client = client
        self._run = run
        self._console = console
        self._printed: set[UUID] = set()
        self._num_logs = 0
        self._began = time.monotonic()
        self._is_wait_told = False

    def until_it_ends(self, interval_s: float) -> FlowRun:
        while True:
            run = self._client.read_flow_run(self._run)
            self._tell()
            if run.state is not None and (run.state.is_final() or run.state.is_paused()):
                return run
            if not self._is_wait_told and run.start_time is None:
                self._tell_wait(run)
            time.sleep(interval_s)

    def _tell_wait(self, run: FlowRun) -> None:
        """Say once why a run has not begun although somebody seemed to wait for it."""
        if time.monotonic() - self._began < TOLD_AFTER_S:
            return
        self._is_wait_told = True
        if run.deployment_id is None or _is_polled(
            self._client.read_deployment(run.deployment_id), ANSWERS_WITHIN
        ):
            why = "'recap up' runs one long flow at a time, and another one is running"
        else:
            why = (
                "'recap up' does not answer: it may have ended. Start it again and the run begins, "
                "or cancel the run on its page and use --here"
            )
        self._console.print(f"[yellow]The run has not begun yet: {why}.[/yellow]", soft_wrap=True)

    def _tell(self) -> None:
        runs = [self._run, *(run.id for run in self._below())]
        found = self._client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=runs)), limit=200
        )
        ended = [task for task in found if task.state is not None and task.state.is_final()]
        for task in sorted(ended, key=lambda task: task.end_time or _LAST):
            if task.id in self._printed or task.state is None:
                continue
            self._printed.add(task.id)
            seconds = task.total_run_time.total_seconds()
            self._console.print(
                f"[dim]{task.name:<32} {task.state.name or '':<10} {seconds:6.1f} s[/dim]"
            )
        logs = self._client.read_logs(
            LogFilter(
                flow_run_id=LogFilterFlowRunId(any_=runs), level=LogFilterLevel(ge_=_WARNING)
            ),
            offset=self._num_logs,
            limit=100,
        )
        self._num_logs += len(logs)
        for log in logs:
            self._console.print(f"[yellow]{escape(log.message)}[/yellow]", soft_wrap=True)

    def _below(self) -> list[FlowRun]:
        parents = FlowRunFilterParentFlowRunId(any_=[self._run])
        return self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=parents)
        )
