"""``recap deploy``: make a Prefect server ready for real work."""

import json as json_module
import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from deployments.cli.options import JsonOption, Output
from recap_core.errors import ServerError


class Infrastructure(StrEnum):
    """How workers run flows."""

    process = "process"
    docker = "docker"
    kubernetes = "kubernetes"


def add_deploy_command(app: typer.Typer) -> None:
    """Add ``deploy`` to the command line."""
    app.command(epilog="Example: recap deploy --gpus 2 --notify slack-webhook/robots --dry-run")(
        deploy
    )


def deploy(  # noqa: PLR0913 - one parameter per option
    *,
    project: Annotated[
        list[str] | None,
        typer.Option("--project", help="project/robot; default: all of the store."),
    ] = None,
    infrastructure: Annotated[
        Infrastructure, typer.Option(help="How workers run flows.")
    ] = Infrastructure.process,
    gpus: Annotated[int, typer.Option(min=1, help="Accelerator stages at once.")] = 1,
    flows: Annotated[int, typer.Option(min=1, help="Flows at once.")] = 4,
    night: Annotated[str, typer.Option(help="When nights begin, as cron.")] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(help="Of the cron.")] = "UTC",
    notify: Annotated[
        str | None, typer.Option(help="Notification block, such as slack-webhook/robots.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Create work pools, queues, limits, automations and deployments on a Prefect server.

    It may be run again after every change: what is as it should be stays as it is.
    """
    output = Output(json=json, verbose=False)
    if not os.environ.get("PREFECT_API_URL"):
        raise ServerError(
            "PREFECT_API_URL is not set. recap deploy is for a server that runs by itself "
            "(docs/installation.md); without one, recap up serves all flows from this machine"
        )
    from deployments.deploying import deploy as deploy_flows
    from deployments.deploying import deployed_flows, deployment_name, prefect_file
    from deployments.installation import Installation, install
    from recap_core.config.environment import recap_home
    from recap_core.lineage.project_files import list_projects, load_project, project_name

    home = recap_home()
    projects = [project_name(load_project(home, name)) for name in project or list_projects(home)]
    installation = Installation(
        infrastructure=infrastructure.value, num_gpus=gpus, num_flows=flows, notify=notify
    )
    changes = install(installation, dry_run=dry_run)
    for change in changes:
        output.console.print(f"{_verb(change.action, dry_run):>14}  {change.subject}")
    deployed = []
    for name in projects:
        definitions = {"project": name, "deployment": deployment_name(name)}
        content = prefect_file(definitions | {"night": night, "timezone": timezone})
        if not dry_run:
            deploy_flows(content)
        deployed += deployed_flows(content)
    for flow in dict.fromkeys(deployed):
        output.console.print(f"{_verb('deployed', dry_run):>14}  {flow}")
    if not projects:
        output.console.print(f"No project has settings in {home}: no flow is deployed.")
    if output.json:
        made = [change.model_dump() for change in changes]
        answer = {"dry_run": dry_run, "changes": made, "deployed": list(dict.fromkeys(deployed))}
        sys.stdout.write(json_module.dumps(answer) + "\n")


def _verb(action: str, dry_run: bool) -> str:  # noqa: FBT001 - of this module
    return f"would be {action}" if dry_run and action != "kept" else action
