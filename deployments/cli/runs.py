"""Commands that run flows.

Prefect reads its settings when it is imported, and they are known only once there is a server. So
whatever imports it, flows and answers included, is imported inside the session.
"""

import json
import sys
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from rich.console import Console

from deployments.cli.narration import narrated
from deployments.cli.options import Output
from deployments.cli.resolution import (
    check_cameras,
    rendering_problem,
    uses_cameras,
    without_cameras,
)
from deployments.cli.session import prefect_session
from deployments.environment import ui_url, without_heartbeats
from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.lineage.project_files import project_name, save_project
from recap_core.lineage.store import Store


def run_loop(project: ProjectConfig, *, iterations: int, output: Output) -> None:
    """Run the loop flow, and print what it did."""
    with _prepared(project, output) as resolved:
        from deployments.cli.answers import answer
        from flows.loop import recap_loop

        began = datetime.now(UTC)
        with without_heartbeats(), narrated(output.console):
            result = recap_loop(project_name(resolved), rounds=iterations)
        answer([result.bootstrap, *result.rounds], Store(recap_home()), output, began=began)


def run_round(project: ProjectConfig, *, round_index: int | None, output: Output) -> None:
    """Run one round, and print what it did."""
    with _prepared(project, output) as resolved:
        from deployments.cli.answers import answer
        from flows.forms import RoundChoice
        from flows.iteration import recap_iteration

        began = datetime.now(UTC)
        with without_heartbeats(), narrated(output.console):
            choice = RoundChoice(index=round_index)
            result = recap_iteration(project_name(resolved), this_round=choice)
        answer([result], Store(recap_home()), output, began=began)


def serve_flows(project: ProjectConfig, *, port: int, output: Output) -> None:
    """Serve all flows until Ctrl-C."""
    with _prepared(project, output, preferred_port=port) as resolved:
        from deployments.up import serve_all

        url = ui_url()
        if output.json:
            sys.stdout.write(json.dumps({"url": url, "home": str(recap_home())}) + "\n")
            sys.stdout.flush()
        output.console.print(f"Prefect UI: {url}   (Ctrl-C stops everything)", soft_wrap=True)
        with suppress(KeyboardInterrupt):  # this is how it ends
            serve_all(resolved)


@contextmanager
def _prepared(
    project: ProjectConfig, output: Output, *, preferred_port: int = 0
) -> Generator[ProjectConfig]:
    """A server that answers, and settings that this machine can run."""
    console = output.console
    session = prefect_session(
        recap_home(), console, verbose=output.verbose, preferred_port=preferred_port
    )
    with ThreadPoolExecutor(1) as pool, session as wait:
        problem = pool.submit(rendering_problem) if uses_cameras(project) else None
        import flows.loop  # noqa: F401 - takes seconds, in which the server starts

        wait()
        resolved = _without_impossible_cameras(project, problem, console)
        save_project(recap_home(), resolved)
        yield resolved


def _without_impossible_cameras(
    project: ProjectConfig, problem: Future[str | None] | None, console: Console
) -> ProjectConfig:
    reason = None if problem is None else problem.result()
    if reason is None:
        return project
    console.print(f"[yellow]Going on without cameras.[/yellow] {reason}", soft_wrap=True)
    resolved = without_cameras(project)
    check_cameras(resolved)
    return resolved
