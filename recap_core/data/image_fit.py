"""Images scaled to what a model takes, with the pixels that openpi's client and transforms make."""

from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

RESIZE_VERSION: Final = 1
"""Raise it when the pixels change, so that cached images are made again."""


def fit_image(
    image: UInt8[np.ndarray, "_ _ 3"], height_px: int, width_px: int
) -> UInt8[np.ndarray, "height_px width_px 3"]:
    """Scale to fit without distortion, centred on black.

    Odd padding puts the extra row or column at the bottom or right.
    """
    height, width, _ = image.shape
    if (height, width) == (height_px, width_px):
        return image
    ratio = max(width / width_px, height / height_px)
    # Truncated, not rounded: the published policies have seen it this way.
    size = int(width / ratio), int(height / ratio)
    left, top = (width_px - size[0]) // 2, (height_px - size[1]) // 2
    canvas = np.zeros((height_px, width_px, 3), dtype=np.uint8)
    scaled = Image.fromarray(image).resize(size, resample=Image.Resampling.BILINEAR)
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(scaled)
    return canvas
