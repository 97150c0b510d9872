"""``recap value``: the value model, from weights to values."""

import typer

from deployments.cli.value_infer import infer

PANEL = "Value model and labels"
INFER_EXAMPLE = "round-1-1a2b3c4d demo/sim-aloha/round-1-dataset -r batch_size=128"

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the group to the ``recap`` command."""
    value.command("infer", epilog=f"Example: recap value infer {INFER_EXAMPLE}")(infer)
    app.add_typer(value, name="value", rich_help_panel=PANEL)
