"""``recap iterate --plan``: the round's own code, planning instead of acting; no server needed."""

import json
import sys
from collections.abc import Sequence

from deployments.cli.options import Output
from deployments.cli.plan_text import plain_plan, plan_rows, print_plan
from deployments.cli.projects import ChosenProject
from deployments.cli.resolution import rendering_problem, uses_cameras, without_cameras
from recap_core.config.environment import recap_home
from recap_core.lineage.store import Store


def show_plan(
    project: ChosenProject,
    *,
    round_index: int | None,
    refresh: Sequence[str] = (),
    output: Output,
) -> None:
    """Print what a round would do, its bootstrap included where there is none yet.

    Args:
        project: The round would run with its settings; nothing is saved.
        round_index: Which round; None: the first unfinished one.
        refresh: Stages that would be made anew.
        output: How to answer.
    """
    from flows.plans import plan_round

    settings = project.settings
    if uses_cameras(settings) and rendering_problem() is not None:
        settings = without_cameras(settings)  # as the run will
    k, plan = plan_round(settings, round_index, refresh)
    store = Store(recap_home())
    rows = plan_rows(plan.stages, store, project=project.name)
    if output.json:
        sys.stdout.write(json.dumps({"round": k, **plain_plan(rows, store)}, indent=2) + "\n")
        return
    output.console.print(f"[bold]Round {k} of {project.name}[/bold]\n")
    print_plan(rows, store, output.console)
