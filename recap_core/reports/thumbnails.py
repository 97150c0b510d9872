"""Camera frames as small JPEG pictures inside the page."""

import base64
import io

from recap_core.arrays import Image


def jpeg_uri(image: Image, *, max_width_px: int = 240, quality: int = 85) -> str:
    """``data:`` address of the image as JPEG.

    Args:
        image: The frame.
        max_width_px: Wider images are scaled down.
        quality: Of the JPEG, 1 to 95.
    """
    content = jpeg_bytes(image, max_width_px=max_width_px, quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"


def jpeg_bytes(image: Image, *, max_width_px: int | None = None, quality: int) -> bytes:
    """The image as JPEG, scaled down to ``max_width_px`` if that is given."""
    from PIL import Image as Pictures

    picture = Pictures.fromarray(image, mode=None)
    if max_width_px is not None and picture.width > max_width_px:
        height = max(1, round(picture.height * max_width_px / picture.width))
        picture = picture.resize((max_width_px, height), Pictures.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
