"""Drawings of a contact sheet: who drove, labels, value and advantage over time, joints, lengths.

Frame t fills the time from t / fps to (t + 1) / fps, as in :mod:`recap_core.reports.value_curves`.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from recap_core.labels.adv_ind import NAMES, NEGATIVE, NONE, POSITIVE
from recap_core.reports.numbers import compact, decimal
from recap_core.reports.svg import (
    CURVE_WIDTH,
    Number,
    across,
    curve_box,
    drawing,
    line_path,
    node,
    runs,
    ticks,
)
from recap_core.reports.tracks import DRIVERS, OPERATOR, Ending, EpisodeTracks, Vector

_DRIVER_TOP, _DRIVER_HEIGHT = 0, 9
_LABEL_TOP, _LABEL_HEIGHT = 16, 22
_VALUE_TOP, _VALUE_HEIGHT = 60, 74
_ADVANTAGE_HEIGHT = 46
_GAP = 22
_AXIS_HEIGHT = 20
_SPARK_HEIGHT = 26
_SPARK_POINTS = 96
_HOVER_POINTS = 600
_NUM_BINS = 16
_HISTOGRAM_HEIGHT = 84


class _Line(NamedTuple):
    class_: str
    y: Float[np.ndarray, " t"]


def episode_drawing(tracks: EpisodeTracks) -> Markup:
    """Strip of drivers, strip of labels, value panel, advantage panel if there is one, time."""
    panels, bottom = _panels(tracks)
    return drawing(
        *_takeovers(tracks, bottom),
        *_time_axis(tracks, bottom),
        *_driver_strip(tracks),
        *_label_strip(tracks),
        *panels,
        height=bottom + _AXIS_HEIGHT,
        label=describe(tracks),
        class_="plot strip-plot",
    )


def describe(tracks: EpisodeTracks) -> str:
    """The drawing in words, for readers who do not see it."""
    spans = [
        f"{decimal(start / tracks.fps, 1)} to {decimal(stop / tracks.fps, 1)} s"
        for start, stop, driven in runs(tracks.driver == OPERATOR)
        if driven
    ]
    counts = np.bincount(tracks.adv_ind, minlength=len(NAMES))
    labels = ", ".join(
        f"{counts[code]} frames {NAMES[code]}" for code in (POSITIVE, NEGATIVE, NONE)
    )
    takeover = f"operator drives {', '.join(spans)}" if spans else "no takeover"
    return f"Episode {tracks.episode_index}, {tracks.ending}: {takeover}; {labels}"


def _span(tracks: EpisodeTracks, start: int, stop: int) -> dict[str, str]:
    return {
        "x": across(start / tracks.num_frames),
        "width": across((stop - start) / tracks.num_frames),
    }


def _takeovers(tracks: EpisodeTracks, bottom: Number) -> list[ET.Element]:
    """Shaded spans behind the panels."""
    return [
        node("rect", class_="human-span", y=0, height=bottom, **_span(tracks, start, stop))
        for start, stop, driven in runs(tracks.driver == OPERATOR)
        if driven
    ]


def _side_text(text: str, y: Number) -> ET.Element:
    return node("text", text, class_="tick", x=-8, y=y, text_anchor="end")


def _panel_name(text: str, top: Number) -> ET.Element:
    return node("text", text, class_="panel-name", x=0, y=top - 4)


def _driver_strip(tracks: EpisodeTracks) -> list[ET.Element]:
    shapes = [_side_text("driver", _DRIVER_TOP + 9)]
    for start, stop, code in runs(tracks.driver):
        name = DRIVERS[code]
        shapes.append(
            node(
                "rect",
                node("title", f"{name}, frames {start} to {stop - 1}"),
                class_=f"driver {name}",
                y=_DRIVER_TOP,
                height=_DRIVER_HEIGHT,
                **_span(tracks, start, stop),
            )
        )
    return shapes


def _label_strip(tracks: EpisodeTracks) -> list[ET.Element]:
    middle, half = _LABEL_TOP + _LABEL_HEIGHT / 2, _LABEL_HEIGHT / 2
    places = {POSITIVE: (_LABEL_TOP, half - 1), NEGATIVE: (middle + 1, half - 1)}
    shapes = [
        _side_text("label", middle + 4),
        node("line", class_="grid strong", x1="0%", x2="100%", y1=middle, y2=middle),
    ]
    for start, stop, code in runs(tracks.adv_ind):
        top, height = places.get(code, (middle - 2, 4))
        shapes.append(
            node(
                "rect",
                node("title", f"{NAMES[code]}, frames {start} to {stop - 1}"),
                class_=f"label {NAMES[code]}",
                y=top,
                height=height,
                **_span(tracks, start, stop),
            )
        )
    return shapes


def _panels(tracks: EpisodeTracks) -> tuple[list[ET.Element], int]:
    """Value and advantage panels, and where they end."""
    shapes: list[ET.Element] = []
    bottom = _LABEL_TOP + _LABEL_HEIGHT + 4
    curves = [
        _Line(class_, values.astype(np.float64))
        for class_, values in (("target", tracks.value_label), ("value", tracks.values))
        if values is not None
    ]
    has_values = tracks.values is not None
    if curves:
        shapes += _panel(curves, (-1.0, 0.0), top=_VALUE_TOP, height=_VALUE_HEIGHT)
        shapes.append(_panel_name("value V" if has_values else "value_label", _VALUE_TOP))
        bottom = _VALUE_TOP + _VALUE_HEIGHT + 4
    advantage = tracks.advantage
    if advantage is not None and not np.isnan(advantage).all():
        marks = [0.02, -0.02] if tracks.threshold is None else [0.02, -0.02, tracks.threshold]
        reach = (
            min(float(np.nanmin(advantage)), *marks),
            max(float(np.nanmax(advantage)), *marks),
        )
        line = _Line("advantage", advantage.astype(np.float64))
        top = bottom + _GAP
        shapes += _panel([line], reach, top=top, height=_ADVANTAGE_HEIGHT)
        shapes.append(_panel_name("advantage", top))
        if tracks.threshold is not None:
            at = top + _height_of(tracks.threshold, reach, _ADVANTAGE_HEIGHT)
            shapes.append(node("line", class_="threshold", x1="0%", x2="100%", y1=at, y2=at))
        bottom = top + _ADVANTAGE_HEIGHT + 4
    return shapes, bottom


def _height_of(value: Number, reach: tuple[float, float], height: Number) -> float:
    low, high = reach
    return float(height * (high - value) / (high - low))


def _panel(
    curves: list[_Line], reach: tuple[float, float], *, top: int, height: int
) -> list[ET.Element]:
    """Curves over time, a line and a number at the ends of the range, and at 0."""
    shapes: list[ET.Element] = []
    zero = top + _height_of(0.0, reach, height)
    for value in {reach[0], reach[1], 0.0}:
        y = top + _height_of(value, reach, height)
        if value and abs(y - zero) < 12:
            continue
        kind = "grid strong" if value == 0 else "grid"
        shapes.append(node("line", class_=kind, x1="0%", x2="100%", y1=y, y2=y))
        shapes.append(_side_text(compact(round(value, 2)), y + 4))
    shapes.sort(key=lambda shape: (shape.tag, float(shape.get("y1") or shape.get("y") or 0)))
    low, high = reach
    lines = []
    for curve in curves:
        num_frames = len(curve.y)
        x = (np.arange(num_frames) + 0.5) * (CURVE_WIDTH / num_frames)
        y = 2 + height * (high - curve.y) / (high - low)
        lines.append(node("path", class_=f"curve {curve.class_}", d=line_path(x, y)))
    return [*shapes, curve_box(*lines, top=top - 2, height=height + 4)]


def _time_axis(tracks: EpisodeTracks, bottom: Number) -> list[ET.Element]:
    shapes: list[ET.Element] = []
    for second in ticks(0, tracks.seconds, about=6):
        at = second / tracks.seconds
        anchor = "start" if at < 0.01 else "end" if at > 0.985 else "middle"
        place = {"x1": across(at), "x2": across(at), "y1": bottom - 3, "y2": bottom + 3}
        shapes.append(node("line", class_="grid strong", **place))
        text = f"{compact(second)} s"
        y = bottom + 15
        shapes.append(node("text", text, class_="tick", x=across(at), y=y, text_anchor=anchor))
    return shapes


def joint_drawing(joint: Float[np.ndarray, " t"]) -> Markup:
    """One joint over the episode, as wide as its cell, scaled to its own range."""
    picks = np.unique(np.linspace(0, len(joint) - 1, _SPARK_POINTS).round().astype(int))
    y = joint[picks].astype(np.float64)
    finite = y[np.isfinite(y)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    middle = np.where(np.isfinite(y), _SPARK_HEIGHT / 2, np.nan)
    inside = _SPARK_HEIGHT - 4
    scaled = middle if high - low < 1e-6 else 2 + inside * (high - y) / (high - low)
    x = (picks + 0.5) * (CURVE_WIDTH / len(joint))
    box = curve_box(
        node("path", class_="curve joint", d=line_path(x, scaled)), top=0, height=_SPARK_HEIGHT
    )
    return drawing(box, height=_SPARK_HEIGHT, label="", class_="plot")


class Joint(NamedTuple):
    """One dimension of the state, in words and as a drawing."""

    name: str
    reach: str
    picture: Markup
    is_constant: bool


def joints(state: Vector) -> list[Joint]:
    """Every dimension of an episode's state with its range."""
    found = []
    for name, values in zip(state.names, state.values.T, strict=True):
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
        is_constant = bool(finite.size and high - low < 1e-6)
        ends = f"{decimal(float(low), 2)} to {decimal(float(high), 2)}"
        reach = f"{decimal(float(low), 2)} throughout" if is_constant else ends
        if finite.size < values.size:
            reach = f"{values.size - finite.size} not finite; {ends}"
        found.append(Joint(name, reach, joint_drawing(values), is_constant))
    return found


