"""``recap doctor robot``: whether a robot cell is ready, before people stand around it."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.doctor_answer import Examined, answer
from deployments.cli.doctor_machine import doctor
from deployments.cli.options import CellSetOption, JsonOption

CellOption = Annotated[
    Path | None, typer.Option("--cell", help="YAML of the robot cell. Default: the simulator.")
]


@doctor.command(epilog="Example: recap doctor robot --cell cell.yaml")
def robot(
    *,
    cell: CellOption = None,
    settings: CellSetOption = None,
    json: JsonOption = False,
) -> None:
    """Check a robot cell unmoved: cameras, ports, pedal, keyboard, policy server, disk."""
    from deployments.cli.collect_checks import check_cell
    from deployments.cli.configuration import nested
    from recap_core.config.cell import load_cell

    config = load_cell(cell, overrides=nested(settings or ()))
    name = "the simulator" if cell is None else str(cell)
    examined = Examined(
        f"Robot cell: {name}", {"cell": name}, "can_collect", "Do not collect with this"
    )
    answer(check_cell(config, writes=True), examined, json=json)
