"""``recap value``: the value model, from weights to values."""

import typer

PANEL = "Value model and labels"

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the group to the ``recap`` command."""
    app.add_typer(value, name="value", rich_help_panel=PANEL)
