"""The reliability diagram: what V says, and what came of it."""

import math
from xml.etree import ElementTree as ET

from markupsafe import Markup

from recap_core.reports.numbers import compact, decimal
from recap_core.reports.svg import Number, across, drawing, node
from recap_core.valuation.calibration import Calibration, ReliabilityBin

_TOP, _SIDE = 12, 220
_HEIGHT = _TOP + _SIDE + 40
_MARKS = (-1.0, -0.75, -0.5, -0.25, 0.0)


def reliability_plot(calibration: Calibration) -> Markup:
    """A dot per bin of V at its mean target, with the interval; on the line is right."""
    most = max((row.num_frames for row in calibration.bins), default=1)
    shapes = [
        *_axes(),
        node("line", class_="diagonal", x1="0%", x2="100%", y1=_TOP + _SIDE, y2=_TOP),
    ]
    for row in calibration.bins:
        shapes += _dot(row, most)
    label = f"Expected calibration error {decimal(calibration.error.estimate, 2)}"
    return drawing(*shapes, height=_HEIGHT, label=label, class_="plot")


def _y(value: Number) -> Number:
    return _TOP - value * _SIDE


def _dot(row: ReliabilityBin, most: int) -> list[ET.Element]:
    x, low, high = across(row.expected + 1), _y(row.realised.low), _y(row.realised.high)
    text = (
        f"V {decimal(row.expected, 2)}, target {decimal(row.realised.estimate, 2)}: "
        f"{row.num_frames} frames of {row.num_episodes} episodes"
    )
    whisker = node("line", class_="whisker-line", x1=x, x2=x, y1=low, y2=high)
    dot = node(
        "circle",
        node("title", text),
        class_="reliability-dot",
        cx=x,
        cy=_y(row.realised.estimate),
        r=3 + 5 * math.sqrt(row.num_frames / most),
    )
    return [whisker, dot]


def _axes() -> list[ET.Element]:
    shapes: list[ET.Element] = []
    for mark in _MARKS:
        y = _y(mark)
        shapes.append(node("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        shapes.append(node("text", compact(mark), class_="tick", x=-8, y=y + 4, text_anchor="end"))
        anchor = "start" if mark == -1 else "end" if mark == 0 else "middle"
        shapes.append(
            node(
                "text",
                compact(mark),
                class_="tick",
                x=across(mark + 1),
                y=_TOP + _SIDE + 17,
                text_anchor=anchor,
            )
        )
    name = node(
        "text", "V, expected", class_="panel-name", x="100%", y=_TOP + _SIDE + 34, text_anchor="end"
    )
    return [*shapes, name, node("text", "realised", class_="panel-name", x=6, y=_TOP + 14)]
