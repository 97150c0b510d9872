"""Camera frames to model inputs (OPENPI_CONTRACT §6).

The resize is Pillow's bilinear one, as in openpi's client and transforms.
"""

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image as PillowImage

from recap_core.errors import DataError

BLACK = -1.0
"""Pixel value of a black model input."""


def to_uint8_hwc(
    images: Shaped[np.ndarray, "b _ _ _"], *, feature: str
) -> UInt8[np.ndarray, "b height width 3"]:
    """A batch of camera frames as 8-bit RGB, channels last.

    Args:
        images: uint8 (0-255) or float (0-1, truncated to 8 bits as openpi does), channels first or
            last.
        feature: Camera feature, for the error message.

    Raises:
        DataError: If no axis holds three channels, or the type is another one.
    """
    if images.shape[-1] != 3:
        if images.shape[1] != 3:
            raise DataError(
                f"{feature} has shape {images.shape}; expected (batch, height, width, 3) or "
                "(batch, 3, height, width)."
            )
        images = np.moveaxis(images, 1, -1)
    if np.issubdtype(images.dtype, np.floating):
        images = (255 * images).astype(np.uint8)
    if images.dtype != np.uint8:
        raise DataError(
            f"{feature} has type {images.dtype}; expected uint8 (0-255) or float (0-1)."
        )
    return images


def resize_with_pad(
    images: UInt8[np.ndarray, "b _ _ 3"], height_px: int, width_px: int
) -> UInt8[np.ndarray, "b height_px width_px 3"]:
    """Scale to fit without distortion, centred on black.

    Odd padding puts the extra row or column at the bottom or right.
    """
    height, width = images.shape[1:3]
    if (height, width) == (height_px, width_px):
        return images
    ratio = max(width / width_px, height / height_px)
    # Truncated, not rounded: the published policies have seen it this way.
    scaled_height, scaled_width = int(height / ratio), int(width / ratio)
    top, left = (height_px - scaled_height) // 2, (width_px - scaled_width) // 2
    padded = np.zeros((len(images), height_px, width_px, 3), np.uint8)
    for source, target in zip(images, padded, strict=True):
        scaled = PillowImage.fromarray(source).resize(
            (scaled_width, scaled_height), resample=PillowImage.Resampling.BILINEAR
        )
        target[top : top + scaled_height, left : left + scaled_width] = np.asarray(scaled)
    return padded


def to_model_range(images: UInt8[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """0-255 to float32 in [-1, 1]."""
    return images.astype(np.float32) / 255 * 2 - 1
