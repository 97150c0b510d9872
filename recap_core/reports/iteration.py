"""The report of an iteration: one HTML file that needs nothing else."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recap_core.reports import (
    calibration_plot,
    label_shares,
    lineage_graph,
    numbers,
    success,
    thumbnails,
    training_curves,
    value_curves,
    verdict,
)
from recap_core.reports.content import ROLE_WORDS, IterationReport


def render_report(report: IterationReport) -> str:
    """The report as a self-contained page.

    No script, no font, nothing from a network; it says so in its content security policy. All
    text of ``report`` is escaped. Equal data give equal text.

    Raises:
        ArtifactError: If the lineage graph has an edge to an unknown node, or a circle.
    """
    environment = page_environment()
    style = environment.get_template("report.css").render()
    return environment.get_template("report.html").render(
        report=report,
        fps=report.fps,
        style=Markup(style),  # noqa: S704 - our own file, without data
        headline=verdict.headline(report),
        all_cached=bool(report.stages) and all(row.cached for row in report.stages),
        total_seconds=sum(row.seconds for row in report.stages),
        slowest_seconds=max((row.seconds for row in report.stages), default=0.0),
    )


def write_html(report: IterationReport, path: Path) -> None:
    """Write :func:`render_report` to ``path`` as UTF-8."""
    # Text from outside may hold lone surrogates (undecodable file names), which UTF-8 has not.
    path.write_bytes(render_report(report).encode("utf-8", errors="replace"))


def page_environment() -> Environment:
    """Templates with escaping on, and the words and pictures they ask for."""
    environment = Environment(
        loader=PackageLoader("recap_core.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        count=numbers.count,
        decimal=numbers.decimal,
        duration=numbers.duration,
        percent=numbers.percent,
        percent_range=numbers.percent_range,
        points=numbers.points,
        signed=numbers.signed,
        jpeg_uri=thumbnails.jpeg_uri,
        kind_text=lineage_graph.kind_text,
        short_id=lineage_graph.short_id,
    )
    environment.globals.update(
        comparison_word=verdict.comparison_word,
        difference_axis=success.difference_axis,
        difference_bar=success.difference_bar,
        difference_reach=success.difference_reach,
        episode_figure=value_curves.episode_figure,
        interval_plot=success.interval_plot,
        is_logarithmic=training_curves.is_logarithmic,
        label_groups=label_shares.groups,
        label_total=label_shares.total_frames,
        legend_swatch=value_curves.legend_swatch,
        lineage_figure=lineage_graph.lineage_figure,
        loss_figure=training_curves.loss_figure,
        rate_axis=success.rate_axis,
        reliability_plot=calibration_plot.reliability_plot,
        role_words=ROLE_WORDS,
        share_bar=label_shares.share_bar,
        success_bar=success.success_bar,
        thumbnail_leaders=value_curves.thumbnail_leaders,
        unit_axis=success.unit_axis,
    )
    return environment
