"""The story of one episode: value, advantage and label of every frame over time.

Frame t fills the time from t / fps to (t + 1) / fps, so curves have their points in the middle of
the cells of the label strip. Labels are told apart by position as well as by colour: positive
above the strip's middle line, negative below it, none on it.
"""

from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from recap_core.labels.adv_ind import NAMES, NEGATIVE, POSITIVE
from recap_core.reports.content import ValueCurve
from recap_core.reports.numbers import compact, decimal, signed
from recap_core.reports.svg import (
    CURVE_WIDTH,
    Number,
    across,
    curve_box,
    drawing,
    line_path,
    markup,
    node,
    runs,
    ticks,
)

_VALUE_TOP, _VALUE_HEIGHT = 30, 132
_ADVANTAGE_TOP, _ADVANTAGE_HEIGHT = 192, 64
_STRIP_TOP, _STRIP_HEIGHT = 286, 28
_AXIS_TOP = 320
_HEIGHT = 338
_MAX_HOVER_FRAMES = 400


def episode_figure(curve: ValueCurve) -> Markup:
    """Value panel, advantage panel, label strip and time axis of one episode."""
    return drawing(
        *_interventions(curve),
        *_time_axis(curve),
        *_value_panel(curve),
        *_advantage_panel(curve),
        *_label_strip(curve),
        *_hover_frames(curve),
        height=_HEIGHT,
        label=describe(curve),
        class_="plot episode-plot",
    )


def describe(curve: ValueCurve) -> str:
    """The figure in words, for readers who do not see it."""
    counts = np.bincount(curve.adv_ind, minlength=len(NAMES))
    finite = curve.values[np.isfinite(curve.values)]
    spans = [
        f"{decimal(start / curve.fps, 1)} to {decimal(stop / curve.fps, 1)} s"
        for start, stop, driven in runs(curve.is_intervention)
        if driven
    ]
    value = (
        f"V goes from {decimal(float(finite[0]), 2)} to {decimal(float(finite[-1]), 2)}"
        if finite.size
        else "no values"
    )
    return (
        f"Episode {curve.episode_index}, {curve.outcome}, "
        f"{decimal(curve.num_frames / curve.fps, 1)} s: {value}; "
        f"operator drives {', '.join(spans) or 'never'}; "
        + ", ".join(f"{counts[code]} frames {NAMES[code]}" for code in (POSITIVE, NEGATIVE, 0))
    )


def _middles(curve: ValueCurve) -> Float[np.ndarray, " t"]:
    return (np.arange(curve.num_frames) + 0.5) * (CURVE_WIDTH / curve.num_frames)


def _interventions(curve: ValueCurve) -> list[ET.Element]:
    """Shaded spans behind all panels, with a bar on top."""
    shapes: list[ET.Element] = []
    for start, stop, driven in runs(curve.is_intervention):
        if not driven:
            continue
        place = {
            "x": across(start / curve.num_frames),
            "width": across((stop - start) / curve.num_frames),
        }
        bottom = _STRIP_TOP + _STRIP_HEIGHT + 4
        shapes.append(node("rect", class_="human-span", y=6, height=bottom - 6, **place))
        shapes.append(node("rect", class_="human-bar", y=2, height=5, **place))
    return shapes


def _horizontal(y: Number, text: str, *, class_: str = "grid") -> list[ET.Element]:
    """A line across the panel with its label in the left margin."""
    return [
        node("line", class_=class_, x1="0%", x2="100%", y1=y, y2=y),
        node("text", text, class_="tick", x=-8, y=y + 4, text_anchor="end"),
    ]


def _panel_name(text: str, panel_top: Number) -> ET.Element:
    return node("text", text, class_="panel-name", x=0, y=panel_top - 8)


def _value_panel(curve: ValueCurve) -> list[ET.Element]:
    shapes = [_panel_name("value", _VALUE_TOP)]
    for value in (0.0, -0.5, -1.0):
        shapes += _horizontal(_VALUE_TOP - value * _VALUE_HEIGHT, compact(value))
    x = _middles(curve)
    # 2 px of air, so that a line along 0 or -1 is not cut in half.
    lines = [
        node("path", class_=f"curve {class_}", d=line_path(x, 2 - values * _VALUE_HEIGHT))
        for class_, values in (("target", curve.targets), ("value", curve.values))
    ]
    box = curve_box(*lines, top=_VALUE_TOP - 2, height=_VALUE_HEIGHT + 4)
    return [*shapes, box]


