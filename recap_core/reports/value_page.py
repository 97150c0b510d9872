"""The page of ``recap value evaluate``: one HTML file that needs nothing else."""

from pathlib import Path

from markupsafe import Markup

from recap_core.reports import value_panels
from recap_core.reports.iteration import page_environment
from recap_core.reports.value_content import ValueReport


def render_value_report(report: ValueReport) -> str:
    """The report as a self-contained page, under the same rules as an iteration's."""
    environment = page_environment()
    environment.globals.update(
        key_leaders=value_panels.key_leaders, value_figure=value_panels.value_figure
    )
    style = environment.get_template("report.css").render()
    return environment.get_template("value_report.html").render(
        report=report,
        fps=report.fps,
        style=Markup(style),  # noqa: S704 - our own file, without data
    )


def write_value_report(report: ValueReport, path: Path) -> None:
    """Write :func:`render_value_report` to ``path`` as UTF-8."""
    path.write_bytes(render_value_report(report).encode("utf-8", errors="replace"))
