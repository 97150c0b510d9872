"""``recap collect``: one session in a robot cell, with an operator before it.

Whatever takes time to import is imported inside the command, so that help is instant; it needs
neither Prefect nor JAX, and lerobot only for robots that lerobot drives.
"""

import json as json_format
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.doctor_robot import CellOption
from deployments.cli.options import CellSetOption, JsonOption, Output

if TYPE_CHECKING:
    from rich.console import Console

    from recap_core.collection.live_parts import SessionEnd
    from recap_core.config.cell import CellConfig

EXAMPLES = """[bold]Examples[/bold]

recap collect --robot sim  (nothing else is needed; keys are on the screen)

recap collect --cell cell.yaml --policy ws://gpu:8000 --goal '30 corrections'

recap collect --cell cell.yaml --policy ws://gpu:8000 --evaluate --goal 50

recap collect --cell cell.yaml --plan  (is everything there?)"""


def collect(  # noqa: PLR0913 - one parameter per option
    *,
    cell: CellOption = None,
    robot: Annotated[
        str | None,
        typer.Option(help="sim, synthetic, or YAML of a robot. Default: the cell's, else sim."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="What the policy is told to do.")] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="URL", help="Policy server, such as ws://gpu:8000; none.")
    ] = None,
    goal: Annotated[
        str | None, typer.Option(help="The session ends after 10, or '30 corrections'; 0: never.")
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Nobody corrects: every episode is a trial.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Directory of sessions. Default: ./recordings.")
    ] = None,
    settings: CellSetOption = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would happen, and what is missing.")
    ] = False,
    print_cell: Annotated[
        bool, typer.Option("--print-cell", help="Only print all settings as YAML for --cell.")
    ] = False,
    no_screen: Annotated[
        bool, typer.Option("--no-screen", help="One line per event instead of a screen.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Record a session: the policy drives, you correct it and mark every episode."""
    from deployments.cli.collect_settings import Options, cell_settings

    config = cell_settings(
        Options(cell, robot, task, policy, goal, evaluate, out, tuple(settings or ()))
    )
    if print_cell:
        sys.stdout.write(_cell_yaml(config))
        return
    if plan:
        from deployments.cli.collect_plan import show_plan

        show_plan(config, json=json)
        return
    console = Output(json=json, verbose=False).console
    end = _run(config, console, draws=draws_screen(console, no_screen=no_screen))
    _tell(end, config, console, json=json)
    if end.reason == "error":
        raise typer.Exit(1)


def draws_screen(console: "Console", *, no_screen: bool) -> bool:
    """Whether there is a terminal that can be drawn on, and nobody wants lines instead."""
    is_able = console.is_terminal and not console.is_dumb_terminal
    return is_able and not no_screen and not os.environ.get("CI")


def _run(config: "CellConfig", console: "Console", *, draws: bool) -> "SessionEnd":
    from deployments.cli.collect_facts import Facts
    from deployments.cli.collect_session import run_session
    from deployments.cli.collect_settings import has_leader, robot_text
    from recap_core.collection.cell import open_cell

    name = robot_text(config.robot)
    console.print(f"Opening {name} ...", markup=False)
    with open_cell(config) as session:
        facts = Facts(
            name,
            session.robot.fps,
            is_evaluation=config.session.mode == "evaluation",
            target_rate=config.session.target_rate,
            has_leader=has_leader(config.robot),
        )
        return run_session(session, facts, console, draws=draws)


def _tell(end: "SessionEnd", config: "CellConfig", console: "Console", *, json: bool) -> None:
    """Say what the session has come to, and what to do next."""
    from deployments.cli.collect_next import look_around, next_steps
    from deployments.cli.collect_summary import plain_summary, print_summary
    from recap_core.config.environment import recap_home

    is_evaluation = config.session.mode == "evaluation"
    steps = next_steps(
        end.directory, end.episodes, look_around(recap_home()), is_evaluation=is_evaluation
    )
    if json:
        sys.stdout.write(json_format.dumps(plain_summary(end, steps), indent=2) + "\n")
    else:
        target = config.session.target_rate
        print_summary(end, steps, console, is_evaluation=is_evaluation, target_rate=target)


def _cell_yaml(config: "CellConfig") -> str:
    import yaml

    settings = config.model_dump(mode="json")
    head = (
        "# A robot cell for: recap collect --cell FILE. What is left out has the default shown.\n"
    )
    return head + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
