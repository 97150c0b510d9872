"""Commands for recordings and datasets, in the order in which data goes through them."""

from collections.abc import Callable

import typer

from deployments.cli import dataset_commands, recording_commands
from deployments.cli.collect_command import EXAMPLES, collect
from deployments.cli.doctor_robot import doctor
from deployments.cli.export_command import export
from deployments.cli.import_command import import_dataset
from deployments.cli.view_command import view

PANEL = "Data, stage by stage"
ROUND = "demo/sim-aloha/round-1-dataset"


def add_data_commands(app: typer.Typer) -> None:
    """Add them to the ``recap`` command, each with an example that can be copied."""

    def add(name: str, function: Callable[..., None], example: str) -> None:
        app.command(name, rich_help_panel=PANEL, epilog=f"Example: recap {name} {example}")(
            function
        )

    app.command("collect", rich_help_panel=PANEL, epilog=EXAMPLES)(collect)
    add("ingest", recording_commands.ingest, "recordings/fold_20260101_120000 --round 1")
    add("convert", recording_commands.convert, "recordings/fold_20260101_120000 --target-fps 10")
    add("import", import_dataset, "./my_rollouts --outcomes marks.csv")
    add("annotate", dataset_commands.annotate, f"{ROUND} -e 17 --outcome failure")
    demonstrations = "demo/sim-aloha/demonstrations"
    add("merge", dataset_commands.merge, f"{demonstrations} {ROUND} --repeat 2 --repeat 1")
    add("stats", dataset_commands.stats, f"{ROUND} --delta-mask 6,-1,6,-1")
    add("view", view, f"{ROUND} --episodes 0-19 --html round-1.html")
    add("export", export, f"{ROUND} ./handover --format v2.1")
    app.add_typer(doctor, name="doctor", rich_help_panel=PANEL)
