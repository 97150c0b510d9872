"""The gate, and the checks of a policy that need no robot."""

from recap_core.config.gate import GateConfig, GateDecision
from recap_core.config.inference import InferRuntime
from recap_core.config.offline import CheckPolicyConfig
from recap_core.lineage.artifacts import (
    AnyDataset,
    Evaluation,
    OfflineCheck,
    PolicyCheckpoint,
)
from tasks.stage_task import stage_task
from tasks.store import open_store


@stage_task("check_policy", tag="gpu")
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
    ...


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
