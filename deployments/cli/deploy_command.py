"""``recap deploy``: make a Prefect server ready for real work."""

import json as json_module
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import PRESET_HELP, ConfigOption, JsonOption, Output, Preset
from recap_core.config.environment import recap_home
from recap_core.errors import ConfigError, ServerError


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
    config: ConfigOption = None,
    preset: Annotated[
        Preset | None,
        typer.Option(help=PRESET_HELP, show_default="tiny, with --config"),
    ] = None,
    infrastructure: Annotated[
        Infrastructure, typer.Option(help="How workers run flows.")
    ] = Infrastructure.process,
    gpus: Annotated[int, typer.Option(min=1, help="Accelerator stages at once.")] = 1,
    flows: Annotated[int, typer.Option(min=1, help="Flows at once.")] = 4,
    nightly: Annotated[
        str, typer.Option(help="When a night starts: a cron expression.")
    ] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(help="Of --nightly, such as Europe/Berlin.")] = "UTC",
    notify: Annotated[
        str | None, typer.Option(help="Notification block, such as slack-webhook/robots.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Create work pools, queues, limits, automations and deployments on a Prefect server.

    It may be run again after every change: what is as it should be stays as it is. --config or
    --preset sets a project up; else saved ones are deployed.
    """
    output = Output(json=json, verbose=False)
    _check(cron=nightly, timezone=timezone)
    from deployments.installation import Installation, install

    installation = Installation(
        infrastructure=infrastructure.value, num_gpus=gpus, num_flows=flows, notify=notify
    )
    projects = _projects(project or [], config, preset, is_saved=not dry_run)
    changes = install(installation, dry_run=dry_run)
    for change in changes:
        output.console.print(f"{_verb(change.action, dry_run):>16}  {change.subject}")
    deployed = _deploy(projects, {"night": nightly, "timezone": timezone}, dry_run=dry_run)
    for flow in deployed:
        output.console.print(f"{_verb('deployed', dry_run):>16}  {flow}")
    if not projects:
        output.console.print(
            f"No project has settings in {recap_home()}; give --config or --preset."
        )
    if output.json:
        made = [change.model_dump() for change in changes]
        answer = {"dry_run": dry_run, "changes": made, "deployed": deployed}
        sys.stdout.write(json_module.dumps(answer) + "\n")


def _check(*, cron: str, timezone: str) -> None:
    """Nothing, if there is a server, and the nights are a schedule."""
    named = os.environ.get("PREFECT_API_URL")
    if not named:
        raise ServerError(
            "PREFECT_API_URL is not set. recap deploy is for a server that runs by itself "
            "(docs/installation.md); without one, recap up serves all flows from this machine"
        )
    from deployments.night_schedule import night_schedule
    from deployments.server import require_answer

    night_schedule(cron, timezone)
    require_answer(named)


def _projects(
    names: Sequence[str], config: Path | None, preset: Preset | None, *, is_saved: bool
) -> list[str]:
    """Projects whose flows are deployed; one of a file or a preset is saved in the store first.

    Raises:
        ConfigError: If a saved project is asked for and one is set up, or one is not known.
    """
    from recap_core.lineage.project_files import (
        list_projects,
        load_project,
        project_name,
        save_project,
    )

    home = recap_home()
    if config is None and preset is None:
        return [project_name(load_project(home, name)) for name in names or list_projects(home)]
    if names:
        raise ConfigError(
            "--project deploys a project as it was saved; leave out --config and --preset"
        )
    from deployments.cli.projects import SetUp

    settings = SetUp(preset, file=config).build(())
    if is_saved:
        home.mkdir(parents=True, exist_ok=True)
        save_project(home, settings)
    return [project_name(settings)]


def _deploy(projects: Sequence[str], definitions: dict[str, str], *, dry_run: bool) -> list[str]:
    """Deploy the flows of all projects; what is deployed, as text."""
    from deployments.deploying import deploy, deployed_flows, prefect_file
    from deployments.environment import deployment_name

    deployed: list[str] = []
    for project in projects:
        of_project = {"project": project, "deployment": deployment_name(project)}
        content = prefect_file(definitions | of_project)
        if not dry_run:
            deploy(content)
        deployed += deployed_flows(content)
    return list(dict.fromkeys(deployed))


def _verb(action: str, dry_run: bool) -> str:  # noqa: FBT001 - of this module
    return f"would be {action}" if dry_run and action != "kept" else action
