"""``recap annotate``, ``merge`` and ``stats``: datasets from datasets, stage by stage.

Whatever takes time to import is imported inside the commands, so that help is instant.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption, NameOption
from deployments.cli.quantities import count_text

if TYPE_CHECKING:
    from recap_core.config.embodiment import EmbodimentConfig

ExcludeOption = Annotated[
    bool | None,
    typer.Option("--exclude/--include", help="Leave the episodes out, or take them in again."),
]
ProjectOption = Annotated[
    str | None,
    typer.Option(
        help="<project>/<robot> whose next rounds apply them, on top of its present ones."
    ),
]


def annotate(  # noqa: PLR0913 - one parameter per option
    subject: Annotated[str, typer.Argument(help="Recording or dataset: id, name-id8, or ref.")],
    *,
    episode: Annotated[
        list[str] | None,
        typer.Option("--episode", "-e", help="Name, or number in a dataset; may be repeated."),
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="success or failure; recorded takes a correction back.")
    ] = None,
    exclude: ExcludeOption = None,
    note: Annotated[str | None, typer.Option(help="Why, for people.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="YAML list of {episode, outcome, excluded, note} instead of options."),
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", help="Earlier annotations that these are added to.")
    ] = None,
    project: ProjectOption = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Correct outcomes, or exclude episodes, after the fact; nothing is overwritten."""
    from deployments.cli.annotation_entries import annotations
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from recap_core.errors import IncompatibleError
    from recap_core.lineage.artifacts import Annotations, AnyDataset, Recording
    from recap_core.stages.annotate import annotate_episodes

    store = open_store()
    what = store.get(subject)
    if not isinstance(what, Recording | AnyDataset):
        raise IncompatibleError(
            f"{subject} is {what.kind} {what.name}-{what.id[:8]}; annotate a recording or a dataset"
        )
    ref = f"{project}/annotations" if project else None
    base = on or (ref if ref and store.get_ref(ref) else None)
    config = annotations(file, episode or [], outcome=outcome, exclude=exclude, note=note)
    result = annotate_episodes(
        what,
        config,
        earlier=None
        if base is None
        else artifact_of_kind(store, base, Annotations, wanted="annotations"),
        name=name or "annotations",
        store=store,
    )
    if ref:
        store.set_ref(ref, result)
    corrected = count_text(result.num_changed, "outcome")
    excluded = count_text(result.num_excluded, "episode")
    facts = f"{corrected} corrected, {excluded} excluded"
    used = f"used by the next rounds of {project}" if project else "use it with --annotations"
    tell(result, store, json=json, lines=[facts, used])


def merge(
    datasets: Annotated[list[str], typer.Argument(help="Ids, names or refs, in this order.")],
    *,
    repeat: Annotated[
        list[int] | None,
        typer.Option(min=1, help="How often each dataset is taken; once per dataset, in order."),
    ] = None,
    annotations: Annotated[str | None, typer.Option(help="Corrections to apply.")] = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Merge datasets of equal fps and features; videos are shared, not copied."""
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from recap_core.config.dataset import MergeConfig
    from recap_core.lineage.artifacts import Annotations, Dataset
    from recap_core.progress import Terminal
    from recap_core.stages.merge import merge_datasets

    store = open_store()
    found = [artifact_of_kind(store, given, Dataset, wanted="a dataset") for given in datasets]
    applied = None
    if annotations is not None:
        applied = artifact_of_kind(store, annotations, Annotations, wanted="annotations")
    result = merge_datasets(
        found,
        MergeConfig(repeats=tuple(repeat or ())),
        annotations=applied,
        name=name or "merged",
        store=store,
        progress=Terminal(),
    )
    lines = [f"{result.num_episodes} episodes, {result.num_frames:,} frames, {result.fps} fps"]
    tell(result, store, json=json, lines=lines)


def stats(  # noqa: PLR0913 - one parameter per option
    dataset: Annotated[str, typer.Argument(help="Id, name or ref.")],
    *,
    embodiment: Annotated[
        str | None,
        typer.Option(
            help="Robot: a name of `recap configs robots`, or a YAML file with its columns."
        ),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="State columns. Default: observation.state.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Action column. Default: action.")] = None,
    delta_mask: Annotated[
        str | None,
        typer.Option(help="6,-1,6,-1: six dims relative to the state, one absolute, twice."),
    ] = None,
    action_horizon: Annotated[int, typer.Option(min=1, help="Actions per chunk.")] = 50,
    exact: Annotated[bool, typer.Option("--exact", help="Exact quantiles.")] = False,
    load: Annotated[
        Path | None, typer.Option(help="Take this norm_stats.json instead of computing it.")
    ] = None,
    name: NameOption = None,
    json: JsonOption = False,
) -> None:
    """Norm stats of state and actions in openpi's format, from parquet alone."""
    import logging

    from deployments.cli.artifact_arguments import artifact_of_kind, open_store, tell
    from recap_core.config.dataset import NormStatsConfig
    from recap_core.lineage.artifacts import AnyDataset
    from recap_core.stages.norm_stats import compute_norm_stats, load_norm_stats

    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    store = open_store()
    found = artifact_of_kind(store, dataset, AnyDataset, wanted="a dataset")
    robot = _robot(embodiment, state, action, delta_mask)
    title = name or found.name
    if load is not None:
        result = load_norm_stats(load, found, robot, name=title, store=store)
    else:
        config = NormStatsConfig(
            embodiment=robot,
            action_horizon=action_horizon,
            quantiles="exact" if exact else "openpi_histogram",
        )
        result = compute_norm_stats(found, config, name=title, store=store)
    narrow = int(store.manifest(result).metrics.get("narrow_dimensions") or 0)
    lines = [f"{result.num_frames:,} frames, {narrow} dimensions that hardly move"]
    tell(result, store, json=json, lines=lines)


def _robot(
    embodiment: str | None, state: list[str] | None, action: str | None, delta_mask: str | None
) -> "EmbodimentConfig":
    """The robot that the options describe, by its name or file or column by column."""
    from pydantic import ValidationError

    from deployments.cli.embodiments import load_embodiment
    from recap_core.config.embodiment import EmbodimentConfig
    from recap_core.errors import ConfigError

    columns = {
        "state": tuple(state or ()),
        "action": action,
        "delta_mask": _run_lengths(delta_mask),
    }
    given = {name: value for name, value in columns.items() if value}
    if embodiment is not None:
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ConfigError(f"--embodiment says what {options} would; give one or the other")
        return load_embodiment(embodiment)
    try:
        return EmbodimentConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _run_lengths(mask: str | None) -> tuple[int, ...]:
    from recap_core.errors import ConfigError

    try:
        return tuple(int(run) for run in mask.split(",")) if mask else ()
    except ValueError:
        raise ConfigError(
            f"--delta-mask {mask!r} is no list of whole numbers such as 6,-1,6,-1"
        ) from None
