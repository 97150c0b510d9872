"""The ``recap`` command. Heavy libraries load inside the commands, so that help is instant."""

import errno
import os
import signal
import sys
from typing import Annotated, Final, NoReturn

import typer

from deployments.cli.bundle_commands import bundle
from deployments.cli.data_commands import add_data_commands
from deployments.cli.deploy_command import add_deploy_command
from deployments.cli.help_text import let_help_flow
from deployments.cli.hub_commands import hub
from deployments.cli.lineage_commands import lineage
from deployments.cli.options import (
    ConfigOption,
    JsonOption,
    NoCamerasOption,
    Output,
    Preset,
    RefreshOption,
    RunSetOption,
    SavedOption,
    SeedOption,
    SetOption,
    SetUpPresetOption,
    VerboseOption,
)
from deployments.cli.policy_panel import add_policy_commands
from deployments.cli.promotion_commands import add_promotion_commands
from deployments.cli.report_command import report
from deployments.cli.space_panel import add_space_commands
from deployments.cli.value_panel import add_value_commands

_OF_THE_MACHINE: Final = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EIO,
    errno.ESTALE,
}  # fmt: skip
"""Errors of the system that a person mends; all others are bugs, and keep their traceback."""

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
add_promotion_commands(app)
add_space_commands(app)
WHY = "What came from what"
app.add_typer(lineage, name="lineage", rich_help_panel=WHY)
app.command(
    "report", rich_help_panel=WHY, epilog="Example: recap report 3 --project demo/sim-aloha --open"
)(report)
app.add_typer(bundle, name="bundle", rich_help_panel=WHY)
app.add_typer(hub, name="hub", rich_help_panel=WHY)
add_deploy_command(app)


