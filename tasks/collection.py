"""Stage 0 as tasks: record in simulation, or take in what a robot recorded."""

from pathlib import Path

from prefect import task

from recap_core.config.collection import CollectConfig, CollectRuntime
from recap_core.config.ingest import IngestConfig
from recap_core.lineage.artifacts import PolicyCheckpoint, Recording
from tasks.progress import TaskProgress
from tasks.retries import is_transient
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


@task(
    name="collect",
    task_run_name="collect-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="collect"),
    result_serializer="json",
)
def collect(
    policy: PolicyCheckpoint | None,
    config: CollectConfig,
    runtime: CollectRuntime,
    *,
    name: str,
) -> Recording:
    """Record demonstrations of the expert, or rollouts of ``policy`` under supervision.

    Safe to retry: finished episodes are kept, and their seeds do not depend on the attempt.
    """
    from recap_core.stages.collect import collect_recording

    recording = collect_recording(
        policy,
        config,
        name=name,
        store=open_store(),
        runtime=runtime,
        progress=TaskProgress(),
    )
    return summarized(recording)


@task(
    name="ingest",
    task_run_name="ingest-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="ingest"),
    result_serializer="json",
)
def ingest(session: Path, config: IngestConfig, *, name: str) -> Recording:
    """Publish the finished episodes of a session.

    Safe to retry: the recording appears by an atomic rename.
    """
    from recap_core.stages.ingest import ingest_recording

    return summarized(ingest_recording(session, config, name=name, store=open_store()))
