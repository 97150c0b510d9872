"""Stages 2, 3, 4 and 6 as tasks: training the policy and the value model.

Both are safe to retry: training goes on from its last complete checkpoint, with the same data order
and optimiser state, and its result appears by one rename.
"""

from recap_core.config.stages import TrainPolicyConfig, TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.lineage.artifacts import AnyDataset, NormStats, PolicyCheckpoint, ValueCheckpoint
from tasks.stage_task import stage_task


@stage_task("train_policy", tag="gpu")
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
    ...


@stage_task("train_value", tag="gpu")
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
    ...
