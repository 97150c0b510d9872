"""Corrections of what an operator marked, as an artifact that later stages apply."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Annotations, AnyDataset, Recording
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import ANNOTATE

if TYPE_CHECKING:
    from recap_core.data.annotations import Correction, EpisodeKey


def annotate_episodes(
    subject: Recording | AnyDataset,
    config: AnnotateConfig,
    *,
    earlier: Annotations | None = None,
    name: str,
    store: Store,
) -> Annotations:
    """Annotate episodes of a recording or a dataset, on top of earlier annotations.

    Nothing is changed by it: conversion and merging apply annotations that are passed to them.

    Raises:
        DataError: If the subject has no such episode.
    """

    def build(area: Build) -> Built:
        from recap_core.data.annotations import ANNOTATIONS_FILE, write_annotations

        corrections = {} if earlier is None else read_corrections(earlier, store)
        known = _episode_keys(subject, store)
        said: dict[EpisodeKey, str] = {}
        for entry in config.episodes:
            key = _resolve(entry.episode, known, subject)
            if key in said:
                raise DataError(
                    f"episodes {said[key]!r} and {entry.episode!r} of {subject.name} are the same "
                    "one. Annotate it once."
                )
            said[key] = entry.episode
            corrections[key] = _corrected(corrections.get(key), entry)
        write_annotations(area.output / ANNOTATIONS_FILE, corrections)
        return Built(
            {
                "num_changed": sum(entry.outcome is not None for entry in corrections.values()),
                "num_excluded": sum(entry.excluded for entry in corrections.values()),
            }
        )

    inputs = {"subject": subject, "earlier": earlier}
    return store.produce(ANNOTATE, config, inputs, name=name, build=build)


def read_corrections(annotations: Annotations, store: Store) -> "dict[EpisodeKey, Correction]":
    """The corrections of an artifact, by episode."""
    from recap_core.data.annotations import ANNOTATIONS_FILE, read_annotations

    return read_annotations(store.path(annotations) / ANNOTATIONS_FILE)


def annotations_of(
    recording: Recording, annotations: Annotations | None, store: Store
) -> Annotations | None:
    """``annotations``, if they say something of an episode of ``recording``, else None.

    So a correction in one round does not convert the recordings of others again.
    """
    if annotations is None:
        return None
    corrections = read_corrections(annotations, store)
    return annotations if any(key.source == recording.id for key in corrections) else None


def _resolve(
    episode: str, known: "Mapping[str, EpisodeKey]", subject: Recording | AnyDataset
) -> "EpisodeKey":
    if episode not in known:
        raise DataError(
            f"{subject.kind} {subject.name}-{subject.id[:8]} has no episode {episode!r}, or "
            f"more than one; it has {_some_of(list(known))}. Correct the name, or give its number."
        )
    return known[episode]


def _corrected(earlier: "Correction | None", entry: EpisodeAnnotation) -> "Correction":
    """The earlier correction of an episode with what is said now."""
    from recap_core.data.annotations import Correction

    before = earlier or Correction(None, excluded=False, note="")
    outcome = before.outcome if entry.outcome is None else entry.outcome
    return Correction(
        None if outcome == "recorded" else outcome,
        excluded=before.excluded if entry.excluded is None else entry.excluded,
        note=before.note if entry.note is None else entry.note,
    )


def _episode_keys(subject: Recording | AnyDataset, store: Store) -> "dict[str, EpisodeKey]":
    """The episodes by what a person may call them: raw names first, then numbers."""
    from recap_core.data.annotations import EpisodeKey, key_of_row

    if isinstance(subject, Recording):
        from recap_core.data.raw_episode import episode_directories

        names = [path.name for path in episode_directories(store.path(subject))]
        return {name: EpisodeKey(subject.id, name) for name in names}
    from recap_core.data.layout import read_meta

    rows = read_meta(store.path(subject)).episodes.to_pylist()
    keys = [key_of_row(row, episode=i, dataset=subject.id) for i, row in enumerate(rows)]
    meant: dict[str, set[EpisodeKey]] = {}
    for key in keys:
        meant.setdefault(key.episode, set()).add(key)
    # Two sources may have episodes of one name: then only the number tells.
    named = {name: found.pop() for name, found in meant.items() if len(found) == 1}
    return named | {str(number): key for number, key in enumerate(keys)}


def _some_of(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
