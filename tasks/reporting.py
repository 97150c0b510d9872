"""The report of a round as a task."""

from recap_core.config.stages import ReportConfig
from recap_core.lineage.artifacts import (
    AnyDataset,
    Evaluation,
    Labels,
    PolicyCheckpoint,
    Report,
    ValueCheckpoint,
    Values,
)
from tasks.stage_task import stage_task


@stage_task("report", tag="cpu")
def report(  # noqa: PLR0913 - everything that a report shows
    before: Evaluation,
    after: Evaluation,
    *,
    control: Evaluation | None,
    policy: PolicyCheckpoint,
    dataset: AnyDataset,
    value_model: ValueCheckpoint,
    values: Values | None,
    labels: Labels | None,
    config: ReportConfig,
    name: str,
) -> Report:
    """Self-contained HTML of a round: scores, value curves, labels, lineage.

    Safe to retry: it only reads artifacts, and appears by one rename.
    """
    ...
