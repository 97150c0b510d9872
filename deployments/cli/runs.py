"""Commands that run flows.

Prefect reads its settings when it is imported, and they are known only once there is a server. So
whatever imports it, flows and answers included, is imported inside the session.
"""

from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

from deployments.cli.narration import narrated
from deployments.cli.options import Output
from deployments.cli.projects import ChosenProject
from deployments.cli.resolution import check_cameras, rendering_problem, uses_cameras
from deployments.cli.session import prefect_session
from deployments.environment import without_heartbeats
from recap_core.config.environment import recap_home
from recap_core.lineage.project_files import save_project
from recap_core.lineage.store import Store

if TYPE_CHECKING:
    from flows.forms import StageName


def run_loop(
    project: ChosenProject,
    *,
    iterations: int,
    refresh: "tuple[StageName, ...]" = (),
    output: Output,
) -> None:
    """Run the loop flow, and print what it did."""
    with _prepared(project, output) as prepared:
        from deployments.cli.answers import answer
        from flows.loop import recap_loop

        began = datetime.now(UTC)
        with without_heartbeats(), narrated(output.console):
            result = recap_loop(
                prepared.name,
                rounds=iterations,
                refresh=refresh,
                settings=prepared.changes,
            )
        answer([result.bootstrap, *result.rounds], Store(recap_home()), output, began=began)


def run_round(
    project: ChosenProject,
    *,
    round_index: int | None,
    refresh: "tuple[StageName, ...]" = (),
    is_submitted: bool | None = None,
    output: Output,
) -> None:
    """Run one round, and print what it did.

    Args:
        project: The round runs with its settings; they are saved if they set it up.
        round_index: None: the first unfinished one.
        refresh: Stages that run anew.
        is_submitted: Whether ``recap up`` runs it, or this process; None: ``recap up`` if it runs.
        output: How to answer.
    """
    with _prepared(project, output) as prepared:
        from deployments.cli.answers import answer
        from deployments.submission import find_served, follow, require_served, submit
        from flows.forms import RoundChoice
        from flows.iteration import recap_iteration
        from flows.results import IterationResult

        began, name, changes = datetime.now(UTC), prepared.name, prepared.changes
        choice = RoundChoice(index=round_index)
        look = require_served if is_submitted else find_served
        served = None if is_submitted is False else look("recap-iteration", name)
        if served is None:
            with without_heartbeats(), narrated(output.console):
                result = recap_iteration(name, this_round=choice, refresh=refresh, settings=changes)
        else:
            form = {
                "project": name,
                "this_round": choice.model_dump(),
                "refresh": list(refresh),
                "settings": changes,
            }
            found = follow(submit(served, form), output.console)
            result = IterationResult.model_validate(found)
        is_served = served is not None
        answer([result], Store(recap_home()), output, began=began, is_served=is_served)


@contextmanager
def _prepared(project: ChosenProject, output: Output) -> Generator[ChosenProject]:
    """A server that answers, and settings that this machine can run."""
    console = output.console
    session = prefect_session(recap_home(), console, verbose=output.verbose)
    with ThreadPoolExecutor(1) as pool, session as wait:
        problem = pool.submit(rendering_problem) if uses_cameras(project.settings) else None
        import flows.loop  # noqa: F401 - takes seconds, in which the server starts

        wait()
        prepared = _without_impossible_cameras(project, problem, console)
        _tell(prepared, console)
        if prepared.is_new:
            save_project(recap_home(), prepared.saved)
        yield prepared


def _tell(project: ChosenProject, console: Console) -> None:
    """Whose settings the run uses, and which are its own."""
    if not project.is_new:
        console.print(f"Project {project.name}, with the settings that are saved", soft_wrap=True)
    if project.changes:
        console.print(
            f"For this run only: {', '.join(_flat(project.changes))}. To keep settings, use "
            "'recap up -s' or a file with --config",
            soft_wrap=True,
        )


def _flat(changes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``a.b=1`` of nested changes."""
    lines: list[str] = []
    for name, value in changes.items():
        key = f"{prefix}{name}"
        lines += _flat(value, f"{key}.") if isinstance(value, dict) else [f"{key}={value}"]
    return lines


def _without_impossible_cameras(
    project: ChosenProject, problem: Future[str | None] | None, console: Console
) -> ChosenProject:
    reason = None if problem is None else problem.result()
    if reason is None:
        return project
    console.print(f"[yellow]Going on without cameras.[/yellow] {reason}", soft_wrap=True)
    prepared = project.without_cameras()
    check_cameras(prepared.settings)
    return prepared
