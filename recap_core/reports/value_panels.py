"""One episode as the value model sees it: V over time on the distribution it predicted.

V is drawn in two colours: where it rises and where it falls, over a tenth of the episode.
"""

import base64
import io
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from recap_core.reports.numbers import compact, decimal
from recap_core.reports.svg import (
    CURVE_WIDTH,
    across,
    curve_box,
    drawing,
    line_path,
    node,
    runs,
    ticks,
)
from recap_core.reports.value_content import ValuePanel

_TOP, _PLOT_HEIGHT = 14, 168
_AXIS = _TOP + _PLOT_HEIGHT + 10
_HEIGHT = _AXIS + 16
_HEAT_COLOUR = (86, 150, 200)
_MAX_HEAT_COLUMNS = 600
_HEAT_BINS = 3
"""Bins drawn as one row: two-hot targets leave stripes."""
_FLAT = 0.01


def value_figure(panel: ValuePanel) -> Markup:
    """V, its target, who drove, and how sure the model was."""
    return drawing(
        *_interventions(panel),
        *_axes(panel),
        *([] if panel.distribution is None else [_heat(panel.distribution)]),
        _curves(panel),
        *_key_marks(panel),
        height=_HEIGHT,
        label=_describe(panel),
        class_="plot value-panel",
    )


def is_rising(values: Float[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    """Whether V grows around every frame, over a tenth of the episode.

    Where it changes by less than a hundredth, it goes on as before.
    """
    finite = np.flatnonzero(np.isfinite(values))
    if finite.size < 2:
        return np.ones(len(values), dtype=bool)
    at = np.arange(len(values))
    filled = np.interp(at, finite, values[finite])
    reach = max(1, len(values) // 20)
    last = len(values) - 1
    change = filled[np.minimum(at + reach, last)] - filled[np.maximum(at - reach, 0)]
    is_clear = np.abs(change) >= _FLAT
    if not is_clear.any():
        return np.ones(len(values), dtype=bool)
    latest = np.maximum.accumulate(np.where(is_clear, at, np.argmax(is_clear)))
    return change[latest] > 0


def _describe(panel: ValuePanel) -> str:
    finite = panel.values[np.isfinite(panel.values)]
    value = (
        f"V goes from {decimal(float(finite[0]), 2)} to {decimal(float(finite[-1]), 2)}"
        if finite.size
        else "no values"
    )
    return f"Episode {panel.episode_index}, {panel.outcome}: {value}"


def _curves(panel: ValuePanel) -> ET.Element:
    x = (np.arange(panel.num_frames) + 0.5) * (CURVE_WIDTH / panel.num_frames)

    def path(class_: str, values: Float[np.ndarray, " t"]) -> ET.Element:
        return node("path", class_=f"curve {class_}", d=line_path(x, 4 - values * _PLOT_HEIGHT))

    rising = is_rising(panel.values)
    # Every stretch also has the first point of the next one: the two colours meet.
    reaches_up = rising | np.append(False, rising[:-1])
    reaches_down = ~rising | np.append(False, ~rising[:-1])
    return curve_box(
        path("target", panel.targets),
        path("rise", np.where(reaches_up, panel.values, np.nan)),
        path("fall", np.where(reaches_down, panel.values, np.nan)),
        top=_TOP - 4,
        height=_PLOT_HEIGHT + 8,
    )


def _heat(distribution: Float[np.ndarray, "t bins"]) -> ET.Element:
    """The distribution as a picture whose opacity is the probability, per frame's largest."""
    from PIL import Image

    step = -(-len(distribution) // _MAX_HEAT_COLUMNS)
    starts = np.arange(0, distribution.shape[1], _HEAT_BINS)
    shown = np.add.reduceat(distribution[::step], starts, axis=1).T[::-1]
    opacity = 150 * np.sqrt(shown / np.maximum(shown.max(axis=0, keepdims=True), 1e-9))
    pixels = np.empty((*shown.shape, 4), np.uint8)
    pixels[..., :3] = _HEAT_COLOUR
    pixels[..., 3] = opacity.astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(buffer, format="PNG", optimize=True)
    address = base64.b64encode(buffer.getvalue()).decode("ascii")
    return node(
        "image",
        href=f"data:image/png;base64,{address}",
        x=0,
        y=_TOP,
        width="100%",
        height=_PLOT_HEIGHT,
        preserveAspectRatio="none",
    )


def _interventions(panel: ValuePanel) -> list[ET.Element]:
    shapes: list[ET.Element] = []
    for start, stop, driven in runs(panel.is_intervention):
        if driven:
            place = {
                "x": across(start / panel.num_frames),
                "width": across((stop - start) / panel.num_frames),
            }
            shapes.append(node("rect", class_="human-span", y=_TOP, height=_PLOT_HEIGHT, **place))
            shapes.append(node("rect", class_="human-bar", y=2, height=5, **place))
    return shapes


def _axes(panel: ValuePanel) -> list[ET.Element]:
    shapes: list[ET.Element] = []
    for value in (0.0, -0.5, -1.0):
        y = _TOP - value * _PLOT_HEIGHT
        shapes.append(node("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        shapes.append(node("text", compact(value), class_="tick", x=-8, y=y + 4, text_anchor="end"))
    seconds = panel.num_frames / panel.fps
    for second in ticks(0, seconds, about=6):
        at = second / seconds
        anchor = "start" if at < 0.01 else "end" if at > 0.985 else "middle"
        text = f"{compact(second)} s"
        shapes.append(
            node("text", text, class_="tick", x=across(at), y=_AXIS + 9, text_anchor=anchor)
        )
    return shapes


def _key_marks(panel: ValuePanel) -> list[ET.Element]:
    return [
        node(
            "circle",
            node("title", f"{decimal(key.frame / panel.fps, 2)} s: V {decimal(value)}"),
            class_="key-mark",
            cx=across((key.frame + 0.5) / panel.num_frames),
            cy=_TOP - value * _PLOT_HEIGHT,
            r=4,
        )
        for key in panel.key_frames
        if np.isfinite(value := float(panel.values[key.frame]))
    ]
