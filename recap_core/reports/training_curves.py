"""Loss over steps, one small picture per training run."""

import math
from collections.abc import Callable
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from recap_core.reports.content import TrainingCurve
from recap_core.reports.numbers import compact
from recap_core.reports.svg import (
    CURVE_WIDTH,
    across,
    curve_box,
    drawing,
    line_path,
    node,
    ticks,
)

_TOP, _PLOT_HEIGHT = 8, 130
_HEIGHT = 164
_LOG_RATIO = 20

type _Scale = Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]]


def loss_figure(curve: TrainingCurve) -> Markup:
    """The loss, and the held-out loss where there is one.

    The axis is logarithmic where the losses span more than a factor of 20.
    """
    losses = _finite(curve)
    if not losses.size:
        text = node("text", "no finite loss", class_="tick", x="50%", y=70, text_anchor="middle")
        return drawing(text, height=_HEIGHT, label=f"{curve.name}: no finite loss", class_="plot")
    low, high = float(losses.min()), float(losses.max())
    is_log = low > 0 and high / low > _LOG_RATIO
    scale = _log_scale(low, high) if is_log else _linear_scale(low, high)
    last_step = float(max(curve.steps[-1], 1))
    lines = [_line("training", curve.steps / last_step, scale(curve.loss))]
    if curve.held_out_steps is not None and curve.held_out_loss is not None:
        lines.append(
            _line("held-out", curve.held_out_steps / last_step, scale(curve.held_out_loss))
        )
    marks = _log_ticks(low, high) if is_log else ticks(*_linear_range(low, high), about=4)
    return drawing(
        *_value_axis(marks, scale),
        *_step_axis(last_step),
        curve_box(*lines, top=_TOP - 2, height=_PLOT_HEIGHT + 4),
        height=_HEIGHT,
        label=f"{curve.name}: {curve.loss_name} from {losses[0]:.4g} to {curve.loss[-1]:.4g}",
        class_="plot",
    )


def is_logarithmic(curve: TrainingCurve) -> bool:
    """Whether :func:`loss_figure` has a logarithmic axis."""
    losses = _finite(curve)
    return bool(losses.size and losses.min() > 0 and losses.max() / losses.min() > _LOG_RATIO)


def _finite(curve: TrainingCurve) -> Float[np.ndarray, " n"]:
    parts = [curve.loss] + ([] if curve.held_out_loss is None else [curve.held_out_loss])
    losses = np.concatenate(parts)
    return losses[np.isfinite(losses)]


def _linear_range(low: float, high: float) -> tuple[float, float]:
    """From zero, unless the losses are negative."""
    bottom = min(low, 0.0)
    return bottom, high if high > bottom else bottom + 1


def _linear_scale(low: float, high: float) -> _Scale:
    bottom, top = _linear_range(low, high)
    return lambda loss: (top - loss) / (top - bottom)


def _log_scale(low: float, high: float) -> _Scale:
    span = math.log(high / low)
    # A loss of zero or below has no place on this axis; it is drawn as a gap.
    return lambda loss: (math.log(high) - np.log(np.where(loss > 0, loss, np.nan))) / span


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with their multiples of 3 where the powers are few."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [10.0**e for e in exponents]
    if sum(low <= m <= high for m in marks) < 3:
        marks += [3 * m for m in marks]
    return sorted(float(f"{m:.6g}") for m in marks if low <= m <= high)


def _line(
    class_: str, share: Float[np.ndarray, " n"], depth: Float[np.ndarray, " n"]
) -> ET.Element:
    path = line_path(share * CURVE_WIDTH, depth * _PLOT_HEIGHT + 2)
    return node("path", class_=f"curve {class_}", d=path)


def _value_axis(marks: list[float], scale: _Scale) -> list[ET.Element]:
    shapes = []
    for mark in marks:
        y = _TOP + _PLOT_HEIGHT * float(scale(np.array([mark]))[0])
        shapes.append(node("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        shapes.append(node("text", compact(mark), class_="tick", x=-8, y=y + 4, text_anchor="end"))
    return shapes


def _step_axis(last_step: float) -> list[ET.Element]:
    shapes = []
    for step in ticks(0, last_step, about=4):
        at = step / last_step
        anchor = "start" if at < 0.01 else "end" if at > 0.95 else "middle"
        shapes.append(
            node("text", compact(step), class_="tick", x=across(at), y=158, text_anchor=anchor)
        )
    return shapes
