"""Commands that run flows.

Prefect reads its settings when it is imported, and they are known only once there is a server. So
whatever imports it, flows and answers included, is imported inside the session.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

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
from deployments.environment import without_heartbeats
from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ConfigError
from recap_core.lineage.project_files import project_name, save_project
from recap_core.lineage.store import Store

if TYPE_CHECKING:
    from flows.forms import StageName


def run_loop(
    project: ProjectConfig, *, iterations: int, refresh: Sequence[str] = (), output: Output
) -> None:
    """Run the loop flow, and print what it did."""
    with _prepared(project, output) as resolved:
        from deployments.cli.answers import answer
        from flows.loop import recap_loop

        began = datetime.now(UTC)
        with without_heartbeats(), narrated(output.console):
            result = recap_loop(project_name(resolved), rounds=iterations, refresh=_stages(refresh))
        answer([result.bootstrap, *result.rounds], Store(recap_home()), output, began=began)


def run_round(
    project: ProjectConfig,
    *,
    round_index: int | None,
    refresh: Sequence[str] = (),
    is_submitted: bool | None = None,
    output: Output,
) -> None:
    """Run one round, and print what it did.

    Args:
        project: Its settings are saved, and the round runs with them.
        round_index: None: the first unfinished one.
        refresh: Stages that run anew.
        is_submitted: Whether ``recap up`` runs it, or this process; None: ``recap up`` if it runs.
        output: How to answer.
    """
    with _prepared(project, output) as resolved:
        from deployments.cli.answers import answer
        from deployments.submission import find_served, follow, require_served, submit
        from flows.forms import RoundChoice
        from flows.iteration import recap_iteration
        from flows.results import IterationResult

        began, name = datetime.now(UTC), project_name(resolved)
        choice, stages = RoundChoice(index=round_index), _stages(refresh)
        look = require_served if is_submitted else find_served
        served = None if is_submitted is False else look("recap-iteration", name)
        if served is None:
            with without_heartbeats(), narrated(output.console):
                result = recap_iteration(name, this_round=choice, refresh=stages)
        else:
            form = {"project": name, "this_round": choice.model_dump(), "refresh": list(stages)}
            found = follow(submit(served, form), output.console)
            result = IterationResult.model_validate(found)
        answer([result], Store(recap_home()), output, began=began)


def _stages(names: Sequence[str]) -> "tuple[StageName, ...]":
    """Stages by the names that tables and runs show: ``train-value`` is ``train_value``.

    Raises:
        ConfigError: If there is no such stage.
    """
    from flows.forms import StageName, stage_names

    known: dict[str, StageName] = {name: name for name in stage_names()}
    unknown = [name for name in names if name.replace("-", "_") not in known]
    if unknown:
        raise ConfigError(f"no stage {unknown[0]!r} to refresh; there are {', '.join(known)}")
    return tuple(known[name.replace("-", "_")] for name in names)


@contextmanager
def _prepared(project: ProjectConfig, output: Output) -> Generator[ProjectConfig]:
    """A server that answers, and settings that this machine can run."""
    console = output.console
    session = prefect_session(recap_home(), console, verbose=output.verbose)
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
