"""The report of an iteration: one HTML file that needs nothing else."""

from pathlib import Path

from jinja2 import Environment

from recap_core.reports import (
    calibration_plot,
    lineage_graph,
    success,
    thumbnails,
    training_curves,
    value_curves,
    verdict,
)
from recap_core.reports.content import ROLE_WORDS, IterationReport
from recap_core.reports.leaders import leaders
from recap_core.reports.page import page_environment, render_page, write_text


def render_report(report: IterationReport) -> str:
    """The report as a self-contained page, without a script.

    Raises:
        ArtifactError: If the lineage graph has an edge to an unknown node, or a circle.
    """
    return render_page(
        report_environment(),
        "report.html",
        report=report,
        fps=report.fps,
        headline=verdict.headline(report),
        all_cached=bool(report.stages) and all(row.cached for row in report.stages),
        total_seconds=sum(row.seconds for row in report.stages),
        slowest_seconds=max((row.seconds for row in report.stages), default=0.0),
    )


def write_html(report: IterationReport, path: Path) -> None:
    """Write :func:`render_report` to ``path`` as UTF-8."""
    write_text(render_report(report), path)


def report_environment() -> Environment:
    """Templates with the words and pictures that reports ask for."""
    return page_environment(
        filters={
            "jpeg_uri": thumbnails.jpeg_uri,
            "kind_text": lineage_graph.kind_text,
            "short_id": lineage_graph.short_id,
        },
        functions={
            "comparison_word": verdict.comparison_word,
            "difference_axis": success.difference_axis,
            "difference_bar": success.difference_bar,
            "difference_reach": success.difference_reach,
            "episode_figure": value_curves.episode_figure,
            "interval_plot": success.interval_plot,
            "is_logarithmic": training_curves.is_logarithmic,
            "lineage_figure": lineage_graph.lineage_figure,
            "leaders": leaders,
            "loss_figure": training_curves.loss_figure,
            "rate_axis": success.rate_axis,
            "reliability_plot": calibration_plot.reliability_plot,
            "role_words": ROLE_WORDS,
            "success_bar": success.success_bar,
            "unit_axis": success.unit_axis,
        },
    )
