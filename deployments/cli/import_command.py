"""``recap import``: a LeRobot dataset that was recorded elsewhere becomes a RECAP dataset.

Whatever takes time to import is imported inside the command, so that help is instant.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import JsonOption, NameOption

if TYPE_CHECKING:
    from recap_core.config.import_dataset import ImportConfig
    from recap_core.data.import_record import ImportRecord

SourceOption = Annotated[
    str | None, typer.Option(help="What episodes say they come from. Default: a digest.")
]
RoundOption = Annotated[
    int | None,
    typer.Option("--round", min=0, help="Default: 0 for demonstrations, 1 for rollouts."),
]
InterventionOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Marks the frames that a human drove.")
]
OutcomesOption = Annotated[
    Path | None, typer.Option(metavar="FILE.csv", help="Lines of episode_index,success.")
]
SuccessOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Holds the outcome of every episode.")
]
AllSuccessOption = Annotated[bool, typer.Option("--all-success", help="Every episode succeeded.")]
AllFailureOption = Annotated[bool, typer.Option("--all-failure", help="Every episode failed.")]
RenameOption = Annotated[
    list[str] | None,
    typer.Option(metavar="OLD=NEW", help="Rename a column or a camera; may be repeated."),
]
DropOption = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Leave a column or a camera out; may be repeated."),
]
RecomputeOption = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Write a RECAP column anew; may be repeated; or all."),
]


def import_dataset(  # noqa: PLR0913 - one parameter per option
    directory: Annotated[Path, typer.Argument(help="LeRobot dataset, v3.0 or v2.1.")],
    *,
    name: NameOption = None,
    source: SourceOption = None,
    round_index: RoundOption = None,
    demonstrations: Annotated[
        bool, typer.Option("--demonstrations", help="A human drove all frames, with success.")
    ] = False,
    intervention_from: InterventionOption = None,
    outcomes: OutcomesOption = None,
    success_from: SuccessOption = None,
    all_success: AllSuccessOption = False,
    all_failure: AllFailureOption = False,
    rename: RenameOption = None,
    drop: DropOption = None,
    recompute: RecomputeOption = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the videos instead of hard-linking them.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a RECAP dataset of an existing LeRobot dataset.

    Outcomes: next.success, success, is_success, episode_success, next.reward, reward.
    Interventions: intervention, is_intervention, complementary_info.is_intervention.
    The first of these that exists counts, unless you say otherwise.
    Videos are shared by hard link, which makes them read-only.
    """
    from deployments.cli.artifact_arguments import open_store, tell
    from recap_core.data.episode_outcomes import read_outcomes
    from recap_core.data.import_record import read_import_record
    from recap_core.progress import Terminal
    from recap_core.stages.import_dataset import import_dataset as import_stage

    store = open_store()
    settings = {
        "source": source or "",
        "round_index": round_index,
        "demonstrations": demonstrations,
        "intervention_from": intervention_from,
        "success_from": success_from,
        "outcomes": None if outcomes is None else read_outcomes(outcomes),
        "rename": _pairs(rename or []),
        "drop": tuple(drop or ()),
        "recompute": tuple(recompute or ()),
    }
    config = _config({"success": all_success, "failure": all_failure}, settings)
    result = import_stage(
        directory,
        config,
        name=name or default_name(directory),
        store=store,
        copies=copy,
        progress=Terminal(),
    )
    record = read_import_record(store.path(result))
    facts = {"import": record.model_dump()}
    tell(result, store, json=json, lines=_lines(record, result.fps), facts=facts)


def default_name(directory: Path) -> str:
    """A name for the artifact: the dataset's, also where it lies in a download cache.

    Such caches call the directory of ``<owner>/<dataset>`` ``datasets--<owner>--<dataset>``, and
    the dataset's own directory by its revision.
    """
    import re

    path = directory.absolute()
    cached = [part for part in path.parts if part.startswith("datasets--")]
    name = cached[-1].rpartition("--")[2] if cached else path.name
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")[:64] or "imported"


def _config(outcome_flags: dict[str, bool], settings: dict[str, Any]) -> "ImportConfig":
    from typing import get_args

    from pydantic import ValidationError

    from recap_core.config.import_dataset import ImportConfig, RecapColumn
    from recap_core.errors import ConfigError

    told = [outcome for outcome, is_told in outcome_flags.items() if is_told]
    if len(told) > 1:
        raise ConfigError("--all-success and --all-failure contradict each other; keep one.")
    if "all" in settings["recompute"]:
        settings["recompute"] = get_args(RecapColumn.__value__)
    try:
        return ImportConfig.model_validate({"all_outcomes": told[0] if told else None, **settings})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {text}" if where else text) from error


def _pairs(options: list[str]) -> dict[str, str]:
    from recap_core.errors import ConfigError

    pairs: dict[str, str] = {}
    for option in options:
        old, equals, new = option.partition("=")
        if not (old and equals and new) or old in pairs:
            raise ConfigError(f"--rename {option!r} is not OLD=NEW, or {old} is renamed twice.")
        pairs[old] = new
    return pairs


def _lines(record: "ImportRecord", fps: int) -> list[str]:
    num_failures = record.num_episodes - record.num_successes
    share = record.num_intervention_frames / record.num_frames
    outcomes = (
        f"{record.num_episodes} episodes ({record.num_successes} success, {num_failures} failure), "
        f"{record.num_frames:,} frames, {fps} fps, {share:.1%} intervention"
    )
    lines = [outcomes, *(f"{name:<12} {origin}" for name, origin in record.made_from.items())]
    lines += [f"{camera} {how}" for camera, how in record.cameras.items()]
    return lines
