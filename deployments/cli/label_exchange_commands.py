"""``recap label import`` and ``export``: labels of other RECAP tools, in and out."""

import json as json_format
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption

if TYPE_CHECKING:
    from pydantic import BaseModel


class Tool(StrEnum):
    """Whose layout."""

    rlinf = "rlinf"
    evo_rl = "evo_rl"
    kai0 = "kai0"
    opentau = "opentau"


class Binary(StrEnum):
    """A label that every tool has."""

    negative = "negative"
    positive = "positive"


FormatOption = Annotated[Tool, typer.Option("--format", help="Whose layout it is.")]
TagOption = Annotated[str | None, typer.Option(help="Name of the labelling, for rlinf and evo_rl.")]


def import_(  # noqa: PLR0913 - one parameter per option
    dataset: Annotated[
        str, typer.Argument(help="Dataset that was labelled: id, name-id8 or project/robot/ref.")
    ],
    path: Annotated[Path, typer.Argument(help="The tool's file, or the dataset it annotated.")],
    *,
    format_: FormatOption,
    tag: TagOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="opentau: positive from this advantage upwards (advantage_threshold)."),
    ] = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Another tool's labels of a dataset become a labels artifact, every frame exactly once."""
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from recap_core.config.interchange import LabelSourceConfig
    from recap_core.lineage.artifacts import AnyDataset
    from recap_core.stages.import_labels import import_config, import_labels

    source = _valid(LabelSourceConfig, tool=format_, tag=tag, threshold=threshold)
    store = open_store()
    labelled = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    config = import_config(labelled, path, source, store=store)
    made = import_labels(labelled, path, config, name=name or f"{format_}-labels", store=store)
    counts = f"{made.num_positive} positive, {made.num_negative} negative, {made.num_none} none"
    tell(made, store, json=json, lines=[f"{made.num_frames:,} frames: {counts}"])


def export(  # noqa: PLR0913 - one parameter per option
    artifact: Annotated[
        str, typer.Argument(metavar="LABELS", help="Id, name-id8 or project/robot/ref.")
    ],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="New directory; must not exist or be empty.")
    ],
    *,
    format_: FormatOption,
    tag: TagOption = None,
    none_as: Annotated[
        Binary | None, typer.Option(help="What frames without a label become; not for kai0.")
    ] = None,
    fill_advantage: Annotated[
        float | None, typer.Option(help="Advantage of frames that have none, where others do.")
    ] = None,
    failure_reward: Annotated[
        float | None, typer.Option(help="rlinf: write returns too; its example has -300.")
    ] = None,
    signs: Annotated[
        bool, typer.Option("--signs", help="opentau: write labels as +1 and -1.")
    ] = False,
    link: Annotated[
        bool,
        typer.Option("--link", help="Share videos with the store, for tools that only read them."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Labels in another tool's layout: files for rlinf and opentau, a dataset for the others."""
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from recap_core.config.interchange import ExportLabelsConfig
    from recap_core.lineage.artifacts import Labels
    from recap_core.stages.export_labels import export_labels

    config = _valid(
        ExportLabelsConfig,
        tool=format_,
        tag=tag,
        none_as=none_as,
        fill_advantage=fill_advantage,
        failure_reward=failure_reward,
        signs=signs or None,
    )
    store = open_store()
    exported = artifact_of_kind(store, artifact, Labels, wanted="labels")
    written = export_labels(exported, directory, config, share=link, store=store)
    if json:
        facts = {"directory": str(directory.absolute()), **written._asdict()}
        _print(json_format.dumps(facts, indent=2))
        return
    _print(str(directory.absolute()))
    if written.threshold is not None:
        _print(f"set advantage_threshold to {written.threshold:.6f}")
    if written.left_out:
        _print(f"{format_} has no place for: {', '.join(written.left_out)}")


def _valid[C: "BaseModel"](model: type[C], **settings: object) -> C:
    """The settings as a config; what is wrong with them is a user's error."""
    from pydantic import ValidationError

    from recap_core.config.overlay import explain
    from recap_core.errors import ConfigError

    try:
        return model.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # What contradicts is no single setting; our own message says which ones.
        text = explain(error, model) if first["loc"] else first["msg"].removeprefix("Value error, ")
        raise ConfigError(text) from None


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
