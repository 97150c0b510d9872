"""The contact sheet of a dataset: one HTML file that needs nothing installed."""

import base64
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recap_core.reports import (
    label_shares,
    numbers,
    sheet_drawings,
    value_curves,
)
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
    environment = _environment()
    styles = ("report.css", "contact_sheet.css")
    style = "\n".join(environment.get_template(name).render() for name in styles)
    script = environment.get_template("contact_sheet.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template(
        "contact_sheet.html"
    ).render(
        sheet=sheet,
        style=Markup(style),  # noqa: S704 - our own files, without data
        script=Markup(script),  # noqa: S704 - our own file, without data
        script_digest=digest,
        has_values=any(episode.tracks.values is not None for episode in sheet.episodes),
        has_threshold=any(episode.tracks.threshold is not None for episode in sheet.episodes),
        task_filters=sheet.tasks[:MAX_TASK_FILTERS] if len(sheet.tasks) > 1 else (),
    )


def write_contact_sheet(sheet: ContactSheet, path: Path) -> int:
    """Write :func:`render_contact_sheet` to ``path`` as UTF-8; returns its size in bytes."""
    # Text from outside may hold lone surrogates (undecodable file names), which UTF-8 has not.
    return path.write_bytes(render_contact_sheet(sheet).encode("utf-8", errors="replace"))


def source_name(source: str) -> str:
    """An artifact's id as its first eight digits; any other source as it is."""
    return source[:8] if _ARTIFACT_ID.fullmatch(source) else source


def _environment() -> Environment:
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
        percent=numbers.percent,
        signed=numbers.signed,
        source_name=source_name,
    )
    environment.globals.update(
        drivers=DRIVERS,
        episode_drawing=sheet_drawings.episode_drawing,
        hover_data=sheet_drawings.hover_data,
        joint_columns=sheet_drawings.joint_columns,
        joints=sheet_drawings.joints,
        label_groups=label_shares.groups,
        label_total=label_shares.total_frames,
        leaders=sheet_drawings.leaders,
        legend_swatch=value_curves.legend_swatch,
        length_histogram=sheet_drawings.length_histogram,
        operator=OPERATOR,
        share_bar=label_shares.share_bar,
    )
    return environment
