"""SVG that stretches sideways while its text and strokes keep their size.

Drawings have no ``viewBox``: x positions are percentages of the width, y positions are pixels.
So one drawing is legible on a phone, on a desk and on paper. Curves, whose points cannot be
percentages, sit in a nested ``svg`` that is 1000 units wide and scaled without keeping its aspect;
their strokes do not scale. Colours come from the classes of ``templates/page.css``.
"""

import itertools
import math
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Float, Shaped
from markupsafe import Markup

type Child = ET.Element | str | None
type Number = float | int | np.floating | np.integer  # shape checks take float at its word

CURVE_WIDTH = 1000.0
"""Width of the coordinate system of curves."""
_MAX_POINTS = 1500
"""A line of more points is thinned to its extremes; no screen shows more."""


def number(value: Number) -> str:
    """A coordinate with at most three decimals."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def across(share: Number) -> str:
    """A horizontal position or width: 0 is the left end, 1 the right."""
    return f"{number(100 * share)}%"


def node(tag: str, *children: Child, **attributes: str | Number) -> ET.Element:
    """An element. Strings among the children are text; None is left out.

    Args:
        tag: Name of the element.
        children: Texts first, then elements.
        attributes: Underscores in names become hyphens; a trailing one is dropped (``class_``).
    """
    names = (name.rstrip("_").replace("_", "-") for name in attributes)
    texts = (v if isinstance(v, str) else number(v) for v in attributes.values())
    element = ET.Element(tag, dict(zip(names, texts, strict=True)))
    for child in children:
        if isinstance(child, str):
            element.text = (element.text or "") + child
        elif child is not None:
            element.append(child)
    return element


def drawing(*children: Child, height: Number, label: str, class_: str = "") -> Markup:
    """A whole picture of the page's width, ``height`` pixels high.

    Args:
        children: Its elements.
        height: Pixels.
        label: What a reader who cannot see it is told; empty for decoration.
        class_: CSS class.
    """
    meaning = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return markup(node("svg", *children, class_=class_, width="100%", height=height, **meaning))


def markup(element: ET.Element) -> Markup:
    """The element as HTML; all of its texts and attributes are escaped."""
    return Markup(ET.tostring(element, encoding="unicode"))  # noqa: S704 - ElementTree escapes


def curve_box(*children: Child, top: Number, height: Number) -> ET.Element:
    """A coordinate system for curves: 1000 wide, pixels down, stretched to the width."""
    return node(
        "svg",
        *children,
        y=top,
        width="100%",
        height=height,
        viewBox=f"0 0 {number(CURVE_WIDTH)} {number(height)}",
        preserveAspectRatio="none",
        class_="curve-box",
    )


def line_path(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> str:
    """Path data of a line through the finite points; it breaks where ``y`` is not finite.

    Args:
        x: Ascending positions, 0 to 1000.
        y: Pixels down.
    """
    parts: list[str] = []
    pen_down = False
    for i in _extremes(y):
        finite = math.isfinite(y[i])
        if finite:
            # A lone point becomes a dot: a line of no length with round ends.
            parts.append(f"{'L' if pen_down else 'M'}{number(x[i])},{number(y[i])}")
            if not pen_down:
                parts.append("h0")
        pen_down = finite
    return "".join(parts)


def _extremes(y: Float[np.ndarray, " n"]) -> Iterator[int]:
    """Indices that keep the look of a long line: ends, lows, highs and gaps of every stretch."""
    num_points = len(y)
    if num_points <= _MAX_POINTS:
        yield from range(num_points)
        return
    bounds = np.linspace(0, num_points, _MAX_POINTS // 3 + 1).astype(int)
    for start, stop in itertools.pairwise(bounds):
        part = y[start:stop]
        gap = ~np.isfinite(part)
        low = np.argmin(np.where(gap, np.inf, part))
        high = np.argmax(np.where(gap, -np.inf, part))
        keep = {int(low), int(high)} | ({int(np.argmax(gap))} if gap.any() else set())
        yield from (int(start) + i for i in sorted(keep))
    yield num_points - 1


def runs(codes: Shaped[np.ndarray, " n"]) -> Iterator[tuple[int, int, int]]:
    """(start, stop, code) of every stretch of equal codes."""
    changes = np.flatnonzero(np.diff(codes.astype(np.int64))) + 1
    bounds = [0, *changes.tolist(), len(codes)]
    for start, stop in itertools.pairwise(bounds):
        yield start, stop, int(codes[start])


def ticks(low: Number, high: Number, *, about: int) -> list[float]:
    """Round numbers within [low, high], ``about`` that many, in steps of 1, 2 or 5."""
    if not high > low:
        return [float(low)]
    raw = (high - low) / max(about, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = magnitude * min((m for m in (1, 2, 5, 10) if m * magnitude >= raw * 0.999), default=10)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]
