"""Camera frames as small JPEG pictures inside the page."""

import base64
import io

from recap_core.arrays import Image

_MAX_WIDTH_PX = 240
_QUALITY = 85


def jpeg_uri(image: Image) -> str:
    """``data:`` address of the image as JPEG, at most 240 px wide."""
    from PIL import Image as Pictures

    picture = Pictures.fromarray(image, mode=None)
    if picture.width > _MAX_WIDTH_PX:
        height = max(1, round(picture.height * _MAX_WIDTH_PX / picture.width))
        picture = picture.resize((_MAX_WIDTH_PX, height), Pictures.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
