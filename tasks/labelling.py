"""Stage 5 as tasks: values, labels, and the relabel of a copy.

All are safe to retry: an artifact appears by one rename, so a failed attempt leaves nothing behind.
"""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from recap_core.config.inference import InferRuntime
from recap_core.config.interchange import ImportLabelsConfig
from recap_core.config.labels import LabelConfig
from recap_core.config.stages import InferValuesConfig
from recap_core.lineage.artifacts import (
    AnyDataset,
    DatasetCopy,
    Labels,
    RelabeledDataset,
    ValueCheckpoint,
    Values,
)
from recap_core.progress import Silent
from tasks.progress import TaskProgress
from tasks.retries import is_transient
from tasks.stage_task import stage_task
from tasks.store import open_store


@stage_task("infer_values", tag="gpu")
def infer_values(
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    config: InferValuesConfig,
    runtime: InferRuntime | None = None,
    *,
    name: str,
) -> Values:
    """V(o_t) of the frames of ``dataset`` that the labels need."""
    ...


@task(
    name="infer-value-shards",
    task_run_name="infer-value-shards-{worker}",
    tags=["gpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def infer_value_shards(
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    config: InferValuesConfig,
    runtime: InferRuntime,
    *,
    worker: int,
) -> dict[str, float]:
    """One worker's share of ``infer-values``: shards that no other worker has.

    Safe to retry: finished shards are kept, and nothing is done twice.
    """
    from recap_core.stages.infer_values import infer_value_shards as infer

    return infer(
        dataset,
        value_model,
        config,
        runtime,
        worker=worker,
        store=open_store(),
        progress=TaskProgress(terminal=Silent()),  # workers side by side have one terminal
    )


@stage_task("label", tag="cpu")
def label(dataset: AnyDataset, values: Values, config: LabelConfig, *, name: str) -> Labels:
    """Advantages and ``adv_ind`` of every frame, from stored values."""
    ...


@stage_task("relabel", tag="cpu")
def relabel(copy: DatasetCopy, labels: Labels, *, name: str) -> RelabeledDataset:
    """Write ``labels`` into the ``adv_ind`` column of ``copy``, which itself stays as it is."""
    ...


@stage_task("import_labels", tag="cpu")
def import_labels(
    dataset: AnyDataset, source: Path, config: ImportLabelsConfig, *, name: str
) -> Labels:
    """Another tool's labels of ``dataset``, as labels of ours."""
    ...
