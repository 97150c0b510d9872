"""Success rates and their differences as bars with interval whiskers."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from markupsafe import Markup

from recap_core.reports.content import Comparison, Interval, SuccessBar
from recap_core.reports.numbers import compact, percent, percent_range, points, signed_compact
from recap_core.reports.svg import Number, across, drawing, node

ROW_HEIGHT = 48
AXIS_HEIGHT = 22
_BAR_TOP = 16
_BAR_HEIGHT = 16
_MIDDLE = _BAR_TOP + _BAR_HEIGHT / 2
_CAP = 5


def success_bar(bar: SuccessBar) -> Markup:
    """One row: a bar to the success rate, a whisker over its interval. Axis: 0 to 100 %."""
    label = (
        f"{bar.name}: {percent(bar.rate)} success, interval {percent_range(bar.low, bar.high)}, "
        f"{bar.successes} of {bar.episodes} episodes"
    )
    return drawing(
        *_grid([0, 0.25, 0.5, 0.75, 1]),
        node(
            "rect",
            class_=f"bar {bar.role}",
            y=_BAR_TOP,
            width=across(bar.rate),
            height=_BAR_HEIGHT,
        ),
        whisker(bar.low, bar.high, middle=_MIDDLE),
        height=ROW_HEIGHT,
        label=label,
        class_="plot",
    )


def rate_axis() -> Markup:
    """The axis below the rows of :func:`success_bar`."""
    return _axis([(share, percent(share, 0)) for share in (0, 0.25, 0.5, 0.75, 1)])


def difference_reach(comparisons: Sequence[Comparison]) -> float:
    """Half the width of an axis that holds all intervals: a multiple of 25 points."""
    largest = max(max(abs(c.low), abs(c.high)) for c in comparisons)
    return next((reach for reach in (0.25, 0.5, 0.75) if largest <= reach), 1.0)


def difference_bar(comparison: Comparison, reach: float) -> Markup:
    """One row: the difference of two rates and its interval around a line at zero."""

    def position(difference: float) -> float:
        return (difference + reach) / (2 * reach)

    label = (
        f"{comparison.candidate} minus {comparison.baseline}: {points(comparison.difference)} "
        f"points, interval {points(comparison.low)} to {points(comparison.high)}"
    )
    return drawing(
        *_grid([0, 0.25, 0.75, 1]),
        node("line", class_="zero", x1="50%", x2="50%", y1=0, y2=ROW_HEIGHT),
        whisker(position(comparison.low), position(comparison.high), middle=_MIDDLE),
        node(
            "circle",
            class_=f"dot {comparison.outcome}",
            cx=across(position(comparison.difference)),
            cy=_MIDDLE,
            r=6,
        ),
        height=ROW_HEIGHT,
        label=label,
        class_="plot",
    )


def difference_axis(reach: float) -> Markup:
    """The axis below the rows of :func:`difference_bar`, in percentage points."""
    steps = (-1, -0.5, 0, 0.5, 1)
    return _axis([((s + 1) / 2, signed_compact(100 * s * reach)) for s in steps])


def interval_plot(name: str, interval: Interval) -> Markup:
    """A value on [-1, 1] with its interval and the bar its lower end must pass."""

    def position(value: float) -> float:
        return (min(max(value, -1.0), 1.0) + 1) / 2

    bar = across(position(interval.bar))
    passes = "better" if interval.low > interval.bar else "worse"
    return drawing(
        *_grid([0, 0.25, 0.5, 0.75, 1]),
        node("line", class_="threshold", x1=bar, x2=bar, y1=2, y2=ROW_HEIGHT - 2),
        whisker(position(interval.low), position(interval.high), middle=_MIDDLE),
        node(
            "circle",
            class_=f"dot {passes}",
            cx=across(position(interval.value)),
            cy=_MIDDLE,
            r=6,
        ),
        height=ROW_HEIGHT,
        label=(
            f"{name}: {interval.value:.2f}, interval {interval.low:.2f} to {interval.high:.2f}, "
            f"bar {interval.bar:.2f}"
        ),
        class_="plot",
    )


def unit_axis() -> Markup:
    """The axis below the rows of :func:`interval_plot`: -1 to 1."""
    return _axis([((v + 1) / 2, compact(v)) for v in (-1.0, -0.5, 0.0, 0.5, 1.0)])


def whisker(low: float, high: float, *, middle: float) -> ET.Element:
    """A horizontal interval with end caps; ``low`` and ``high`` are shares of the width."""
    left, right = across(low), across(high)
    caps = [node("line", x1=x, x2=x, y1=middle - _CAP, y2=middle + _CAP) for x in (left, right)]
    return node(
        "g",
        node("line", class_="span", x1=left, x2=right, y1=middle, y2=middle),
        *caps,
        class_="whisker",
    )


def _grid(shares: Sequence[Number]) -> list[ET.Element]:
    return [
        node("line", class_="grid", x1=across(s), x2=across(s), y1=0, y2=ROW_HEIGHT) for s in shares
    ]


def _axis(labels: Sequence[tuple[Number, str]]) -> Markup:
    """Tick labels at shares of the width; the outer ones are kept inside."""
    last = len(labels) - 1
    anchors = {0: "start", last: "end"}
    texts = [
        node(
            "text", text, class_="tick", x=across(share), y=15, text_anchor=anchors.get(i, "middle")
        )
        for i, (share, text) in enumerate(labels)
    ]
    return drawing(*texts, height=AXIS_HEIGHT, label="", class_="plot")
