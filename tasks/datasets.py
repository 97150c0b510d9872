"""Stage 1 as tasks: conversion, merging, norm stats; and the copy before a relabel.

All are safe to retry: an artifact appears by one rename, so a failed attempt leaves nothing behind.
"""

from collections.abc import Sequence

from recap_core.config.dataset import (
    ConvertConfig,
    ConvertRuntime,
    MergeConfig,
    NormStatsConfig,
)
from recap_core.lineage.artifacts import (
    Annotations,
    AnyDataset,
    Dataset,
    DatasetCopy,
    NormStats,
    Recording,
)
from tasks.placeholders import is_planned
from tasks.stage_task import stage_task
from tasks.store import open_store


@stage_task("convert", tag="cpu")
def convert(
    recording: Recording,
    config: ConvertConfig,
    *,
    annotations: Annotations | None = None,
    name: str,
    runtime: ConvertRuntime | None = None,
) -> Dataset:
    """Convert a recording to LeRobot v3.0 with the five RECAP columns."""
    ...


def annotations_of(recording: Recording, annotations: Annotations | None) -> Annotations | None:
    """``annotations``, if they concern ``recording``: no task, for it decides what one is given."""
    from recap_core.stages import annotate

    if is_planned(recording):  # nobody can have corrected it
        return None
    return annotate.annotations_of(recording, annotations, open_store())


@stage_task("merge", tag="cpu")
def merge(
    datasets: Sequence[Dataset],
    config: MergeConfig,
    *,
    annotations: Annotations | None = None,
    name: str,
) -> Dataset:
    """One dataset from several, their episodes in the given order."""
    ...


@stage_task("norm_stats", tag="cpu")
def norm_stats(dataset: AnyDataset, config: NormStatsConfig, *, name: str) -> NormStats:
    """Mean, std and quantiles of state and actions."""
    ...


@stage_task("copy", tag="cpu")
def copy(dataset: AnyDataset, *, name: str) -> DatasetCopy:
    """Copy ``dataset`` by hard links, verified equal; a relabel works on the copy."""
    ...
