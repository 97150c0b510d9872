"""The file of an ``Annotations`` artifact, and how its entries find their episodes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from recap_core.errors import DataError

ANNOTATIONS_FILE: Final = "annotations.json"


class EpisodeKey(NamedTuple):
    """An episode, wherever it is: datasets carry these two for every episode."""

    source: str
    """Id of the recording, or of the imported dataset, that the episode was first in."""
    episode: str
    """Name of the raw episode there."""


class Correction(NamedTuple):
    """What is known of an episode after the fact."""

    outcome: Literal["success", "failure"] | None
    """None: as recorded."""
    excluded: bool
    note: str


type Corrections = Mapping[EpisodeKey, Correction]


def write_annotations(path: Path, corrections: Corrections) -> None:
    """Write corrections, sorted by episode."""
    entries = [
        {**key._asdict(), **correction._asdict()} for key, correction in sorted(corrections.items())
    ]
    path.write_text(json.dumps({"episodes": entries}, indent=2) + "\n", encoding="utf-8")


def read_annotations(path: Path) -> dict[EpisodeKey, Correction]:
    """Read what :func:`write_annotations` wrote.

    Raises:
        DataError: If the file cannot be read, or an entry lacks a field.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["episodes"]
        return {
            EpisodeKey(entry["source"], entry["episode"]): Correction(
                entry["outcome"], entry["excluded"], entry["note"]
            )
            for entry in entries
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"annotations {path} cannot be read ({error!r}). Annotate the episodes again."
        ) from error


def key_of_row(row: Mapping[str, Any], *, episode: int, dataset: str) -> EpisodeKey:
    """The key of an episode of a dataset.

    Args:
        row: Its row of ``meta/episodes``.
        episode: Its number in the dataset, for datasets that do not say where episodes come from.
        dataset: What such a dataset is called.
    """
    return EpisodeKey(row.get("source") or dataset, row.get("raw_episode") or numbered(episode))


def numbered(episode: int) -> str:
    """Name of an episode that only has a number."""
    return f"episode_{episode:06d}"
