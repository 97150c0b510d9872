"""``recap value video``: an episode to watch, with its value below."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import JsonOption


def video(  # noqa: PLR0913 - one parameter per option
    judge: Annotated[
        str,
        typer.Argument(
            metavar="VALUES", help="Stored values, or a value model, which values the episode now."
        ),
    ],
    dataset: Annotated[
        str, typer.Argument(help="Directory of a v3.0 dataset, or an artifact: id, name-id8, ref.")
    ],
    output: Annotated[Path, typer.Argument(help="Video to write: <name>.mp4.")],
    *,
    episode: Annotated[int, typer.Option("--episode", "-e", min=0, help="Its number.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the video.")] = False,
    json: JsonOption = False,
) -> None:
    """Write an mp4 of an episode: cameras, value so far, who drove, labels and outcome."""
    from recap_core.config.environment import recap_home
    from recap_core.errors import ConfigError
    from recap_core.lineage.atomic_file import atomic_file
    from recap_core.lineage.store import Store
    from recap_core.progress import Terminal
    from recap_core.stages.value_video import open_valued, write_episode_video

    if output.suffix.lower() != ".mp4":
        raise ConfigError(f"{output} does not end in .mp4. Name the video accordingly.")
    tracks = open_valued(Store(recap_home()), judge, dataset, episode)
    with atomic_file(output, overwrite=force) as draft:
        num_frames = write_episode_video(tracks, episode, draft, progress=Terminal())
    size = output.stat().st_size
    if json:
        facts = {
            "path": str(output.absolute()),
            "bytes": size,
            "num_frames": num_frames,
            "values": tracks.judgement.values_from,
            "labels": tracks.judgement.labels_from or None,
        }
        sys.stdout.write(json_format.dumps(facts, indent=2) + "\n")
        return
    seconds = num_frames / tracks.table.fps
    sys.stdout.write(f"{output}: {num_frames} frames, {seconds:.1f} s, {size / 1e6:.1f} MB\n")
