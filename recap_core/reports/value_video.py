"""An episode's camera images with its value drawn below, frame by frame, for a video.

The curve and the labels appear as time passes; who drove is known in advance and shaded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from recap_core.labels.adv_ind import NEGATIVE, POSITIVE
from recap_core.reports.svg import Number, runs

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

type Picture = UInt8[np.ndarray, "_ _ 3"]
"""RGB; cameras and drawings differ in size."""

CAMERA_HEIGHT, MIN_WIDTH, MAX_WIDTH = 320, 640, 1600
_HEADER, _PLOT, _LABELS, _MARGIN, _LEFT = 34, 150, 16, 12, 44
STRIP_HEIGHT = _HEADER + _PLOT + _LABELS + 3 * _MARGIN

_PAGE, _INK, _MUTED, _GRID = (21, 23, 27), (231, 229, 224), (150, 156, 165), (58, 63, 71)
_HUMAN, _HUMAN_SPAN, _TARGET = (217, 147, 199), (62, 46, 62), (110, 116, 125)
_COLOURS = {POSITIVE: (86, 180, 233), NEGATIVE: (232, 128, 60)}
_NO_LABEL = (118, 124, 133)
_ENDINGS = {"success": (98, 176, 234), "failure": (240, 154, 91)}


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedEpisode:
    """What is drawn of an episode besides its images."""

    title: str
    fps: int
    outcome: str
    """``success``, ``failure`` or ``unknown``."""
    values: Float[np.ndarray, " t"]
    """V(o_t) in [-1, 0]; NaN where there is none."""
    is_intervention: Bool[np.ndarray, " t"]
    adv_ind: Int[np.ndarray, " t"] | None = None
    """Label codes; None without labels."""


def annotated_frames(
    episode: AnnotatedEpisode, images: Iterable[Mapping[str, Picture]]
) -> Iterator[Picture]:
    """One picture per frame, all of one even size.

    Args:
        episode: What to draw.
        images: Camera images by camera, frame by frame; empty mappings without cameras.
    """
    strip: _Strip | None = None
    for t, cameras in enumerate(images):
        row = _camera_row(list(cameras.values()))
        strip = strip or _Strip(episode, row.shape[1])
        if row.shape[0] and episode.is_intervention[t]:
            row[-6:] = _HUMAN
        yield np.concatenate([row, strip.at(t)])


def _camera_row(images: Sequence[Picture]) -> Picture:
    """Cameras side by side at one height, centred in the page's width; no rows without any."""
    from PIL import Image as Pictures

    height = CAMERA_HEIGHT
    ratio = sum(image.shape[1] / image.shape[0] for image in images)
    if ratio * height > MAX_WIDTH:
        height = int(MAX_WIDTH / ratio) // 2 * 2
    scaled = [
        np.asarray(
            Pictures.fromarray(image, mode=None).resize(
                (round(image.shape[1] * height / image.shape[0]), height),
                Pictures.Resampling.BILINEAR,
            )
        )
        for image in images
    ]
    used = sum(image.shape[1] for image in scaled)
    width = max(MIN_WIDTH, used + used % 2)
    row = np.full((height if scaled else 0, width, 3), _PAGE, np.uint8)
    left = (width - used) // 2
    for image in scaled:
        row[:, left : left + image.shape[1]] = image
        left += image.shape[1]
    return row


class _Strip:
    """The drawing below the cameras: drawn once in full and once empty, then uncovered."""

    def __init__(self, episode: AnnotatedEpisode, width: int) -> None:
        self._episode = episode
        self._width = width
        self._empty = self._drawn(with_data=False)
        self._full = self._drawn(with_data=True)

    def at(self, t: int) -> Picture:
        """The strip when frame ``t`` is shown."""
        from PIL import Image as Pictures
        from PIL import ImageDraw

        pixels = self._empty.copy()
        # The curve ends in the middle of its frame, the label at the end of it.
        now, end = round(self._x(t + 0.5)), round(self._x(t + 1))
        pixels[:, :now] = self._full[:, :now]
        pixels[-_LABELS - _MARGIN :, :end] = self._full[-_LABELS - _MARGIN :, :end]
        picture = Pictures.fromarray(pixels, mode=None)
        draw = ImageDraw.Draw(picture)
        draw.line([(now, _HEADER), (now, _HEADER + _PLOT)], fill=_MUTED, width=1)
        value = float(self._episode.values[t])
        if np.isfinite(value):
            y = _y(value)
            draw.ellipse([now - 5, y - 5, now + 5, y + 5], fill=_INK)
        self._header(draw, t, value)
        return np.asarray(picture)

    def _x(self, t: Number) -> float:
        inner = self._width - _LEFT - _MARGIN
        return _LEFT + inner * float(t) / len(self._episode.values)

    def _drawn(self, *, with_data: bool) -> Picture:
        from PIL import Image as Pictures
        from PIL import ImageDraw

        episode = self._episode
        picture = Pictures.new("RGB", (self._width, STRIP_HEIGHT), _PAGE)
        draw = ImageDraw.Draw(picture)
        for start, stop, driven in runs(episode.is_intervention):
            if driven:
                box = [self._x(start), _HEADER, self._x(stop), _HEADER + _PLOT]
                draw.rectangle(box, fill=_HUMAN_SPAN)
                draw.rectangle([box[0], _HEADER - 4, box[2], _HEADER - 1], fill=_HUMAN)
        for value in (0.0, -0.5, -1.0):
            draw.line([(_LEFT, _y(value)), (self._width - _MARGIN, _y(value))], fill=_GRID)
            draw.text(
                (_LEFT - 8, _y(value)), f"{value:g}", fill=_MUTED, font=_font(13), anchor="rm"
            )
        if with_data:
            self._curve(draw)
            self._label_strip(draw)
        return np.asarray(picture)

    def _curve(self, draw: "ImageDraw") -> None:
        values = self._episode.values
        for start, stop, is_known in runs(np.isfinite(values)):
            if is_known:
                points = [(self._x(t + 0.5), _y(float(values[t]))) for t in range(start, stop)]
                draw.line(points, fill=_INK, width=3, joint="curve")

    def _label_strip(self, draw: "ImageDraw") -> None:
        codes = self._episode.adv_ind
        if codes is None:
            return
        top = _HEADER + _PLOT + 2 * _MARGIN
        for start, stop, code in runs(codes):
            box = [self._x(start), top, self._x(stop) - 1, top + _LABELS]
            draw.rectangle(box, fill=_COLOURS.get(code, _NO_LABEL))

    def _header(self, draw: "ImageDraw", t: int, value: Number) -> None:
        episode, y = self._episode, _HEADER // 2 - 2
        driver = ", operator drives" if episode.is_intervention[t] else ""
        # Pillow's font has no minus sign but the hyphen.
        text = f"{t / episode.fps:.1f} s   V {value:.2f}{driver}"
        draw.text((_LEFT, y), text, fill=_INK, font=_font(16), anchor="lm")
        colour = _ENDINGS.get(episode.outcome, _MUTED)
        right = self._width - _MARGIN
        draw.text((right, y), episode.outcome, fill=colour, font=_font(16), anchor="rm")
        length = draw.textlength(episode.outcome, font=_font(16))
        draw.text((right - length - 16, y), episode.title, fill=_MUTED, font=_font(13), anchor="rm")


def _y(value: Number) -> int:
    return round(_HEADER + 4 - value * (_PLOT - 8))


def _font(size: int):  # noqa: ANN202 - Pillow has several font types
    """Pillow's own font: it needs no file."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
