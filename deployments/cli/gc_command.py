"""``recap gc``: what can go, what that frees, and letting it go."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import JsonOption, Output
from deployments.cli.quantities import count_text
from recap_core.errors import ArtifactNotFoundError, ConfigError


def gc(  # noqa: PLR0913 - one parameter per option
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, and why the rest stays.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_rounds: Annotated[
        int | None, typer.Option(min=1, help="Last rounds of every project that stay whole.")
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(help="A project, or project/robot, that may lose parts; default: all."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Project settings in YAML; runtime.retention counts."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", metavar="KEY=VALUE", help="One setting, such as older_policies=promoted."
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every artifact, also those that stay.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Free disk space: parts of older rounds that can be made again, old work and caches.

    Whatever a ref points to stays, with all it needs. So do the last rounds, recordings,
    annotations, imports and evaluations. A removed artifact's manifest is kept for the lineage.
    """
    from deployments.cli.gc_text import plain_gc, print_done, print_plan, retention_policy, write
    from recap_core.config.environment import recap_home
    from recap_core.lineage.garbage import GarbageCollector

    home = recap_home()
    if not home.is_dir():
        raise ArtifactNotFoundError(f"there is no store at {home}; set RECAP_HOME")
    policy = retention_policy(config, keep_rounds, settings or [])
    collector = GarbageCollector(home, policy, projects=_projects(home, project))
    plan = collector.plan()
    _warn_of_locks(home)
    output = Output(json=json, verbose=verbose)
    num_items = len(plan.remove) + len(plan.leftovers)
    if not json:
        print_plan(plan, output)
    if dry_run or not num_items:
        if json:
            write(plain_gc(plan, None))
        return
    if not yes:
        _ask(num_items, json=json)
    done = collector.carry_out(plan)
    if json:
        write(plain_gc(plan, done))
    else:
        print_done(done, output.console)


def _projects(home: Path, names: list[str] | None) -> list[str] | None:
    """``project/robot`` of every name; None without any.

    Raises:
        ConfigError: If there is no such project: nothing of it could ever go.
    """
    from recap_core.lineage.references import projects_named
    from recap_core.lineage.store import Store

    if not names:
        return None
    store = Store(home)
    return [found for name in names for found in projects_named(store, name)]


def _warn_of_locks(home: Path) -> None:
    """Say so where the builds of other hosts cannot be seen."""
    from recap_core.lineage.mounts import mount_of

    mount = mount_of(home)
    if mount is not None and mount.lock_problem:
        typer.echo(
            f"warning: {home} is {mount.lock_problem}, so builds on other hosts cannot be seen "
            "here. Collect garbage only while none runs.",
            err=True,
        )


def _ask(num_items: int, *, json: bool) -> None:
    if json or not sys.stdin.isatty():
        raise ConfigError("nothing was removed: say --yes to remove it, or --dry-run to look")
    typer.confirm(f"Remove {count_text(num_items, 'item')}?", abort=True)
