"""The gate, and the checks of a policy that need no robot."""

from prefect import task

from recap_core.config.gate import GateConfig, GateDecision
from recap_core.config.inference import InferRuntime
from recap_core.config.offline import CheckPolicyConfig
from recap_core.lineage.artifacts import (
    AnyDataset,
    Evaluation,
    OfflineCheck,
    PolicyCheckpoint,
)
from tasks.progress import TaskProgress
from tasks.retries import is_transient
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


@task(
    name="check-policy",
    task_run_name="check-policy-{name}",
    tags=["gpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="check_policy"),
    result_serializer="json",
)
def check_policy(  # noqa: PLR0913 - as the stage
    dataset: AnyDataset,
    policy: PolicyCheckpoint,
    current: PolicyCheckpoint | None,
    config: CheckPolicyConfig,
    *,
    name: str,
    runtime: InferRuntime | None = None,
) -> OfflineCheck:
    """What a new policy does on held-out frames, beside the current one.

    Safe to retry: nothing is published before the end.
    """
    from recap_core.stages.check_policy import check_policy as check

    found = check(
        dataset,
        policy,
        current,
        config,
        name=name,
        store=open_store(),
        runtime=runtime,
        progress=TaskProgress(),
    )
    return summarized(found)


def judge(
    current: Evaluation | None,
    new: Evaluation | None,
    config: GateConfig,
    *,
    offline: OfflineCheck | None = None,
) -> GateDecision:
    """What becomes of a new policy; a plain function, for it takes milliseconds."""
    from recap_core.stages.judge import judge as decide

    return decide(current, new, config, offline=offline, store=open_store())
