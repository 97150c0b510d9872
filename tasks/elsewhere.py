"""Accelerator stages of a flow that runs on a machine without one.

Prefect runs all tasks of a flow in the process of the flow. So a flow on the ``cpu`` pool hands an
accelerator stage over as a flow run of its own, of the deployment that ``RECAP_GPU_DEPLOYMENT``
names, and waits. Both machines see the same store, each under its own path: inputs go by id, and
the result is found by its stage key, so nothing else passes between them.
"""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import Any, cast, get_type_hints

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelling
from pydantic import TypeAdapter, ValidationError

from recap_core.config.base import Config
from recap_core.config.environment import accelerator_deployment
from recap_core.errors import ConfigError, RemoteStageError, WorkerLostError
from recap_core.lineage.artifacts import Artifact
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


def elsewhere[**P, A: Artifact](stage: str) -> Callable[[Callable[P, A]], Callable[P, A]]:
    """Let a task's function run on the machine that ``RECAP_GPU_DEPLOYMENT`` names, if it is set.

    Args:
        stage: Id in :data:`recap_core.stages.registry.STAGES`; the function's parameters carry the
            names of the stage function's.
    """

    def decorate(function: Callable[P, A]) -> Callable[P, A]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> A:
            deployment = accelerator_deployment()
            if deployment is None or _is_accelerator.get():
                return function(*args, **kwargs)
            bound = signature(function).bind(*args, **kwargs)
            return cast("A", hand_over(stage, bound.arguments, deployment))

        return run

    return decorate


def hand_over(stage: str, arguments: Mapping[str, Any], deployment: str) -> Artifact:
    """Let a deployment make a stage's artifact, and wait for it.

    If this wait ends early, by a cancellation for example, the other run is cancelled too.

    Raises:
        RemoteStageError: If the run failed, or what it made is not in this machine's store.
        WorkerLostError: If its process or machine is gone.
    """
    with get_client(sync_client=True) as client:
        run = _submit(stage, arguments, deployment, client)
        try:
            run = _await_end(run, deployment, client)
        except BaseException:
            client.set_flow_run_state(run.id, Cancelling(message="Nobody waits for it any more."))
            raise
    _check_end(stage, run, deployment)
    return _await_artifact(stage, arguments, run)


def encoded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a stage as JSON: artifacts by their ids, settings as they are."""
    return {name: _encode(value) for name, value in arguments.items()}


def decoded(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of :func:`encoded`, for the function of a task.

    Raises:
        ConfigError: If an argument is unknown, or its settings are not allowed.
        ArtifactNotFoundError: If an artifact is not in this machine's store.
    """
    hints, found = get_type_hints(function), dict[str, Any]()
    for name, value in arguments.items():
        if name not in hints:
            raise ConfigError(f"{name!r} is no argument of {function.__name__}")
        if isinstance(value, dict) and set(value) == {"artifact"}:
            found[name] = open_store().get(value["artifact"])
            continue
        try:
            found[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"{name} of {function.__name__} cannot be used: {error}") from error
    return found


def _encode(value: object) -> object:
    if isinstance(value, Artifact):
        return {"artifact": value.id}
    if isinstance(value, Config):
        return value.model_dump(mode="json")
    return value


def _submit(
    stage: str, arguments: Mapping[str, Any], deployment: str, client: SyncPrefectClient
) -> FlowRun:
    parameters = {"stage": stage, "arguments": encoded(arguments)}
    try:
        run = cast(
            "FlowRun",  # not a coroutine: nothing here is async
            run_deployment(
                deployment,
                parameters=parameters,
                timeout=0,
                work_queue_name=_queue(client, deployment),
            ),
        )
    except ObjectNotFound as error:
        raise RemoteStageError(
            f"RECAP_GPU_DEPLOYMENT is {deployment}, but the server has no such deployment. "
            "Create it with: recap deploy"
        ) from error
    get_run_logger().info("Stage %s is handed to %s as run %s", stage, deployment, run.name)
    return run


def _queue(client: SyncPrefectClient, deployment: str) -> str | None:
    """The waiting run's queue, if the other pool has one of that name: it has the same priority."""
    mine = client.read_flow_run(this_run.id).work_queue_name if this_run.id else None
    pool = client.read_deployment_by_name(deployment).work_pool_name
    if mine is None or pool is None:
        return None
    return mine if _has_queue(client, pool, mine) else None


def _has_queue(client: SyncPrefectClient, pool: str, queue: str) -> bool:
    answer = client.request(
        "GET",
        "/work_pools/{work_pool_name}/queues/{name}",
        path_params={"work_pool_name": pool, "name": queue},
        raise_for_status=False,
    )
    return answer.status_code == 200


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
