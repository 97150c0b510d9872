"""The contact sheet of a dataset: one HTML file that needs nothing installed."""

import re
from pathlib import Path

from jinja2 import Environment

from recap_core.reports import sheet_drawings
from recap_core.reports.leaders import leaders
from recap_core.reports.page import page_environment, render_page, write_text
from recap_core.reports.sheet_content import ContactSheet
from recap_core.reports.tracks import DRIVERS, OPERATOR

MAX_TASK_FILTERS = 12
_ARTIFACT_ID = re.compile(r"[0-9a-f]{32}")


def render_contact_sheet(sheet: ContactSheet) -> str:
    """The sheet as a self-contained page.

    Filters are style rules, so the page is complete without its script, which adds a read-out
    under the pointer and keys to move between episodes. The content security policy allows that
    script by its hash, and nothing from a network. All text is escaped; equal data give equal text.
    """
    return render_page(
        _environment(),
        "contact_sheet.html",
        style="contact_sheet.css",
        script="contact_sheet.js",
        sheet=sheet,
        has_values=any(episode.tracks.values is not None for episode in sheet.episodes),
        has_threshold=any(episode.tracks.threshold is not None for episode in sheet.episodes),
        task_filters=sheet.tasks[:MAX_TASK_FILTERS] if len(sheet.tasks) > 1 else (),
    )


def write_contact_sheet(sheet: ContactSheet, path: Path) -> int:
    """Write :func:`render_contact_sheet` to ``path`` as UTF-8; returns its size in bytes."""
    return write_text(render_contact_sheet(sheet), path)


def source_name(source: str) -> str:
    """An artifact's id as its first eight digits; any other source as it is."""
    return source[:8] if _ARTIFACT_ID.fullmatch(source) else source


def _environment() -> Environment:
    return page_environment(
        filters={"source_name": source_name},
        functions={
            "drivers": DRIVERS,
            "episode_drawing": sheet_drawings.episode_drawing,
            "hover_data": sheet_drawings.hover_data,
            "joint_columns": sheet_drawings.joint_columns,
            "joints": sheet_drawings.joints,
            "leaders": leaders,
            "length_histogram": sheet_drawings.length_histogram,
            "operator": OPERATOR,
        },
    )
