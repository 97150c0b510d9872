"""Stage E as a task."""

from prefect import task

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.lineage.artifacts import Evaluation, PolicyCheckpoint
from tasks.elsewhere import elsewhere
from tasks.progress import TaskProgress
from tasks.retries import is_transient
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


@task(
    name="evaluate",
    task_run_name="evaluate-{name}",
    tags=["gpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="evaluate"),
    result_serializer="json",
)
@elsewhere("evaluate")
def evaluate(
    policy: PolicyCheckpoint, config: EvaluationConfig, runtime: CollectRuntime, *, name: str
) -> Evaluation:
    """Success rate of ``policy`` on held-out seeds, without help.

    Safe to retry: every episode depends on its seed alone, and nothing is published before the end.
    """
    from recap_core.stages.evaluate import evaluate_policy

    evaluation = evaluate_policy(
        policy,
        config,
        name=name,
        store=open_store(),
        runtime=runtime,
        progress=TaskProgress(),
    )
    return summarized(evaluation)
