"""``recap value``: the value model, from weights to values; ``recap label``: what follows."""

import typer

from deployments.cli.label_panel import label

PANEL = "Value model and labels"

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the groups to the ``recap`` command."""
    app.add_typer(value, name="value", rich_help_panel=PANEL)
    app.add_typer(label, name="label", rich_help_panel=PANEL)
