"""``recap value``: the value model, from weights to values."""

import typer

from deployments.cli.value_evaluate import audit, evaluate
from deployments.cli.value_video import video

PANEL = "Value model and labels"
MODEL = "round-1-1a2b3c4d"

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


value.command(epilog=f"Example: recap value evaluate {MODEL} --html value.html")(evaluate)
value.command(epilog=f"Example: recap value audit {MODEL}")(audit)
value.command(epilog=f"Example: recap value video {MODEL} round-1-merged-5e6f7a8b -e 17 17.mp4")(
    video
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the group to the ``recap`` command."""
    app.add_typer(value, name="value", rich_help_panel=PANEL)
