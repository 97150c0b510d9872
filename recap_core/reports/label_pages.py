"""Pages about labels: a sweep as heat maps, a difference as strips and pictures.

Each is one HTML file that needs nothing installed and runs no script.
"""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from markupsafe import Markup

from recap_core.labels.adv_ind import NAMES
from recap_core.reports import numbers
from recap_core.reports.label_content import ChangedEpisode, DiffPage, HeatMap, SweepPage
from recap_core.reports.page import page_environment, write_text
from recap_core.reports.page import render_page as render_template
from recap_core.reports.svg import across, drawing, node, runs

_ROW = 30
_GAP = 2
_HEAD = 20
_SIDE = 0.13
"""Share of the width that the rows' names take."""
_STRIP = 16


def write_page(page: SweepPage | DiffPage, path: Path) -> int:
    """Write the page to ``path`` as UTF-8; returns its size in bytes."""
    return write_text(render_page(page), path)


def render_page(page: SweepPage | DiffPage) -> str:
    """The page as text; all text in it is escaped, and equal data give equal text."""
    environment = page_environment(functions={"heat_map": heat_map, "strips": strips})
    template = "label_sweep.html" if isinstance(page, SweepPage) else "label_diff.html"
    return render_template(environment, template, style="label_page.css", page=page)


def heat_map(map_: HeatMap, rows: tuple[str, ...], columns: tuple[str, ...]) -> Markup:
    """Cells with their percentages; the colour grows from ``low`` to ``high``."""
    width = (1 - _SIDE) / max(len(columns), 1)
    cells = [
        node("text", column, class_="tick", x=across(_SIDE + (j + 0.5) * width), y=13,
             text_anchor="middle")
        for j, column in enumerate(columns)
    ]  # fmt: skip
    for i, row in enumerate(rows):
        middle = _HEAD + i * _ROW + _ROW / 2 + 4.5
        cells.append(
            node("text", row, class_="tick", x=across(_SIDE - 0.02), y=middle, text_anchor="end")
        )
        for j in range(len(columns)):
            value = float(map_.values[i, j])
            left = _SIDE + j * width
            cells.append(_cell(map_, value, left=left, width=width, row=i, names=(row, columns[j])))
            cells.append(
                node(
                    "text",
                    numbers.decimal(100 * value, 1),
                    class_="cell-text" + (" strong" if _strength(map_, value) > 0.75 else ""),
                    x=across(left + width / 2),
                    y=middle,
                    text_anchor="middle",
                )
            )
    best = np.nanmax(map_.values) if np.isfinite(map_.values).any() else np.nan
    words = f"{map_.title}: at most {numbers.percent(float(best))}"
    height = _HEAD + _ROW * len(rows)
    return drawing(*cells, height=height, label=words, class_="plot heat-map")


def _strength(map_: HeatMap, value: float) -> float:
    if not np.isfinite(value):
        return 0.0
    return float(np.clip((value - map_.low) / max(map_.high - map_.low, 1e-9), 0, 1))


def _cell(  # noqa: PLR0913 - options are keyword-only
    map_: HeatMap, value: float, *, left: float, width: float, row: int, names: tuple[str, str]
) -> ET.Element:
    title = f"lookahead {names[0]}, share {names[1]}: {numbers.percent(value)}"
    return node(
        "rect",
        node("title", title),
        class_=f"cell {map_.class_}",
        fill_opacity=round(0.06 + 0.9 * _strength(map_, value), 3),
        x=across(left + 0.001),
        y=_HEAD + row * _ROW,
        width=across(width - 0.002),
        height=_ROW - _GAP,
    )


def strips(episode: ChangedEpisode) -> Markup:
    """Labels before and after over time, with the operator's frames behind, changes between."""
    total = len(episode.before)
    height = 3 * _STRIP
    parts = [
        node("rect", class_="human-span", y=0, height=height, **_span(start, stop, total))
        for start, stop, driven in runs(episode.is_intervention)
        if driven
    ]
    for top, codes in ((0, episode.before), (2 * _STRIP, episode.after)):
        parts += [
            node(
                "rect",
                node("title", f"{NAMES[code]}, frames {start} to {stop - 1}"),
                class_=f"label {NAMES[code]}",
                y=top,
                height=_STRIP - 2,
                **_span(start, stop, total),
            )
            for start, stop, code in runs(codes)
        ]
    parts += [
        node("rect", class_="change", y=_STRIP, height=_STRIP - 2, **_span(start, stop, total))
        for start, stop, on in runs(episode.before != episode.after)
        if on
    ]
    changed = int((episode.before != episode.after).sum())
    words = f"{changed} of {total} frames have another label"
    return drawing(*parts, height=height, label=words, class_="plot")


def _span(start: int, stop: int, total: int) -> dict[str, str]:
    return {"x": across(start / total), "width": across((stop - start) / total)}
