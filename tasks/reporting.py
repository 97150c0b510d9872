"""The report of a round as a task."""

from recap_core.config.stages import ReportConfig
from recap_core.lineage.artifacts import (
    AnyDataset,
    Artifact,
    Evaluation,
    Iteration,
    Labels,
    PolicyCheckpoint,
    Report,
    ValueCheckpoint,
    Values,
)
from tasks.stage_task import stage_task


@stage_task("report", tag="cpu")
def report(  # noqa: PLR0913 - everything that a report shows
    before: Evaluation | None,
    after: Evaluation | None,
    *,
    control: Evaluation | None,
    policy: PolicyCheckpoint,
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    values: Values | None,
    labels: Labels | None,
    current: Evaluation | None = None,
    offline: Artifact | None = None,
    previous: Iteration | None = None,
    config: ReportConfig,
    name: str,
) -> Report:
    """Self-contained HTML of a round: decision, scores, labels, what changed, time, lineage.

    Safe to retry: it only reads artifacts, and appears by one rename.
    """
    ...
