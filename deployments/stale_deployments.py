"""Deployments on a server that are not what the installed flows would make of them."""

from collections.abc import Sequence
from typing import NamedTuple

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import DeploymentStatus
from prefect.client.schemas.responses import DeploymentResponse

from deployments.automations import RUN_TAG
from deployments.environment import deployment_name
from deployments.forms import closed_form, flow_at
from deployments.up import LONG_FLOWS, SHORT_FLOWS

_PAGE = 200


class ServerState(NamedTuple):
    """What a server has of recap."""

    version: str
    """Of Prefect."""
    num_deployments: int
    outdated: tuple[str, ...]
    """Deployments with another form than the installed flow, or of a flow that is no more."""
    orphaned: tuple[str, ...]
    """Deployments of projects that have no settings in the store."""
    missing: tuple[str, ...]
    """``<flow>/<deployment>`` that a project should have."""
    idle: tuple[str, ...]
    """Deployments whose runs nobody would start: no ``recap up`` and no worker is heard of."""


def server_state(projects: Sequence[str]) -> ServerState:
    """Ask the server of this environment about the deployments of some projects.

    Args:
        projects: All that have settings in the store, as ``project/robot``.
    """
    with get_client(sync_client=True) as client:
        version = client.api_version()
        found = {_name(one): one for one in _all(client)}
    wanted = [
        f"{flow.name}/{deployment_name(project)}"
        for project in projects
        for flow in (*LONG_FLOWS, *SHORT_FLOWS)
    ]
    return ServerState(
        version=version,
        num_deployments=len(found),
        outdated=tuple(name for name, one in found.items() if not _is_current(one)),
        orphaned=tuple(
            name
            for name, one in found.items()
            if one.parameters.get("project") not in (None, *projects)
        ),
        missing=tuple(name for name in wanted if name not in found),
        idle=tuple(name for name, one in found.items() if one.status != DeploymentStatus.READY),
    )


def _all(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Every deployment with recap's tag."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[RUN_TAG]))
    found: list[DeploymentResponse] = []
    while True:
        page = client.read_deployments(deployment_filter=ours, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return found


def _name(deployment: DeploymentResponse) -> str:
    flow = flow_at(deployment.entrypoint or "")
    return f"{flow.name if flow else deployment.entrypoint}/{deployment.name}"


def _is_current(deployment: DeploymentResponse) -> bool:
    flow = flow_at(deployment.entrypoint or "")
    form = deployment.parameter_openapi_schema
    return flow is not None and form == closed_form(flow).model_dump()
