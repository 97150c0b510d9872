"""``recap export``: a dataset as a directory of its own, for other tools."""

import json as json_format
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.options import JsonOption

if TYPE_CHECKING:
    from recap_core.data.export_v21 import ExportSummary


class Format(StrEnum):
    """Versions of the LeRobot format."""

    v21 = "v2.1"
    v30 = "v3.0"


def export(
    dataset: Annotated[
        str, typer.Argument(help="Artifact: id, name-id8 or reference; or a v3.0 directory.")
    ],
    directory: Annotated[Path, typer.Argument(help="New directory.")],
    *,
    version: Annotated[
        Format, typer.Option("--format", help="v2.1 is what openpi reads, v3.0 lerobot 0.6.")
    ] = Format.v21,
    json: JsonOption = False,
) -> None:
    """Write a dataset as a directory of its own: nothing linked, nothing read-only."""
    from recap_core.data.export_v21 import export_v21
    from recap_core.data.export_v30 import export_v30
    from recap_core.errors import ConfigError
    from recap_core.lineage.atomic_directory import atomic_directory
    from recap_core.progress import Terminal

    source, target = dataset_directory(dataset), directory.absolute()
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{target} is inside of the dataset {source}. Choose another directory.")
    write = export_v21 if version is Format.v21 else export_v30
    with atomic_directory(target) as draft:
        summary = write(source, draft, progress=Terminal())
    _print(summary, version, target, json=json)


def dataset_directory(reference: str) -> Path:
    """Directory of a dataset of the store, after checking its content, or of any other dataset.

    Raises:
        IncompatibleError: If the artifact is of another kind.
        DataError: If there is no such directory.
        ArtifactError: If there is no such artifact, or it is damaged.
    """
    from deployments.cli.artifact_arguments import artifact_of_kind, open_store
    from recap_core.errors import DataError
    from recap_core.lineage.artifacts import AnyDataset

    path = Path(reference).expanduser()
    if path.is_dir():
        return path.absolute()
    if path.is_absolute() or reference.startswith("."):
        raise DataError(f"there is no directory {path}. Check the path.")
    store = open_store()
    artifact = artifact_of_kind(store, reference, AnyDataset, wanted="a dataset")
    store.verify(artifact)
    return store.path(artifact)


def _print(summary: "ExportSummary", version: Format, target: Path, *, json: bool) -> None:
    if json:
        facts = {"format": version.value, "directory": str(target), **summary._asdict()}
        sys.stdout.write(json_format.dumps(facts, indent=2) + "\n")
        return
    videos = f"{summary.num_videos} videos"
    if summary.num_encoded_videos:
        videos += f" ({summary.num_encoded_videos} encoded anew without loss)"
    sys.stdout.write(
        f"LeRobot {version.value} dataset: {summary.num_episodes} episodes, "
        f"{summary.num_frames} frames, {videos}, {summary.num_bytes / 1e6:.1f} MB\n{target}\n"
    )
