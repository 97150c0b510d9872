"""The record of a round as a task."""

from collections.abc import Mapping, Sequence

from recap_core.config.iteration import RecordIterationConfig
from recap_core.lineage.artifacts import Artifact, Iteration
from tasks.stage_task import stage_task


@stage_task("record_iteration", tag="cpu")
def record_iteration(
    parts: Mapping[str, Artifact | Sequence[Artifact] | None],
    config: RecordIterationConfig,
    *,
    name: str,
) -> Iteration:
    """Publish what a round was made of, its settings, and the decision about its policy.

    Safe to retry: it only names artifacts, and appears by one rename.
    """
    ...
