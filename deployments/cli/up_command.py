"""``recap up``: the UI, all flows, the nights and the pages of one machine in one command."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deployments.cli.options import Output
from deployments.cli.projects import SetUp, with_overrides
from deployments.cli.resolution import (
    check_cameras,
    rendering_problem,
    uses_cameras,
    without_cameras,
)
from deployments.cli.session import prefect_session
from deployments.environment import machine_timezone, ui_url
from deployments.one_up import only_up, refuse_second
from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import list_projects, load_project, project_name, save_project

if TYPE_CHECKING:
    from prefect.schedules import Schedule


class Nights(NamedTuple):
    """What the command line says about the nightly schedule."""

    cron: str | None = None
    """When a night starts; None leaves the schedule as it was."""
    timezone: str | None = None
    """Of ``cron``; None: the machine's."""
    are_over: bool = False
    """Remove the schedule."""

    def check(self) -> None:
        """Nothing, if the options fit together.

        Raises:
            ConfigError: If one says the opposite of another, or nothing without another, or is no
            schedule.
        """
        if self.cron is not None and self.are_over:
            raise ConfigError(
                "--nightly begins nights and --no-nightly ends them; give one of them"
            )
        if self.timezone is not None and self.cron is None:
            raise ConfigError(
                f"--timezone {self.timezone} is whose clock --nightly goes by; give both, such as "
                "--nightly '0 2 * * *'"
            )
        if self.cron is not None:
            _refuse_bad_schedule(self.cron, self.timezone or machine_timezone())

    def schedule(self) -> "Schedule | None":
        """When a night starts; None leaves it as it was.

        Raises:
            ConfigError: If it is no cron expression, or there is no such time zone.
        """
        if self.cron is None:
            return None
        from deployments.night_schedule import night_schedule  # imports Prefect

        return night_schedule(self.cron, self.timezone or machine_timezone())


def _refuse_bad_schedule(cron: str, timezone: str) -> None:
    # In a process of its own: Prefect must not be imported here before its server is known.
    check = [sys.executable, "-m", "deployments.night_schedule", cron, timezone]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if checked.returncode:
        raise ConfigError(checked.stderr.strip().rpartition("error: ")[2])


def served_projects(
    set_up: SetUp, names: Sequence[str], overrides: Sequence[str], output: Output
) -> list[ProjectConfig]:
    """The projects to serve: one that is set up, or saved ones.

    Args:
        set_up: With any of them, or where no project is saved, one is set up and saved.
        names: Saved projects; empty: all there are.
        overrides: ``KEY=VALUE`` that the one project keeps.
        output: How it is told.

    Raises:
        ConfigError: If options contradict each other, a project is not known, or settings are given
            for several.
        ServerError: If ``recap up`` runs already.
    """
    refuse_second(recap_home())
    if names and set_up.is_asked():
        raise ConfigError(
            "--project serves a project as it was saved; leave out --config, --preset, --seed and "
            "--no-cameras"
        )
    names = names or list_projects(recap_home())
    if set_up.is_asked() or not names:
        return new_project(set_up.build(overrides), output)
    found = saved_projects(names)
    if not overrides:
        return found
    if len(found) > 1:
        known = ", ".join(project_name(config) for config in found)
        raise ConfigError(f"-s changes one project; choose it with --project: {known}")
    return new_project(with_overrides(found[0], overrides), output)


def saved_projects(names: Sequence[str]) -> list[ProjectConfig]:
    """Saved projects by name.

    Raises:
        ConfigError: If one is not known, or is named twice.
    """
    found = [load_project(recap_home(), name) for name in names]
    known = [project_name(config) for config in found]
    for name in known:
        if known.count(name) > 1:
            raise ConfigError(f"--project names {name} twice; name it once")
    return found


def new_project(config: ProjectConfig, output: Output) -> list[ProjectConfig]:
    """A project of settings as they are now, saved; without cameras if they cannot be rendered."""
    reason = rendering_problem() if uses_cameras(config) else None
    if reason is not None:
        output.console.print(f"[yellow]Going on without cameras.[/yellow] {reason}", soft_wrap=True)
        config = without_cameras(config)
        check_cameras(config)
    home = recap_home()
    home.mkdir(parents=True, exist_ok=True)
    save_project(home, config)
    return [config]


def serve_projects(
    projects: Sequence[ProjectConfig],
    *,
    port: int,
    pages_port: int,
    nights: Nights,
    output: Output,
) -> None:
    """Serve everything until Ctrl-C.

    Args:
        projects: Saved projects.
        port: Of the Prefect UI, if it is free.
        pages_port: Of the pages, if it is free.
        nights: The nightly schedule.
        output: How it is told.
    """
    home, console = recap_home(), output.console
    session = prefect_session(home, console, verbose=output.verbose, preferred_port=port)
    with only_up(home), _pages(home, pages_port) as pages, session as ready:
        import deployments.up as serving  # takes seconds, in which the server starts

        schedule = nights.schedule()
        ready()
        if nights.are_over:
            serving.forget_nights(projects)
        deployed = [project_name(config) for config in projects]
        if output.json:
            answer = {"url": ui_url(), "pages": pages, "home": str(home), "projects": deployed}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        console.print(f"Prefect UI: {ui_url()}   (Ctrl-C stops everything)", soft_wrap=True)
        console.print(f"Reports and lineage: {pages}", soft_wrap=True)
        console.print(f"Projects: {', '.join(deployed)}", soft_wrap=True)
        if schedule is not None:
            console.print(f"Every night: {schedule.cron} ({schedule.timezone})", soft_wrap=True)
        with suppress(KeyboardInterrupt):  # this is how it ends
            serving.serve_all(projects, schedule, ready.server)


@contextmanager
def _pages(home: Path, port: int) -> Generator[str]:
    """Serve the pages inside the block, and tell flows where; yields the address."""
    from deployments.pages import PageServer

    server = PageServer(home, port)
    try:
        server.start()
    except OSError:  # the port is taken
        server = PageServer(home, 0)
        server.start()
    try:
        os.environ["RECAP_PAGES_URL"] = server.url
        yield server.url
    finally:
        server.stop()
