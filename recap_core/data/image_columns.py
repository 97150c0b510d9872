"""Images that are stored in parquet cells: into one video per episode, as all our cameras are."""

import io
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from recap_core.data.columns import Feature
from recap_core.data.feature_statistics import FeatureStatistics, ImageStatistics, sampled_frames
from recap_core.data.video_files import VideoInfo, encode_video, video_feature
from recap_core.errors import ColumnError


def image_video_feature(name: str, feature: Feature, *, fps: int) -> Feature:
    """The feature of the video that an image column becomes.

    Raises:
        ColumnError: If it holds no RGB images, or a side is odd, which yuv420p cannot store.
    """
    shape = list(feature["shape"])
    is_channels_first = len(shape) == 3 and shape[0] == 3 and shape[2] != 3
    sides = shape[1:] if is_channels_first else shape[:2]
    if len(shape) != 3 or 3 not in (shape[0], shape[2]) or any(side % 2 for side in sides):
        raise ColumnError(
            f"feature {name} holds images of shape {shape}; RGB images whose sides are even can "
            f"become a video. Leave it out with --drop {name}."
        )
    return video_feature(
        VideoInfo("h264", "yuv420p", *sides, num_frames=0, starts_with_keyframe=True),
        fps=fps,
    )


def encode_image_column(
    column: pa.ChunkedArray, target: Path, *, feature: Feature, fps: int, where: str
) -> FeatureStatistics:
    """Encode one episode's images; returns the statistics of what was stored before.

    Args:
        column: Cells with encoded images: ``bytes``, as Hugging Face stores them.
        target: New mp4 file; its directory exists.
        feature: What :func:`image_video_feature` gave.
        fps: Frames per second.
        where: What to call the column in an error.

    Raises:
        ColumnError: If a cell is no image of that size.
    """
    wanted = set(sampled_frames(len(column)).tolist())
    statistics = ImageStatistics()

    def images() -> Generator[UInt8[np.ndarray, "height width 3"]]:
        for frame, cell in enumerate(column):
            image = _decode(cell.as_py(), f"{where}, frame {frame}")
            if list(image.shape) != feature["shape"]:
                raise ColumnError(
                    f"{where}, frame {frame}: the image has shape {list(image.shape)}, but "
                    f"{feature['shape']} was promised. Correct meta/info.json, or drop the column."
                )
            if frame in wanted:
                statistics.add(image)
            yield image

    encode_video(images(), target, fps=fps)
    return statistics.result()


def _decode(cell: object, where: str) -> UInt8[np.ndarray, "height width 3"]:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        raise ColumnError(
            f"{where}: the cell holds no image, at most a path to one. Embed the images in the "
            "parquet files, or drop the column."
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ColumnError(
            f"{where}: the cell is no image ({error}). Write the dataset again, or drop the column."
        ) from error