@app.command(epilog="Example: recap demo --seed 1")
def demo(  # noqa: PLR0913 - one parameter per option
    *,
    seed: SeedOption = None,
    plumbing: Annotated[
        bool, typer.Option("--plumbing", help="Every step in about a minute, learning nothing.")
    ] = False,
    no_cameras: NoCamerasOption = False,
    settings: RunSetOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Learn to hand over a cube in simulation: bootstrap, one round, and a control, on a CPU."""
    from deployments.cli import projects, runs

    preset = Preset.plumbing if plumbing else Preset.tiny
    set_up = projects.SetUp(preset, seed, cameras=not no_cameras)
    project = projects.demo_project(set_up, settings or ())
    runs.run_loop(project, iterations=1, output=Output(json=json, verbose=verbose))


@app.command(epilog="Example: recap loop --iterations 2 -s iteration.label.positive_share=0.3")
def loop(  # noqa: PLR0913 - one parameter per option
    *,
    iterations: Annotated[int, typer.Option(min=1, help="Rounds after the bootstrap.")] = 2,
    refresh: RefreshOption = None,
    saved: SavedOption = None,
    config: ConfigOption = None,
    settings: RunSetOption = None,
    preset: SetUpPresetOption = None,
    seed: SeedOption = None,
    no_cameras: NoCamerasOption = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Bootstrap, then run rounds, each collecting with the policy last promoted.

    --config, --preset, --seed or --no-cameras set a project up; else a saved one is used.
    """
    from deployments.cli import projects, runs
    from deployments.cli.refreshed_stages import refreshed_stages

    stages = refreshed_stages(refresh or ())
    set_up = projects.SetUp(preset, seed, cameras=not no_cameras, file=config)
    project = projects.choose(set_up, saved=saved, overrides=settings or ())
    runs.run_loop(
        project,
        iterations=iterations,
        refresh=stages,
        output=Output(json=json, verbose=verbose),
    )


@app.command(epilog="Example: recap iterate -s iteration.collect.num_episodes=40")
def iterate(  # noqa: PLR0913 - one parameter per option
    *,
    round_index: Annotated[
        int | None, typer.Option("--round", min=1, help="Default: the first unfinished one.")
    ] = None,
    submit: Annotated[
        bool | None,
        typer.Option(
            "--submit/--here",
            help="Let 'recap up' run it, or this command. Default: 'recap up' if it runs.",
        ),
    ] = None,
    refresh: RefreshOption = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would run and why, time and disk.")
    ] = False,
    saved: SavedOption = None,
    config: ConfigOption = None,
    settings: RunSetOption = None,
    preset: SetUpPresetOption = None,
    seed: SeedOption = None,
    no_cameras: NoCamerasOption = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run the next round with the project's current policy; a killed one goes on.

    --config, --preset, --seed or --no-cameras set a project up; else a saved one is used.
    """
    from deployments.cli import projects, runs
    from deployments.cli.refreshed_stages import refreshed_stages

    stages = refreshed_stages(refresh or ())
    set_up = projects.SetUp(preset, seed, cameras=not no_cameras, file=config)
    project = projects.choose(set_up, saved=saved, overrides=settings or ())
    output = Output(json=json, verbose=verbose)
    if plan:
        from deployments.cli.plan_command import show_plan

        show_plan(project, round_index=round_index, refresh=stages, output=output)
        return
    runs.run_round(
        project,
        round_index=round_index,
        refresh=stages,
        is_submitted=submit,
        output=output,
    )


@app.command(epilog="Example: recap up --config recap.yaml --nightly '0 2 * * *'")
def up(  # noqa: PLR0913 - one parameter per option
    *,
    saved: Annotated[
        list[str] | None,
        typer.Option(
            "--project",
            help="A project that was set up before; repeat for several. Default: all there are.",
        ),
    ] = None,
    nightly: Annotated[
        str | None, typer.Option(help="When a night starts: a cron expression. Kept until changed.")
    ] = None,
    no_nightly: Annotated[
        bool, typer.Option("--no-nightly", help="No night starts by itself any more.")
    ] = False,
    timezone: Annotated[
        str | None,
        typer.Option(help="Of --nightly, such as Europe/Berlin. Default: the machine's."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Used if it is free.")] = 4200,
    pages_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of reports and lineage, if it is free.")
    ] = 4201,
    config: ConfigOption = None,
    settings: SetOption = None,
    preset: SetUpPresetOption = None,
    seed: SeedOption = None,
    no_cameras: NoCamerasOption = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Serve the Prefect UI, all flows and their pages until Ctrl-C; nights start by themselves.

    --config, --preset, --seed or --no-cameras set a project up; else saved ones are served.
    """
    from deployments.cli import projects, up_command

    output = Output(json=json, verbose=verbose)
    nights = up_command.Nights(nightly, timezone, are_over=no_nightly)
    nights.check()
    set_up = projects.SetUp(preset, seed, cameras=not no_cameras, file=config)
    served = up_command.served_projects(set_up, saved or (), settings or (), output)
    up_command.serve_projects(
        served, port=port, pages_port=pages_port, nights=nights, output=output
    )


let_help_flow(app)


def run() -> None:
    """Entry point: errors that are raised on purpose become one line and an exit code."""
    from recap_core.errors import RecapError

    signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect reads it when it is imported
    try:
        app()
    except RecapError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say_interrupted()
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        typer.echo(f"error: {_trouble(error)}", err=True)
        sys.exit(1)
    except ImportError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):  # as extension modules report it
            raise
        _say_interrupted()


def _say_interrupted() -> NoReturn:
    typer.echo("interrupted", err=True)
    sys.exit(130)


def _trouble(error: OSError) -> str:
    """A disk, a path or its permissions, in one line."""
    from recap_core.config.environment import recap_home

    where = f" ({error.filename})" if error.filename else ""
    return (
        f"{error.strerror}{where}. The store is {recap_home()}: look whether that directory can "
        "be written and its disk has room, or set RECAP_HOME to another one"
    )


def _terminate(number: int, frame: object) -> None:
    """Leave through every context manager, so that no server stays behind."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    run()
