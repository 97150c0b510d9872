"""The page of ``recap value evaluate``: one HTML file that needs nothing else."""

from pathlib import Path

from recap_core.reports import value_panels
from recap_core.reports.iteration import report_environment
from recap_core.reports.page import render_page, write_text
from recap_core.reports.value_content import ValueReport


def render_value_report(report: ValueReport) -> str:
    """The report as a self-contained page, under the same rules as an iteration's."""
    environment = report_environment()
    environment.globals.update(value_figure=value_panels.value_figure)
    return render_page(environment, "value_report.html", report=report, fps=report.fps)


def write_value_report(report: ValueReport, path: Path) -> None:
    """Write :func:`render_value_report` to ``path`` as UTF-8."""
    write_text(render_value_report(report), path)
