"""Stages 2, 3, 4 and 6 as tasks: training the policy and the value model.

Both are safe to retry: training goes on from its last complete checkpoint, with the same data order
and optimiser state, and its result appears by one rename.
"""

from prefect import task

from recap_core.config.stages import TrainPolicyConfig, TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.lineage.artifacts import AnyDataset, NormStats, PolicyCheckpoint, ValueCheckpoint
from tasks.elsewhere import elsewhere
from tasks.progress import TaskProgress
from tasks.retries import is_transient
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


@task(
    name="train-policy",
    task_run_name="train-policy-{name}",
    tags=["gpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="train_policy"),
    result_serializer="json",
)
@elsewhere("train_policy")
def train_policy(  # noqa: PLR0913 - the parameters of the stage
    dataset: AnyDataset,
    norm_stats: NormStats,
    start: PolicyCheckpoint | None,
    config: TrainPolicyConfig,
    runtime: TrainRuntime,
    *,
    name: str,
) -> PolicyCheckpoint:
    """Fine-tune a policy on ``dataset``, from ``start`` or from fresh parameters."""
    from recap_core.stages.train_policy import train_policy as train

    policy = train(
        dataset,
        norm_stats,
        start,
        config,
        name=name,
        store=open_store(),
        runtime=runtime,
        progress=TaskProgress(),
    )
    return summarized(policy)


@task(
    name="train-value",
    task_run_name="train-value-{name}",
    tags=["gpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="train_value"),
    result_serializer="json",
)
@elsewhere("train_value")
def train_value(  # noqa: PLR0913 - the parameters of the stage
    dataset: AnyDataset,
    norm_stats: NormStats,
    config: TrainValueConfig,
    runtime: TrainRuntime,
    *,
    start: ValueCheckpoint | None = None,
    name: str,
) -> ValueCheckpoint:
    """Train a value model on ``dataset``, from ``start`` or from fresh parameters, and judge it."""
    from recap_core.stages.train_value import train_value_model

    value_model = train_value_model(
        dataset,
        norm_stats,
        config,
        start=start,
        name=name,
        store=open_store(),
        runtime=runtime,
        progress=TaskProgress(),
    )
    return summarized(value_model)
