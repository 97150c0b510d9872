"""The ``recap`` command. Heavy libraries load inside the commands, so that help is instant."""

import signal
import sys
from typing import Annotated

import typer

from deployments.cli.bundle_commands import bundle
from deployments.cli.data_commands import add_data_commands
from deployments.cli.lineage_commands import lineage
from deployments.cli.options import (
    ConfigOption,
    JsonOption,
    NoCamerasOption,
    Output,
    Preset,
    PresetOption,
    SeedOption,
    SetOption,
    VerboseOption,
)
from deployments.cli.policy_panel import add_policy_commands
from deployments.cli.space_panel import add_space_commands
from deployments.cli.value_panel import add_value_commands

app = typer.Typer(
    name="recap",
    help="Robot policies that learn from their own experience and from corrections.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
add_data_commands(app)
add_policy_commands(app)
add_value_commands(app)
add_space_commands(app)
app.add_typer(lineage, name="lineage")
app.add_typer(bundle, name="bundle")


@app.command(epilog="Example: recap demo --seed 1")
def demo(  # noqa: PLR0913 - one parameter per option
    *,
    seed: SeedOption = 0,
    plumbing: Annotated[
        bool, typer.Option("--plumbing", help="Every step in about a minute, learning nothing.")
    ] = False,
    no_cameras: NoCamerasOption = False,
    settings: SetOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Learn to hand over a cube in simulation: bootstrap, one round, and a control, on a CPU."""
    from deployments.cli import projects, runs

    preset = Preset.plumbing if plumbing else Preset.tiny
    project = projects.demo_project(preset, seed, cameras=not no_cameras, overrides=settings or [])
    runs.run_loop(project, iterations=1, output=Output(json=json, verbose=verbose))


@app.command(epilog="Example: recap loop --iterations 2 -s iteration.label.positive_share=0.3")
def loop(  # noqa: PLR0913 - one parameter per option
    *,
    iterations: Annotated[int, typer.Option(min=1, help="Rounds after the bootstrap.")] = 2,
    config: ConfigOption = None,
    settings: SetOption = None,
    preset: PresetOption = Preset.tiny,
    seed: SeedOption = 0,
    no_cameras: NoCamerasOption = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bootstrap, then run rounds, each collecting with the policy last promoted."""
    from deployments.cli import projects, runs

    project = projects.project(
        preset, seed, cameras=not no_cameras, file=config, overrides=settings or []
    )
    runs.run_loop(project, iterations=iterations, output=Output(json=json, verbose=verbose))


@app.command(epilog="Example: recap iterate -s iteration.collect.num_episodes=40")
def iterate(  # noqa: PLR0913 - one parameter per option
    *,
    round_index: Annotated[
        int | None, typer.Option("--round", min=1, help="Default: the first unfinished one.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would run and why, time and disk.")
    ] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    preset: PresetOption = Preset.tiny,
    seed: SeedOption = 0,
    no_cameras: NoCamerasOption = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run the next round with the project's current policy; a killed one goes on."""
    from deployments.cli import projects, runs

    project = projects.project(
        preset, seed, cameras=not no_cameras, file=config, overrides=settings or []
    )
    if plan:
        from deployments.cli.plan_command import show_plan

        output = Output(json=json, verbose=verbose)
        show_plan(project, round_index=round_index, output=output)
        return
    runs.run_round(project, round_index=round_index, output=Output(json=json, verbose=verbose))


@app.command(epilog="Example: recap up --port 4200")
def up(  # noqa: PLR0913 - one parameter per option
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Used if it is free.")] = 4200,
    config: ConfigOption = None,
    settings: SetOption = None,
    preset: PresetOption = Preset.tiny,
    seed: SeedOption = 0,
    no_cameras: NoCamerasOption = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve the Prefect UI and all flows until Ctrl-C; runs start there with a form."""
    from deployments.cli import projects, runs

    project = projects.project(
        preset, seed, cameras=not no_cameras, file=config, overrides=settings or []
    )
    runs.serve_flows(project, port=port, output=Output(json=json, verbose=verbose))


def run() -> None:
    """Entry point: errors that are raised on purpose become one line and an exit code."""
    from recap_core.errors import RecapError

    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except RecapError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


def _terminate(number: int, frame: object) -> None:
    """Leave through every context manager, so that no server stays behind."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    run()
