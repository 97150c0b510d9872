"""``recap view``: a dataset as a page of pictures and curves, or as a rerun recording."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.reports.tracks import DatasetTracks

PAGE_LIMIT = 24
EpisodesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--episodes", "--episode", "-e", help="For instance 0-19 or 3,7; may be repeated."
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(min=1, help="At most so many, spread over the dataset (sheet 24, rerun 1)."),
]


def view(  # noqa: PLR0913 - one parameter per option
    dataset: Annotated[
        str, typer.Argument(help="Directory of a v3.0 dataset, or an artifact: id, name-id8, ref.")
    ],
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Contact sheet to write; default: <dataset>.html here."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Rerun recording to write: <name>.rrd.")
    ] = None,
    episodes: EpisodesOption = None,
    limit: LimitOption = None,
    values: Annotated[
        str | None, typer.Option(help="Values to draw; default: those of the dataset's lineage.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels to draw; default: those of the dataset's lineage.")
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Rerun: cameras as JPEG, for viewers without ffmpeg."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
    json: JsonOption = False,
) -> None:
    """Look at episodes: cameras, who drove, value, advantage and label over time."""
    from recap_core.config.environment import recap_home
    from recap_core.lineage.atomic_file import atomic_file
    from recap_core.lineage.store import Store
    from recap_core.stages.view import open_tracks

    is_recording = _check_outputs(html, output)
    tracks = open_tracks(Store(recap_home()), dataset, values=values, labels=labels)
    target = html or output or Path(f"{tracks.name}.html")
    default_limit = 1 if is_recording else PAGE_LIMIT
    chosen = _chosen(tracks.num_episodes, episodes or [], limit, default_limit=default_limit)
    with atomic_file(target, overwrite=force) as draft:
        if is_recording:
            _write_recording(tracks, chosen, draft, as_pictures=pictures)
        else:
            _write_page(tracks, chosen, draft)
    if json:
        typer.echo(json_format.dumps(_facts(tracks, chosen, target), indent=2))
        return
    typer.echo(_summary(tracks, chosen, target))
    typer.echo(f"Open it with: rerun {target}" if is_recording else "Open it in any browser.")
    if is_recording and tracks.table.meta.cameras and not pictures:
        typer.echo("The viewer plays H.264 with ffmpeg; where that is missing, add --pictures.")


def _check_outputs(html: Path | None, output: Path | None) -> bool:
    """Whether a recording is asked for, not a page.

    Raises:
        ConfigError: If both are, or the name says neither.
    """
    if html is not None and output is not None:
        _refuse("--html and --output were both given. Write one after the other.")
    if output is not None and output.suffix.lower() not in {".rrd", ".html"}:
        _refuse(f"--output {output} ends in neither .rrd nor .html. Name the file accordingly.")
    return output is not None and output.suffix.lower() == ".rrd"


def _chosen(
    num_episodes: int, texts: list[str], limit: int | None, *, default_limit: int
) -> list[int]:
    """Episodes to show: those asked for, else some spread over the dataset.

    Raises:
        ConfigError: If a text is no list of ranges, or an episode does not exist.
    """
    from deployments.cli.episode_ranges import episode_numbers
    from recap_core.stages.view_sheet import spread

    if not texts:
        return spread(num_episodes, limit or default_limit)
    return episode_numbers(texts, num_episodes)[:limit]


def _write_page(tracks: "DatasetTracks", chosen: list[int], path: Path) -> None:
    from recap_core.progress import Terminal
    from recap_core.reports.contact_sheet import write_contact_sheet
    from recap_core.stages.view_sheet import contact_sheet

    write_contact_sheet(contact_sheet(tracks, chosen, progress=Terminal()), path)


def _write_recording(
    tracks: "DatasetTracks", chosen: list[int], path: Path, *, as_pictures: bool
) -> None:
    from recap_core.progress import Terminal
    from recap_core.reports.rerun_recording import write_recording

    write_recording(tracks, chosen, path, as_pictures=as_pictures, progress=Terminal())


def _facts(tracks: "DatasetTracks", chosen: list[int], path: Path) -> dict[str, Any]:
    """What was written and from what, for programs."""
    return {
        "path": str(path.absolute()),
        "bytes": path.stat().st_size,
        "episodes": chosen,
        "num_left_out": tracks.num_episodes - len(chosen),
        "values": tracks.judgement.values_from or None,
        "labels": tracks.judgement.labels_from or None,
    }


def _summary(tracks: "DatasetTracks", chosen: list[int], path: Path) -> str:
    """The same for people, in a line."""
    num_left_out = tracks.num_episodes - len(chosen)
    left_out = f", {num_left_out} left out" if num_left_out else ""
    noun = "episode" if len(chosen) == 1 else "episodes"
    return f"{path}: {len(chosen)} {noun}{left_out}, {path.stat().st_size / 1e6:.1f} MB"


def _refuse(message: str) -> NoReturn:
    from recap_core.errors import ConfigError

    raise ConfigError(message)
