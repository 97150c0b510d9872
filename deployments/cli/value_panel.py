"""``recap value``: the value model, from weights to values; ``recap label``: what follows."""

from collections.abc import Callable

import typer

from deployments.cli.label_panel import label
from deployments.cli.value_align import align
from deployments.cli.value_evaluate import audit, evaluate
from deployments.cli.value_export import export_value
from deployments.cli.value_import import import_value
from deployments.cli.value_infer import infer
from deployments.cli.value_train import train
from deployments.cli.value_video import video

PANEL = "Value model and labels"
BASE = "pretrained/value/base"
MODEL = "round-1-1a2b3c4d"
MERGED = "round-1-merged-5e6f7a8b"

value = typer.Typer(
    help="The value model: weights, training, evaluation, values.", no_args_is_help=True
)


def add_value_commands(app: typer.Typer) -> None:
    """Add the groups to the ``recap`` command, each command with an example."""

    def add(name: str, function: Callable[..., None], example: str) -> None:
        value.command(name, epilog=f"Example: recap value {name} {example}")(function)

    add("import", import_value, f"./vlm_ckpt --ref {BASE}")
    add("align", align, f"{BASE} --data ./llava.json --images ./coco")
    add("train", train, "demo/sim-aloha/round-1-relabeled --preset tiny")
    add("evaluate", evaluate, f"{MODEL} --html value.html")
    add("infer", infer, f"{MODEL} demo/sim-aloha/round-1-dataset -r batch_size=128")
    add("audit", audit, MODEL)
    add("video", video, f"{MODEL} {MERGED} 17.mp4 -e 17")
    add("export", export_value, f"{MODEL} ./value_ckpt")
    app.add_typer(value, name="value", rich_help_panel=PANEL)
    app.add_typer(label, name="label", rich_help_panel=PANEL)
