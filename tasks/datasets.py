"""Stage 1 as tasks: conversion, merging, norm stats; and the copy before a relabel.

All are safe to retry: an artifact appears by one rename, so a failed attempt leaves nothing behind.
"""

from collections.abc import Sequence

from prefect import task

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
from tasks.progress import TaskProgress
from tasks.retries import is_transient
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


@task(
    name="convert",
    task_run_name="convert-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="convert"),
    result_serializer="json",
)
def convert(
    recording: Recording,
    config: ConvertConfig,
    *,
    annotations: Annotations | None = None,
    name: str,
    runtime: ConvertRuntime | None = None,
) -> Dataset:
    """Convert a recording to LeRobot v3.0 with the five RECAP columns."""
    from recap_core.stages.convert import convert_recording

    dataset = convert_recording(
        recording,
        config,
        annotations=annotations,
        name=name,
        store=open_store(),
        runtime=runtime,
        progress=TaskProgress(),
    )
    return summarized(dataset)


def annotations_of(recording: Recording, annotations: Annotations | None) -> Annotations | None:
    """``annotations``, if they concern ``recording``: no task, for it decides what one is given."""
    from recap_core.stages import annotate

    return annotate.annotations_of(recording, annotations, open_store())


@task(
    name="merge",
    task_run_name="merge-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="merge"),
    result_serializer="json",
)
def merge(
    datasets: Sequence[Dataset],
    config: MergeConfig,
    *,
    annotations: Annotations | None = None,
    name: str,
) -> Dataset:
    """One dataset from several, their episodes in the given order."""
    from recap_core.stages.merge import merge_datasets

    dataset = merge_datasets(
        datasets,
        config,
        annotations=annotations,
        name=name,
        store=open_store(),
        progress=TaskProgress(),
    )
    return summarized(dataset)


@task(
    name="norm-stats",
    task_run_name="norm-stats-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="norm_stats"),
    result_serializer="json",
)
def norm_stats(dataset: AnyDataset, config: NormStatsConfig, *, name: str) -> NormStats:
    """Mean, std and quantiles of state and actions."""
    from recap_core.stages.norm_stats import compute_norm_stats

    return summarized(compute_norm_stats(dataset, config, name=name, store=open_store()))


@task(
    name="copy",
    task_run_name="copy-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="copy"),
    result_serializer="json",
)
def copy(dataset: AnyDataset, *, name: str) -> DatasetCopy:
    """Copy ``dataset`` by hard links, verified equal; a relabel works on the copy."""
    from recap_core.stages.copy_dataset import copy_dataset

    return summarized(copy_dataset(dataset, name=name, store=open_store()))
