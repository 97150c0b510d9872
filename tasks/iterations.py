"""The record of a round as a task."""

from collections.abc import Mapping, Sequence

from prefect import task

from recap_core.config.iteration import RecordIterationConfig
from recap_core.lineage.artifacts import Artifact, Iteration
from tasks.retries import is_transient
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


@task(
    name="record-iteration",
    task_run_name="record-iteration-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="record_iteration"),
    result_serializer="json",
)
def record_iteration(
    parts: Mapping[str, Artifact | Sequence[Artifact] | None],
    config: RecordIterationConfig,
    *,
    name: str,
) -> Iteration:
    """Publish what a round was made of, its settings, and the decision about its policy.

    Safe to retry: it only names artifacts, and appears by one rename.
    """
    from recap_core.stages.record_iteration import record_iteration as record

    return summarized(record(parts, config, name=name, store=open_store()))
