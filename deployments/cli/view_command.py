"""``recap view``: a dataset as a page of pictures and curves, or as a rerun recording."""

import json as json_format
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.reports.tracks import DatasetTracks

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
DEFAULT_LIMIT = 24


class _Request(NamedTuple):
    """What is to be written, and where."""

    path: Path
    is_page: bool


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
    episodes: Annotated[
        list[str] | None,
        typer.Option(
            "--episodes", "--episode", "-e", help="For instance 0-19 or 3,7; may be repeated."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many, spread over the dataset (sheet 24, rerun 1)."),
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="Values to draw; default: those of the dataset's lineage.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels to draw; default: those of the dataset's lineage.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
    json: JsonOption = False,
) -> None:
    """Look at episodes: cameras, who drove, value, advantage and label over time."""
    from recap_core.config.environment import recap_home
    from recap_core.lineage.atomic_file import atomic_file
    from recap_core.lineage.store import Store
    from recap_core.stages.view import open_tracks

    if html is not None and output is not None:
        _refuse("--html and --output were both given. Write one after the other.")
    tracks = open_tracks(Store(recap_home()), dataset, values=values, labels=labels)
    request = _request(html, output, tracks.name)
    chosen = _chosen(tracks.num_episodes, episodes or [], limit, is_page=request.is_page)
    with atomic_file(request.path, overwrite=force) as draft:
        _write(tracks, chosen, draft, is_page=request.is_page)
    size = request.path.stat().st_size
    facts = {
        "path": str(request.path.absolute()),
        "bytes": size,
        "episodes": chosen,
        "num_left_out": tracks.num_episodes - len(chosen),
        "values": tracks.judgement.values_from or None,
        "labels": tracks.judgement.labels_from or None,
    }
    if json:
        typer.echo(json_format.dumps(facts, indent=2))
        return
    left_out = f", {facts['num_left_out']} left out" if facts["num_left_out"] else ""
    noun = "episode" if len(chosen) == 1 else "episodes"
    typer.echo(f"{request.path}: {len(chosen)} {noun}{left_out}, {size / 1e6:.1f} MB")
    typer.echo("Open it in any browser." if request.is_page else f"Open it: rerun {request.path}")


def _request(html: Path | None, output: Path | None, name: str) -> _Request:
    if html is not None:
        return _Request(html, is_page=True)
    if output is None:
        return _Request(Path(f"{name}.html"), is_page=True)
    if output.suffix.lower() in {".html", ".htm"}:
        return _Request(output, is_page=True)
    if output.suffix.lower() != ".rrd":
        _refuse(f"--output {output} ends in neither .rrd nor .html. Name the file accordingly.")
    return _Request(output, is_page=False)


def _chosen(num_episodes: int, texts: list[str], limit: int | None, *, is_page: bool) -> list[int]:
    """Episodes to show: those asked for, else some spread over the dataset.

    Raises:
        ConfigError: If a text is no list of ranges, or an episode does not exist.
    """
    from recap_core.stages.view_sheet import spread

    if not texts:
        return spread(num_episodes, limit or (DEFAULT_LIMIT if is_page else 1))
    found: dict[int, None] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        match = _RANGE.fullmatch(part)
        if match is None:
            _refuse(f"--episodes {part!r} is not a number or a range such as 0-19.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last >= num_episodes or first > last:
            _refuse(f"--episodes {part}: the dataset has episodes 0 to {num_episodes - 1}.")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)[:limit]


def _write(tracks: "DatasetTracks", chosen: list[int], path: Path, *, is_page: bool) -> None:
    from recap_core.progress import Terminal

    if is_page:
        from recap_core.reports.contact_sheet import write_contact_sheet
        from recap_core.stages.view_sheet import contact_sheet

        write_contact_sheet(contact_sheet(tracks, chosen, progress=Terminal()), path)
    else:
        from recap_core.reports.rerun_recording import write_recording

        write_recording(tracks, chosen, path, progress=Terminal())


def _refuse(message: str) -> NoReturn:
    from recap_core.errors import ConfigError

    raise ConfigError(message)
