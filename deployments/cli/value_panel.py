"""``recap value``: the value model, from weights to values."""

import typer

from deployments.cli.value_train import train

PANEL = "Value model and labels"

TRAIN_EXAMPLE = "Example: recap value train demo/sim-aloha/round-1-relabeled --preset tiny"

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the group to the ``recap`` command."""
    value.command(epilog=TRAIN_EXAMPLE)(train)
    app.add_typer(value, name="value", rich_help_panel=PANEL)