def joint_columns(num_joints: int) -> int:
    """Cells in a row of joints: at most eight, and rows equally full (7 for two arms of 7)."""
    return -(-num_joints // -(-num_joints // 8))


def hover_data(tracks: EpisodeTracks) -> dict[str, str]:
    """What the page tells of a frame under the pointer, as attributes of the episode.

    Long episodes are told every so many frames (``stride``). Numbers are thousandths.
    """
    stride = -(-tracks.num_frames // _HOVER_POINTS)
    values = tracks.value_label if tracks.values is None else tracks.values

    def numbers(column: Float[np.ndarray, " t"] | None) -> str:
        if column is None:
            return ""
        return ",".join(f"{1000 * v:.0f}" if np.isfinite(v) else "" for v in column[::stride])

    def digits(codes: np.ndarray) -> str:
        return "".join(str(int(code)) for code in codes[::stride])

    return {
        "data-frames": str(tracks.num_frames),
        "data-fps": str(tracks.fps),
        "data-stride": str(stride),
        "data-values": numbers(values),
        "data-advantage": numbers(tracks.advantage),
        "data-labels": digits(tracks.adv_ind),
        "data-drivers": digits(tracks.driver),
    }


def length_histogram(lengths_s: Mapping[Ending, Float[np.ndarray, " _"]]) -> Markup:
    """How long episodes last, by outcome, one outcome on top of the other.

    Args:
        lengths_s: Durations by outcome; at least one.
    """
    everything = np.concatenate(list(lengths_s.values()))
    low, high = float(everything.min()), float(everything.max())
    # Episodes of one length make one bar in the middle.
    edges = np.linspace(*((low, high) if high > low else (0.0, 2 * low)), _NUM_BINS + 1)
    counts = {ending: np.histogram(part, edges)[0] for ending, part in lengths_s.items()}
    tallest = int(np.sum(list(counts.values()), axis=0).max())
    bars: list[ET.Element] = []
    width = 1 / (len(edges) - 1)
    for i, (start, stop) in enumerate(itertools.pairwise(edges.tolist())):
        top = float(_HISTOGRAM_HEIGHT)
        for ending, numbers in counts.items():
            number = int(numbers[i])
            height = (_HISTOGRAM_HEIGHT - 4) * number / tallest
            top -= height
            if number:
                words = f"{decimal(start, 1)} to {decimal(stop, 1)} s: {number} {ending}"
                place = {"x": across((i + 0.06) * width), "width": across(0.88 * width)}
                title = node("title", words)
                class_ = f"length {ending}"
                bars.append(node("rect", title, class_=class_, y=top, height=height, **place))
    floor = {"x1": "0%", "x2": "100%", "y1": _HISTOGRAM_HEIGHT, "y2": _HISTOGRAM_HEIGHT}
    ends = [
        node("line", class_="grid strong", **floor),
        _axis_text(f"{decimal(float(edges[0]), 1)} s", 0, "start"),
        _axis_text(f"{decimal(float(edges[-1]), 1)} s", 1, "end"),
    ]
    label = (
        f"{len(everything)} episodes last {decimal(low, 1)} to {decimal(high, 1)} s, "
        f"{decimal(float(np.median(everything)), 1)} s in the middle"
    )
    return drawing(*bars, *ends, height=_HISTOGRAM_HEIGHT + 18, label=label, class_="plot")


def _axis_text(text: str, at: Number, anchor: str) -> ET.Element:
    place = {"x": across(at), "y": _HISTOGRAM_HEIGHT + 15, "text_anchor": anchor}
    return node("text", text, class_="tick", **place)
