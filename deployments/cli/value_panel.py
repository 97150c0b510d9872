"""``recap value``: the value model, from weights to values."""

import typer

from deployments.cli.value_align import align
from deployments.cli.value_import import import_value
from deployments.cli.value_train import train

PANEL = "Value model and labels"

TRAIN_EXAMPLE = "Example: recap value train demo/sim-aloha/round-1-relabeled --preset tiny"

ALIGN_EXAMPLE = (
    "Example: recap value align pretrained/value/base --data ./llava.json --images ./coco"
)

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the group to the ``recap`` command."""
    value.command(epilog=ALIGN_EXAMPLE)(align)
    value.command(epilog=TRAIN_EXAMPLE)(train)
    value.command("import", epilog="Example: recap value import ./vlm_ckpt")(import_value)
    app.add_typer(value, name="value", rich_help_panel=PANEL)
