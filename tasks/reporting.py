"""The report of a round as a task."""

from prefect import task

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
from tasks.progress import TaskProgress
from tasks.retries import is_transient
from tasks.stage_key import StageKey
from tasks.store import open_store
from tasks.summaries import summarized


@task(
    name="report",
    task_run_name="report-{name}",
    tags=["cpu"],
    retries=1,
    retry_condition_fn=is_transient,
    cache_policy=StageKey(stage="report"),
    result_serializer="json",
)
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
    config: ReportConfig,
    name: str,
) -> Report:
    """Self-contained HTML of a round: scores, value curves, labels, lineage.

    Safe to retry: it only reads artifacts, and appears by one rename.
    """
    from recap_core.stages.report import write_report

    page = write_report(
        before,
        after,
        control=control,
        policy=policy,
        dataset=dataset,
        value_model=value_model,
        values=values,
        labels=labels,
        config=config,
        name=name,
        store=open_store(),
        progress=TaskProgress(),
    )
    return summarized(page)
