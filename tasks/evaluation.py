"""Stage E as a task."""

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.lineage.artifacts import Evaluation, PolicyCheckpoint
from tasks.stage_task import stage_task


@stage_task("evaluate", tag="gpu")
def evaluate(
    policy: PolicyCheckpoint, config: EvaluationConfig, runtime: CollectRuntime, *, name: str
) -> Evaluation:
    """Success rate of ``policy`` on held-out seeds, without help.

    Safe to retry: every episode depends on its seed alone, and nothing is published before the end.
    """
    ...
