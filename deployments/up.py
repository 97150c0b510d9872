"""All flows, served to the Prefect UI: ``recap up``.

Two runners share the process. One runs what uses the accelerator for hours, one run at a time. The
other runs what is short, so that taking in a recording does not wait for a night's training.
"""

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final, cast

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType

from deployments.automations import (
    RUN_TAG,
    dead_run_automation,
    keep_automations,
    stuck_run_automation,
)
from deployments.environment import deployment_name
from deployments.forms import closed_form
from deployments.runners import Group, serve
from deployments.server import LocalServer
from flows.bootstrap import bootstrap
from flows.evaluation import evaluate_only
from flows.ingest import ingest_recordings
from flows.iteration import recap_iteration
from flows.loop import recap_loop
from flows.nightly import nightly
from flows.relabeling import relabel_only
from flows.stage3 import stage3
from recap_core.config.flows import ProjectConfig
from recap_core.lineage.project_files import project_name

LONG_FLOWS: Final[tuple[Flow[..., Any], ...]] = (
    recap_iteration, recap_loop, nightly, bootstrap, stage3, relabel_only, evaluate_only,
)  # fmt: skip
SHORT_FLOWS: Final[tuple[Flow[..., Any], ...]] = (ingest_recordings,)
NUM_SHORT_RUNS: Final = 2

# Two nights at once would learn from the same recordings.
ALONE: Final = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
)


def serve_all(
    projects: Sequence[ProjectConfig],
    nights: Schedule | None = None,
    server: LocalServer | None = None,
) -> None:
    """Serve every flow of some projects until interrupted.

    Args:
        projects: Saved projects; the forms in the UI are filled in with their names.
        nights: When the nightly flow starts by itself; None: as it was before.
        server: The server to start again should it end by itself; None if somebody else minds it.
    """
    keep_automations([dead_run_automation(), stuck_run_automation()])
    groups = (
        Group("long", deployments(projects, nights, LONG_FLOWS), limit=1),
        Group("short", deployments(projects, nights, SHORT_FLOWS), limit=NUM_SHORT_RUNS),
    )
    asyncio.run(serve(groups, server))


def deployments(
    projects: Sequence[ProjectConfig],
    nights: Schedule | None = None,
    flows: Sequence[Flow[..., Any]] = (*LONG_FLOWS, *SHORT_FLOWS),
) -> list[RunnerDeployment]:
    """One deployment per flow and project, named ``<project>-<robot>``."""
    return [_deployment(flow, config, nights) for config in projects for flow in flows]


def _deployment(
    flow: Flow[..., Any], config: ProjectConfig, nights: Schedule | None
) -> RunnerDeployment:
    is_nightly = flow is nightly
    deployment = flow.to_deployment(
        deployment_name(project_name(config)),
        parameters={"project": project_name(config)},
        description=_for_people(flow.description or ""),
        version=version("recap"),
        tags=[RUN_TAG, config.project, config.robot],
        schedule=nights if is_nightly else None,
        concurrency_limit=ALONE if is_nightly else None,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    served = cast("RunnerDeployment", deployment)  # no coroutine: nothing here is async
    served._parameter_openapi_schema = closed_form(flow)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return served


def _for_people(docstring: str) -> str:
    """A description without its list of arguments, which the form shows beside its fields."""
    return docstring.partition("\nArgs:")[0].strip()


def forget_nights(projects: Sequence[ProjectConfig]) -> None:
    """Remove the schedules of the nightly deployments, and the runs that they have planned."""
    with get_client(sync_client=True) as client:
        for config in projects:
            try:
                name = deployment_name(project_name(config))
                known = client.read_deployment_by_name(f"{nightly.name}/{name}")
            except ObjectNotFound:
                continue
            for schedule in known.schedules:
                client.delete_deployment_schedule(known.id, schedule.id)
