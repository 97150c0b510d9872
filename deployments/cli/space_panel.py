"""Commands about what is cached, and about disk space."""

from collections.abc import Callable

import typer

from deployments.cli.gc_command import gc
from deployments.cli.why_command import why_rerun

PANEL = "Cache and space"


def add_space_commands(app: typer.Typer) -> None:
    """Add them to the ``recap`` command, each with an example that can be copied."""

    def add(name: str, function: Callable[..., None], example: str) -> None:
        app.command(name, rich_help_panel=PANEL, epilog=f"Example: recap {name} {example}")(
            function
        )

    add("why-rerun", why_rerun, "train-value --project demo/sim-aloha")
    add("gc", gc, "--dry-run --keep-rounds 3")
