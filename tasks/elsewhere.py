"""Accelerator stages of a flow that runs on a machine without one.

Prefect runs all tasks of a flow in the process of the flow. So a flow on the ``cpu`` pool hands an
accelerator stage over as a flow run of its own, of the deployment that ``RECAP_GPU_DEPLOYMENT``
names, and waits. Both machines see the same store, each under its own path: inputs go by id, and
the result is found by its stage key, so nothing else passes between them.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelling
from pydantic import JsonValue

from recap_core.config.environment import accelerator_deployment
from recap_core.errors import RemoteStageError, WorkerLostError
from recap_core.lineage.artifacts import Artifact
from tasks.child_job import Job, decode_arguments, encode
from tasks.stage_key import find_made
from tasks.store import open_store

POLL_S = 2.0
TOLD_AGAIN_AFTER_S = 300.0
VISIBLE_AFTER_S = 90.0
"""A network file system may show a new directory this much later on another machine."""

_is_accelerator: ContextVar[bool] = ContextVar("is_accelerator", default=False)


@contextmanager
def on_accelerator() -> Generator[None]:
    """Inside, stages run in this process: it is the one that they were handed to."""
    token = _is_accelerator.set(True)
    try:
        yield
    finally:
        _is_accelerator.reset(token)


def deployment_elsewhere() -> str | None:
    """Who runs the accelerator stages of this process; None: it does so itself."""
    return None if _is_accelerator.get() else accelerator_deployment()


def hand_over(
    stage: str, arguments: Mapping[str, Any], deployment: str, *, is_refreshed: bool = False
) -> Artifact:
    """Let a deployment make a stage's artifact, and wait for it.

    If this wait ends early, by a cancellation for example, the other run is cancelled too.

    Args:
        stage: Id in :data:`recap_core.stages.registry.STAGES`.
        arguments: By parameter of the stage function, without store and progress.
        deployment: ``<flow>/<deployment>``, of the flow ``accelerator-stage``.
        is_refreshed: Whether the stage executes although its result exists.

    Raises:
        RemoteStageError: If the run failed, or what it made is not in this machine's store.
        WorkerLostError: If its process or machine is gone.
    """
    with get_client(sync_client=True) as client:
        parameters = {
            "stage": stage,
            "arguments": {name: encode(value) for name, value in arguments.items()},
            "refresh": is_refreshed,
        }
        run = _submit(parameters, deployment, client)
        try:
            run = _await_end(run, deployment, client)
        except BaseException:
            client.set_flow_run_state(run.id, Cancelling(message="Nobody waits for it any more."))
            raise
    _check_end(stage, run, deployment)
    return _await_artifact(stage, arguments, run)


def decoded(stage: str, arguments: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The arguments of a stage that was handed over, with the artifacts of this machine's store.

    Raises:
        ConfigError: If the stage does not take one of them, or no task runs it.
        ArtifactNotFoundError: If an artifact is not in this machine's store.
    """
    store = open_store()
    job = Job(
        stage=stage, home=store.home, arguments=dict(arguments), cancel_grace_s=0, parent_pid=0
    )
    return decode_arguments(job, store)


def _submit(parameters: Mapping[str, Any], deployment: str, client: SyncPrefectClient) -> FlowRun:
    try:
        run = cast(
            "FlowRun",  # not a coroutine: nothing here is async
            run_deployment(
                deployment,
                parameters=dict(parameters),
                timeout=0,
                work_queue_name=_queue(client, deployment),
            ),
        )
    except ObjectNotFound as error:
        raise RemoteStageError(
            f"RECAP_GPU_DEPLOYMENT is {deployment}, but the server has no such deployment. "
            "Create it with: recap deploy"
        ) from error
    get_run_logger().info("Handed to %s as run %s", deployment, run.name)
    return run


def _queue(client: SyncPrefectClient, deployment: str) -> str | None:
    """The waiting run's queue, if the other pool has one of that name: it has the same priority."""
    mine = client.read_flow_run(this_run.id).work_queue_name if this_run.id else None
    pool = client.read_deployment_by_name(deployment).work_pool_name
    if mine is None or pool is None:
        return None
    known = {queue.name for queue in client.read_work_queues(work_pool_name=pool)}
    return mine if mine in known else None


def _await_end(run: FlowRun, deployment: str, client: SyncPrefectClient) -> FlowRun:
    told = time.monotonic()
    while True:
        run = client.read_flow_run(run.id)
        if run.state is not None and run.state.is_final():
            return run
        if time.monotonic() - told > TOLD_AGAIN_AFTER_S:
            told = time.monotonic()
            state = run.state.name if run.state else "not there"
            get_run_logger().warning(
                "Run %s of %s is %s. If it stays so: does a worker of pool %s run, and is it free?",
                run.name, deployment, state, run.work_pool_name,
            )  # fmt: skip
        time.sleep(POLL_S)


def _check_end(stage: str, run: FlowRun, deployment: str) -> None:
    state = run.state
    if state is None or state.is_completed():
        return
    error = WorkerLostError if state.is_crashed() else RemoteStageError
    raise error(
        f"stage {stage} was handed to {deployment}; its run {run.name} ended as {state.name}: "
        f"{state.message or 'no message'}. Its log says more; running this flow again goes on "
        "from the last checkpoint"
    )


def _await_artifact(stage: str, arguments: Mapping[str, Any], run: FlowRun) -> Artifact:
    deadline = time.monotonic() + VISIBLE_AFTER_S
    while (made := find_made(stage, arguments)) is None:
        if time.monotonic() > deadline:
            raise RemoteStageError(
                f"run {run.name} has made stage {stage}, but this machine's store does not show "
                f"it after {VISIBLE_AFTER_S:.0f} s. RECAP_HOME of both workers must be the same "
                "directory of one shared file system"
            )
        time.sleep(POLL_S)
    return made