def _advantage_panel(curve: ValueCurve) -> list[ET.Element]:
    name = _panel_name("advantage", _ADVANTAGE_TOP)
    finite = curve.advantage[np.isfinite(curve.advantage)]
    if not finite.size:
        return [
            name,
            node(
                "text",
                "no advantage on these frames",
                class_="tick",
                x="50%",
                y=_ADVANTAGE_TOP + _ADVANTAGE_HEIGHT / 2,
                text_anchor="middle",
            ),
        ]
    marks = [0.0] if curve.threshold is None else [0.0, curve.threshold]
    low, high = float(min(*finite, *marks, -0.02)), float(max(*finite, *marks, 0.02))

    def y(value: Float[np.ndarray, " t"] | float) -> Float[np.ndarray, " t"] | float:
        return _ADVANTAGE_HEIGHT * (high - value) / (high - low)

    shapes = [name, *_horizontal(_ADVANTAGE_TOP + float(y(0.0)), "0", class_="grid strong")]
    for value in ticks(low, high, about=2):
        at = float(y(value))
        if abs(at - float(y(0.0))) > 13:
            shapes += _horizontal(_ADVANTAGE_TOP + at, compact(value))
    if curve.threshold is not None:
        at = _ADVANTAGE_TOP + float(y(curve.threshold))
        shapes.append(node("line", class_="threshold", x1="0%", x2="100%", y1=at, y2=at))
    path = line_path(_middles(curve), np.asarray(y(curve.advantage)) + 2)
    box = curve_box(
        node("path", class_="curve advantage", d=path),
        top=_ADVANTAGE_TOP - 2,
        height=_ADVANTAGE_HEIGHT + 4,
    )
    return [*shapes, box]


def _label_strip(curve: ValueCurve) -> list[ET.Element]:
    middle = _STRIP_TOP + _STRIP_HEIGHT / 2
    half = _STRIP_HEIGHT / 2
    shapes = [
        _panel_name("label", _STRIP_TOP),
        node("text", "+", class_="tick", x=-8, y=middle - 2, text_anchor="end"),
        node("text", "\N{MINUS SIGN}", class_="tick", x=-8, y=middle + 13, text_anchor="end"),
        node("line", class_="grid strong", x1="0%", x2="100%", y1=middle, y2=middle),
    ]
    vertical = {
        POSITIVE: (_STRIP_TOP, half - 1),
        NEGATIVE: (middle + 1, half - 1),
    }
    for start, stop, code in runs(curve.adv_ind):
        top, height = vertical.get(code, (middle - 2, 4))
        shapes.append(
            node(
                "rect",
                class_=f"label {NAMES[code]}",
                x=across(start / curve.num_frames),
                y=top,
                width=across((stop - start) / curve.num_frames),
                height=height,
            )
        )
    return shapes


def _time_axis(curve: ValueCurve) -> list[ET.Element]:
    seconds = curve.num_frames / curve.fps
    shapes: list[ET.Element] = []
    for second in ticks(0, seconds, about=6):
        at = second / seconds
        anchor = "start" if at < 0.01 else "end" if at > 0.985 else "middle"
        text = f"{compact(second)} s"
        shapes.append(
            node("line", class_="grid", x1=across(at), x2=across(at), y1=_VALUE_TOP, y2=_AXIS_TOP)
        )
        shapes.append(
            node("text", text, class_="tick", x=across(at), y=_AXIS_TOP + 13, text_anchor=anchor)
        )
    return shapes


def _hover_frames(curve: ValueCurve) -> list[ET.Element]:
    """Invisible cells that tell a frame's numbers when pointed at; left out in long episodes."""
    if curve.num_frames > _MAX_HOVER_FRAMES:
        return []
    return [
        node(
            "rect",
            node("title", _frame_text(curve, t)),
            class_="hover",
            x=across(t / curve.num_frames),
            y=0,
            width=across(1 / curve.num_frames),
            height=_AXIS_TOP,
        )
        for t in range(curve.num_frames)
    ]


def _frame_text(curve: ValueCurve, t: int) -> str:
    driver = "operator" if curve.is_intervention[t] else "policy"
    return (
        f"frame {t}, {decimal(t / curve.fps, 2)} s, {driver}\n"
        f"value {decimal(float(curve.values[t]))}, target {decimal(float(curve.targets[t]))}\n"
        f"advantage {signed(float(curve.advantage[t]))}: {NAMES[curve.adv_ind[t]]}"
    )


def legend_swatch(kind: str) -> Markup:
    """A small sample of one of the figure's marks, for the legend."""
    marks = {
        "value": node("line", class_="curve value", x1=1, x2=25, y1=7, y2=7),
        "rise": node("line", class_="curve rise", x1=1, x2=25, y1=7, y2=7),
        "fall": node("line", class_="curve fall", x1=1, x2=25, y1=7, y2=7),
        "target": node("line", class_="curve target", x1=1, x2=25, y1=7, y2=7),
        "threshold": node("line", class_="threshold", x1=1, x2=25, y1=7, y2=7),
        "human": node("rect", class_="human-span", width=26, height=14),
        "positive": node("rect", class_="label positive", width=26, height=7),
        "negative": node("rect", class_="label negative", y=7, width=26, height=7),
        "none": node("rect", class_="label none", y=5, width=26, height=4),
    }
    extra = node("rect", class_="human-bar", width=26, height=4) if kind == "human" else None
    return markup(
        node("svg", marks[kind], extra, class_="swatch", width=26, height=14, aria_hidden="true")
    )
