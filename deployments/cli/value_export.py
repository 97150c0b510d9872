"""``recap value export``: a value model for the reference's own scripts."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import JsonOption


def export_value(
    value_model: Annotated[str, typer.Argument(help="Id, name-id8 or project/robot/ref.")],
    directory: Annotated[
        Path, typer.Argument(metavar="OUT", help="Training directory; OUT/step_%08d is made.")
    ],
    *,
    step: Annotated[
        int | None, typer.Option(min=0, help="Number of the step. Default: its last.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a value model as a step of the reference's training (Orbax), for its scripts.

    Nothing is linked, and nothing is overwritten. The directory appears whole or not at all.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from recap_core.lineage.artifacts import ValueCheckpoint
    from recap_core.stages.export_value import export_value as export_stage

    store = open_store()
    found = artifact_of_kind(store, value_model, ValueCheckpoint, wanted="a value model")
    written = export_stage(found, directory, step=step, store=store)
    if json:
        facts = {**written._asdict(), "directory": str(written.directory)}
        sys.stdout.write(json_format.dumps(facts, indent=2) + "\n")
        return
    sys.stdout.write(
        f"{written.num_leaves} leaves, twice, {written.num_bytes / 1e6:,.1f} MB\n"
        f"{written.directory}\n"
    )
