"""The project's time line in the Prefect UI: one artifact key, one version per round."""

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.logging import get_run_logger

from flows.results import IterationResult
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.snapshot import Snapshot
from tasks.planning import is_planning
from tasks.round_summary import page_link, round_line, round_summary
from tasks.store import open_store
from tasks.summaries import artifact_key, health_reasons, label, table


def record_round(result: IterationResult) -> None:
    """Add a version to the project's time line, and links to the round's pages if there are any.

    The keys are the project's, so that the versions of an artifact are the rounds.
    """
    if is_planning():
        return
    snapshot, name = Snapshot(open_store()), f"{result.project}-{result.robot}"
    line = round_line(result.record, snapshot)
    create_markdown_artifact(
        round_summary(result.record, snapshot),
        key=artifact_key(f"iteration-{name}"),
        description=line,
    )
    for key, artifact in (("report", result.report), ("round", result.record)):
        link = page_link(artifact)
        if link is not None:
            create_link_artifact(
                link,
                key=artifact_key(f"{key}-{name}"),
                link_text=f"Round {result.round_index}: {key}",
                description=line,
            )


def warn_of_unhealthy_value_model(value_model: ValueCheckpoint, then: str) -> None:
    """Say loudly that a value model may not label, and what happens instead."""
    if is_planning():
        return
    metrics = open_store().manifest(value_model).metrics
    consequence = (
        "The round falls back to the collector's labels (stage 3)."
        if then == "stage3"
        else "The round stops."
    )
    reasons = health_reasons(value_model)
    get_run_logger().warning(
        "Value model %s is not healthy: %s. %s", label(value_model), "; ".join(reasons), consequence
    )
    rows = [(name, "-" if value is None else f"{value:.4g}") for name, value in metrics.items()]
    create_markdown_artifact(
        f"# Value model `{label(value_model)}` is not healthy\n\n"
        + "\n".join(f"- {reason}" for reason in reasons)
        + f"\n\n{consequence}\n\n{table(('metric', ''), rows)}",
        key="unhealthy-value-model",
        description=consequence,
    )
