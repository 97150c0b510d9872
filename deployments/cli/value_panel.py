"""``recap value``: the value model, from weights to values."""

import typer

from deployments.cli.value_align import align
from deployments.cli.value_import import import_value
from deployments.cli.value_infer import infer
from deployments.cli.value_train import train

PANEL = "Value model and labels"
INFER_EXAMPLE = "round-1-1a2b3c4d demo/sim-aloha/round-1-dataset -r batch_size=128"

TRAIN_EXAMPLE = "Example: recap value train demo/sim-aloha/round-1-relabeled --preset tiny"

ALIGN_EXAMPLE = (
    "Example: recap value align pretrained/value/base --data ./llava.json --images ./coco"
)

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the group to the ``recap`` command."""
    value.command("infer", epilog=f"Example: recap value infer {INFER_EXAMPLE}")(infer)
    value.command(epilog=ALIGN_EXAMPLE)(align)
    value.command(epilog=TRAIN_EXAMPLE)(train)
    value.command("import", epilog="Example: recap value import ./vlm_ckpt")(import_value)
    app.add_typer(value, name="value", rich_help_panel=PANEL)
