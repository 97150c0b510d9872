"""``recap iterate --plan``: the round's own code, planning instead of acting; no server needed."""

import json
import sys
from collections.abc import Sequence

from deployments.cli.options import Output
from deployments.cli.plan_text import plain_plan, plan_rows, print_plan
from deployments.cli.resolution import rendering_problem, uses_cameras, without_cameras
from recap_core.config.environment import recap_home
from recap_core.config.flows import ProjectConfig
from recap_core.lineage.project_files import project_name
from recap_core.lineage.store import Store


def show_plan(
    project: ProjectConfig,
    *,
    round_index: int | None,
    refresh: Sequence[str] = (),
    output: Output,
) -> None:
    """Print what a round would do, its bootstrap included where there is none yet.

    Args:
        project: Its settings.
        round_index: Which round; None: the first unfinished one.
        refresh: Stages that would be made anew.
        output: How to answer.
    """
    from flows.plans import plan_round

    if uses_cameras(project) and rendering_problem() is not None:
        project = without_cameras(project)  # as the run will
    k, plan = plan_round(project, round_index, refresh)
    store = Store(recap_home())
    rows = plan_rows(plan.stages, store, project=project_name(project))
    if output.json:
        sys.stdout.write(json.dumps({"round": k, **plain_plan(rows, store)}, indent=2) + "\n")
        return
    output.console.print(f"[bold]Round {k} of {project_name(project)}[/bold]\n")
    print_plan(rows, store, output.console)
