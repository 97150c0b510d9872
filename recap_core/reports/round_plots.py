"""Rounds from left to right: success, labels, value metrics, time, disk."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from markupsafe import Markup

from recap_core.reports.families import FAMILIES
from recap_core.reports.numbers import (
    bytes_text,
    compact,
    decimal,
    duration,
    percent,
    percent_range,
)
from recap_core.reports.round_content import VERDICT_WORDS
from recap_core.reports.site_content import Rate, RoundRow
from recap_core.reports.svg import CURVE_WIDTH, Number, across, curve_box, drawing, node, ticks

_AXIS = 24
_STRIP = 24
_MAX_LABELS = 13
_MANY = 30
"""Above so many rounds marks are smaller and whiskers have no caps."""
_DIAMOND = "M0,-6.5L6.5,0L0,6.5L-6.5,0Z"
_CROSS = "M-4,-4L4,4M-4,4L4,-4"

type Address = Callable[[str], str]


class Part(NamedTuple):
    """A piece of a column."""

    class_: str
    size: float
    title: str


def success_plot(rows: Sequence[RoundRow], start: Rate | None, address: Address) -> Markup:
    """Success of every round's new policy with its interval, and of what was in use.

    Promoted policies are discs, candidates diamonds, and those that were not taken rings. The line
    is the policy in use after each round; the dashed line is where all rounds start from.
    """
    top, height = 10, 250
    frame = _Frame(len(rows), top, height, 0.0, 1.0)
    shapes = frame.grid([(m, percent(m, 0)) for m in (0.0, 0.25, 0.5, 0.75, 1.0)])
    if start is not None:
        shapes += _start_band(frame, start)
    shapes += frame.names([row.round_index for row in rows])
    shapes.append(_line_in_use(frame, rows, start))
    for i, row in enumerate(rows):
        if row.new is not None:
            shapes.append(_success_mark(frame, i, row, row.new, address(row.id)))
    measured = sum(row.new is not None for row in rows)
    return drawing(
        *shapes,
        height=top + height + _AXIS,
        label=f"Success rate over {len(rows)} rounds, {measured} of them evaluated",
        class_="plot rounds-plot",
    )


def metric_plot(
    rows: Sequence[RoundRow],
    values: Sequence[tuple[float, float, float]],
    *,
    name: str,
    bar: float | None = None,
    address: Address,
) -> Markup:
    """One metric of the value model per round, with its interval and the bar it must pass.

    Rounds whose model was not healthy are crosses.
    """
    top, height = 8, 130
    finite = [v for triple in values for v in triple if math.isfinite(v)]
    if not finite:
        text = node("text", "not measured", class_="tick", x="50%", y=70, text_anchor="middle")
        return drawing(text, height=top + height + _AXIS, label=f"{name}: not measured")
    low, high = _padded(min([*finite, 0.0]), max([*finite, bar or 0.0]))
    frame = _Frame(len(rows), top, height, low, high)
    shapes = frame.grid([(m, compact(m)) for m in ticks(low, high, about=4)])
    if bar is not None:
        y = frame.y(bar)
        shapes.append(node("line", class_="threshold", x1="0%", x2="100%", y1=y, y2=y))
    shapes += frame.names([row.round_index for row in rows])
    for i, (row, triple) in enumerate(zip(rows, values, strict=True)):
        if not math.isfinite(triple[0]):
            continue
        text = f"Round {row.round_index}: {name} {decimal(triple[0], 2)}"
        if math.isfinite(triple[1]):
            text += f", interval {decimal(triple[1], 2)} to {decimal(triple[2], 2)}"
        is_healthy = row.value is not None and row.value.healthy
        text += "" if is_healthy else ", not healthy"
        shapes.append(
            _linked(
                address(row.id),
                text,
                *frame.whisker(i, triple[1], triple[2]),
                _mark(frame.x(i), frame.y(triple[0]), "healthy" if is_healthy else "unhealthy",
                      small=frame.is_dense),
            )
        )  # fmt: skip
    return drawing(
        *shapes, height=top + height + _AXIS, label=f"{name} over rounds", class_="plot rounds-plot"
    )


def label_columns(rows: Sequence[RoundRow]) -> Markup:
    """Label shares of every round, stacked to the whole."""
    columns = []
    for row in rows:
        parts = []
        if row.labels is not None and row.labels.total:
            for key in ("positive", "negative", "none"):
                share = getattr(row.labels, key) / row.labels.total
                title = f"Round {row.round_index}: {percent(share)} {key}"
                parts.append(Part(f"share {key}", share, title))
        columns.append(parts)
    marks = [(m, percent(m, 0)) for m in (0.0, 0.5, 1.0)]
    return _columns(rows, columns, 1.0, marks, label="Label shares over rounds")


def flip_columns(rows: Sequence[RoundRow]) -> Markup:
    """Share of frames in two rounds whose label changed from one to the next."""
    if all(row.flipped is None for row in rows):
        return _not_known("Labels that changed")
    columns = [
        []
        if row.flipped is None
        else [
            Part(
                "bar flip",
                row.flipped,
                f"Round {row.round_index}: {percent(row.flipped)} of the frames that the round "
                "before had too have another label",
            )
        ]
        for row in rows
    ]
    _, high = _padded(0.0, max((row.flipped or 0.0 for row in rows), default=0.0))
    marks = [(m, percent(m, 0 if high > 0.04 else 1)) for m in ticks(0, high, about=3)]
    return _columns(rows, columns, high, marks, label="Labels that changed, over rounds")


def time_columns(rows: Sequence[RoundRow]) -> Markup:
    """Time of every round by kind of work."""
    columns = [
        [
            Part(
                f"time {family}",
                row.seconds_of(family),
                f"Round {row.round_index}, {words}: {duration(row.seconds_of(family))} of "
                f"{duration(row.seconds)}",
            )
            for family, words in FAMILIES.items()
            if row.seconds_of(family)
        ]
        for row in rows
    ]
    longest = max((row.seconds for row in rows), default=0.0)
    unit, name = next(
        ((size, name) for size, name in ((3600, "h"), (60, "min")) if longest >= 2 * size), (1, "s")
    )
    _, high = _padded(0.0, longest / unit)
    marks = [(m * unit, f"{compact(m)} {name}") for m in ticks(0, high, about=4)]
    return _columns(rows, columns, high * unit, marks, label="Time over rounds", height=160)


def disk_columns(rows: Sequence[RoundRow]) -> Markup:
    """What every round added to the disk, by kind of work; empty where it is not known."""
    if all(row.new_bytes is None for row in rows):
        return _not_known("Bytes that rounds added")
    columns = [
        [
            Part(
                f"time {family}",
                float(row.new_bytes_of(family)),
                f"Round {row.round_index}, {words}: {bytes_text(row.new_bytes_of(family))} of "
                f"{bytes_text(row.new_bytes or 0)}",
            )
            for family, words in FAMILIES.items()
            if row.new_bytes_of(family)
        ]
        for row in rows
    ]
    _, high = _padded(0.0, float(max(row.new_bytes or 0 for row in rows)))
    unit = 1000.0 ** max(0, math.floor(math.log10(high) / 3))
    marks = [(m * unit, bytes_text(round(m * unit))) for m in ticks(0, high / unit, about=4)]
    return _columns(rows, columns, high, marks, label="New bytes over rounds", height=160)


def flip_strip(rows: Sequence[RoundRow], task: str, highest: float) -> Markup:
    """Shares of a task's frames whose label changed: a cell per round, more colour for more.

    Args:
        rows: The rounds.
        task: Whose frames.
        highest: Share that has the full colour.
    """
    cells = []
    for i, row in enumerate(rows):
        share = row.flipped_of(task)
        if share is None:
            continue
        strength = 0.08 + 0.92 * share / highest if highest else 0.08
        cells.append(
            node(
                "rect",
                node("title", f"Round {row.round_index}, {task}: {percent(share)}"),
                class_="bar flip",
                fill_opacity=round(strength, 3),
                x=across(i / len(rows)),
                width=across(0.94 / len(rows)),
                y=2,
                height=_STRIP - 4,
            )
        )
    label = f"Labels of {task} that changed, over {len(rows)} rounds"
    return drawing(*cells, height=_STRIP, label=label, class_="plot")


def round_axis(rows: Sequence[RoundRow]) -> Markup:
    """Numbers of the rounds below rows of :func:`flip_strip`."""
    names = _Frame(len(rows), 0, 0, 0.0, 1.0).names([row.round_index for row in rows])
    return drawing(*names, height=_AXIS, label="", class_="plot")


def sparkline(rates: Sequence[Rate | None]) -> Markup:
    """Success over rounds, as small as a word."""
    width, height = 160, 30
    last = max(len(rates) - 1, 1)
    points = [
        (4 + (width - 8) * i / last, height - 4 - (height - 8) * rate.rate)
        for i, rate in enumerate(rates)
        if rate is not None
    ]
    if not points:
        return Markup("")
    line = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    shapes = [
        node("line", class_="grid", x1=0, x2=width, y1=4, y2=4),
        node("line", class_="grid", x1=0, x2=width, y1=height - 4, y2=height - 4),
        node("path", class_="spark", d=line),
        node("circle", class_="spark-end", cx=points[-1][0], cy=points[-1][1], r=3.5),
    ]
    rate = next(rate for rate in reversed(rates) if rate is not None)
    label = f"Success over {len(rates)} rounds, {percent(rate.rate)} at the end"
    svg = node("svg", *shapes, width=width, height=height, role="img", aria_label=label)
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - ElementTree escapes


class _Frame:
    """Where rounds and values are: x in shares of the width, y in pixels."""

    def __init__(self, num: int, top: Number, height: Number, low: float, high: float) -> None:
        self._num = max(num, 1)
        self._top, self._height = float(top), float(height)
        self._low, self._high = low, high
        self.is_dense = num > _MANY

    def x(self, i: int) -> float:
        """Middle of a round's column."""
        return (i + 0.5) / self._num

    def y(self, value: float) -> float:
        """Height of a value, kept inside."""
        share = (value - self._low) / (self._high - self._low)
        return self._top + self._height * (1 - min(max(share, 0.0), 1.0))

    def grid(self, marks: Sequence[tuple[float, str]]) -> list[ET.Element]:
        """Lines with their names at the left."""
        shapes = []
        for value, text in marks:
            y = self.y(value)
            shapes.append(node("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
            shapes.append(node("text", text, class_="tick", x=-8, y=y + 4, text_anchor="end"))
        return shapes

    def names(self, numbers: Sequence[int]) -> list[ET.Element]:
        """Numbers of the rounds below; every second, fifth, ... where there are many."""
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if len(numbers) / s <= _MAX_LABELS)
        bottom = self._top + self._height + 17
        return [
            node(
                "text",
                str(number),
                class_="tick",
                x=across(self.x(i)),
                y=bottom,
                text_anchor="middle",
            )
            for i, number in enumerate(numbers)
            if step == 1 or number % step == 0
        ]

    def whisker(self, i: int, low: float, high: float) -> list[ET.Element]:
        """A vertical interval, with caps where there is room."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return []
        x, (y1, y2) = across(self.x(i)), (self.y(low), self.y(high))
        shapes = [node("line", x1=x, x2=x, y1=y1, y2=y2)]
        if not self.is_dense:
            caps = node("path", d=f"M-4,{y1:.1f}h8M-4,{y2:.1f}h8")
            shapes.append(node("svg", caps, x=x, class_="mark"))
        return [node("g", *shapes, class_="whisker")]


def _not_known(what: str) -> Markup:
    text = node("text", "not known", class_="tick", x="50%", y=70, text_anchor="middle")
    return drawing(text, height=152, label=f"{what} are not known", class_="plot")


def _columns(  # noqa: PLR0913 - options are keyword-only
    rows: Sequence[RoundRow],
    columns: Sequence[Sequence[Part]],
    high: float,
    marks: Sequence[tuple[float, str]],
    *,
    label: str,
    height: int = 120,
) -> Markup:
    top = 8
    frame = _Frame(len(rows), top, height, 0.0, high or 1.0)
    shapes = [*frame.grid(marks), *frame.names([row.round_index for row in rows])]
    width = min(0.78 / max(len(rows), 1), 0.06)
    for i, parts in enumerate(columns):
        bottom = 0.0
        for part in parts:
            y1, y2 = frame.y(bottom + part.size), frame.y(bottom)
            shapes.append(
                node(
                    "rect",
                    node("title", part.title),
                    class_=part.class_,
                    x=across(frame.x(i) - width / 2),
                    width=across(width),
                    y=y1,
                    height=y2 - y1,
                )
            )
            bottom += part.size
    return drawing(*shapes, height=top + height + _AXIS, label=label, class_="plot rounds-plot")


def _success_mark(frame: _Frame, i: int, row: RoundRow, rate: Rate, address: str) -> ET.Element:
    text = (
        f"Round {row.round_index}: {percent(rate.rate)}, interval "
        f"{percent_range(rate.low, rate.high)}, {rate.successes} of {rate.episodes} episodes. "
        f"{VERDICT_WORDS[row.verdict]}."
    )
    return _linked(
        address,
        text,
        *frame.whisker(i, rate.low, rate.high),
        _mark(frame.x(i), frame.y(rate.rate), row.verdict, small=frame.is_dense),
    )


def _mark(x: float, y: float, class_: str, *, small: bool) -> ET.Element:
    radius = 4.0 if small else 5.5
    if class_ == "candidate":
        shape = node("path", d=_DIAMOND)
    elif class_ == "unhealthy":
        shape = node("path", d=_CROSS)
    else:
        shape = node("circle", r=radius - (class_ == "kept"))
    shape.set("class", f"round-mark {class_}")
    return node("svg", shape, x=across(x), y=y, class_="mark")


def _linked(address: str, text: str, *shapes: ET.Element) -> ET.Element:
    title = node("title", text)
    if not address:
        return node("g", title, *shapes, class_="round")
    return node("a", title, *shapes, href=address, aria_label=text, class_="round")


def _start_band(frame: _Frame, start: Rate) -> list[ET.Element]:
    y, top, bottom = frame.y(start.rate), frame.y(start.high), frame.y(start.low)
    title = f"Starting policy: {percent(start.rate)}, {percent_range(start.low, start.high)}"
    band = node(
        "rect", node("title", title), class_="start-band", width="100%", y=top, height=bottom - top
    )
    return [band, node("line", class_="start-line", x1="0%", x2="100%", y1=y, y2=y)]


def _line_in_use(frame: _Frame, rows: Sequence[RoundRow], start: Rate | None) -> ET.Element:
    """Steps: the measured success of the policy that was in use after each round."""
    rate = start.rate if start is not None else math.nan
    heights = []
    for row in rows:
        if row.verdict == "promoted":
            rate = row.new.rate if row.new is not None else math.nan
        heights.append(frame.y(rate) if math.isfinite(rate) else math.nan)
    path = ""
    edges = np.linspace(0, CURVE_WIDTH, len(rows) + 1)
    for i, y in enumerate(heights):
        if math.isfinite(y):
            drawn = i > 0 and math.isfinite(heights[i - 1])
            path += f"{f'V{y:.1f}' if drawn else f'M{edges[i]:.1f},{y:.1f}'}H{edges[i + 1]:.1f}"
    curve = node("path", class_="curve in-use", d=path or "M0,0")
    return curve_box(curve, top=0, height=270)


def _padded(low: float, high: float) -> tuple[float, float]:
    """A range that leaves some room, and is never empty."""
    room = 0.06 * (high - low) or 0.5
    return (low - room if low < 0 else low), high + room
