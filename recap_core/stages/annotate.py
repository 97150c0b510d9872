"""Corrections of what an operator marked, as an artifact that later stages apply."""

from typing import TYPE_CHECKING

from recap_core.config.annotations import AnnotateConfig
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
        from recap_core.data.annotations import ANNOTATIONS_FILE, Correction, write_annotations

        corrections = {} if earlier is None else read_corrections(earlier, store)
        known = _episode_keys(subject, store)
        for entry in config.episodes:
            if entry.episode not in known:
                raise DataError(
                    f"{subject.kind} {subject.name}-{subject.id[:8]} has no episode "
                    f"{entry.episode!r}; it has {_some_of(list(known))}. Correct the name."
                )
            corrections[known[entry.episode]] = Correction(
                entry.outcome, entry.excluded, entry.note
            )
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


def _episode_keys(subject: Recording | AnyDataset, store: Store) -> "dict[str, EpisodeKey]":
    """The episodes by what a person may call them."""
    from recap_core.data.annotations import EpisodeKey, key_of_row, numbered

    if isinstance(subject, Recording):
        from recap_core.data.raw_episode import episode_directories

        names = [path.name for path in episode_directories(store.path(subject))]
        return {name: EpisodeKey(subject.id, name) for name in names}
    from recap_core.data.layout import read_meta

    rows = read_meta(store.path(subject)).episodes.to_pylist()
    keys = [key_of_row(row, episode=i, dataset=subject.id) for i, row in enumerate(rows)]
    known: dict[str, EpisodeKey] = {}
    for number, key in enumerate(keys):
        known |= {str(number): key, numbered(number): key}
    for name in {key.episode for key in keys} - set(known):
        meant = {key for key in keys if key.episode == name}
        if len(meant) == 1:  # two sources may have episodes of one name: then only numbers tell
            known[name] = meant.pop()
    return known


def _some_of(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
