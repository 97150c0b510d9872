"""Camera frames to model inputs (OPENPI_CONTRACT §6).

The resize is that of openpi's client and transforms.
"""

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from recap_core.data.image_fit import fit_image
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
    """A batch of images, each scaled to fit without distortion, centred on black."""
    if images.shape[1:3] == (height_px, width_px):
        return images
    return np.stack([fit_image(image, height_px, width_px) for image in images])


def to_model_range(images: UInt8[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """0-255 to float32 in [-1, 1]."""
    return images.astype(np.float32) / 255 * 2 - 1
