"""Camera images of training batches: out of the frame cache, or decoded while training.

What a batch holds is decided by its :data:`FrameOrder`; where its images come from changes nothing
but the speed.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int64, UInt8

from recap_core.data.batches import FrameOrder
from recap_core.data.block_order import Block, BlockOrder
from recap_core.data.frame_cache import FrameCache
from recap_core.data.layout import DatasetMeta, require_features
from recap_core.data.video import decode_frames
from recap_core.data.video_places import VideoPlaces, frames_per_video
from recap_core.progress import Progress

type Images = dict[str, UInt8[np.ndarray, "b px px 3"]]
"""By camera feature."""
type ImageFeed = Callable[[int], Images]
"""The images of the batch of a step."""
type ImageMode = Literal["auto", "cache", "decode"]


@runtime_checkable
class ImageSource(Protocol):
    """Images of a dataset, for batches in any order."""

    def feed(self, order: FrameOrder, rows: slice) -> ImageFeed:
        """The images of ``order.indices(step)[rows]`` for every step; fast if steps rise."""
        ...


def image_source(  # noqa: PLR0913 - options are keyword-only
    meta: DatasetMeta,
    cameras: Sequence[str],
    *,
    image_px: int,
    cache: FrameCache,
    mode: ImageMode = "auto",
    is_in_blocks: bool = False,
    progress: Progress | None = None,
) -> ImageSource:
    """Where the images of a dataset's batches come from.

    Args:
        meta: The dataset.
        cameras: Camera features.
        image_px: Side of the square that images are scaled to, pixels.
        cache: Where decoded videos are kept.
        mode: ``cache`` decodes all videos now, unless the cache has them; ``decode`` decodes every
            batch when it is needed; ``auto`` decides by the cache's budget.
        is_in_blocks: Whether batches come in blocks, so that decoding them keeps up.
        progress: Who watches.

    Raises:
        ColumnError: If there is no such camera.
        DataError: If the images exceed the cache's budget and are not decoded in blocks.
        EpisodeError: If a video is missing, damaged or too short.
    """
    require_features(meta, list(cameras))
    if mode == "auto" and is_in_blocks:
        num_images = sum(frames_per_video(meta, cameras).values())
        mode = "cache" if cache.fits(num_images, image_px=image_px) else "decode"
    if mode == "decode":
        return DecodedImages(meta, cameras, image_px=image_px)
    return CachedImages(meta, cameras, image_px=image_px, cache=cache, progress=progress)


class CachedImages:
    """Images of all frames, in a frame cache."""

    def __init__(
        self,
        meta: DatasetMeta,
        cameras: Sequence[str],
        *,
        image_px: int,
        cache: FrameCache,
        progress: Progress | None = None,
    ) -> None:
        """Decode what the cache does not hold.

        Raises:
            DataError: If the images exceed the cache's budget.
            EpisodeError: If a video is missing, damaged or too short.
        """
        self._cache = cache
        self._image_px = image_px
        self._cameras = list(cameras)
        self._videos = cache.prepare(
            frames_per_video(meta, cameras), image_px=image_px, progress=progress
        )
        self._places = VideoPlaces(meta, cameras, self._videos)

    def feed(self, order: FrameOrder, rows: slice) -> ImageFeed:
        """The images of ``order.indices(step)[rows]`` for every step."""
        return lambda step: self.at(order.indices(step)[rows])

    def at(self, frames: Int[np.ndarray, " b"]) -> Images:
        """Images of any frames, by global index."""
        shape = (len(frames), self._image_px, self._image_px, 3)
        images = {}
        for camera in self._cameras:
            images[camera] = np.empty(shape, np.uint8)
            for image, place in zip(images[camera], self._places.of(camera, frames), strict=True):
                self._read(*place, image)
        return images

    def _read(self, video: Path, position: int, image: UInt8[np.ndarray, "px px 3"]) -> None:
        try:
            self._videos[video].read(position, image)
        except OSError:
            # Another training made room in the cache, or the file is damaged.
            self._videos[video] = self._cache.open(video, image_px=self._image_px)
            self._videos[video].read(position, image)


class DecodedImages:
    """Images that are decoded when they are needed."""

    def __init__(self, meta: DatasetMeta, cameras: Sequence[str], *, image_px: int) -> None:
        self._meta = meta
        self._cameras = list(cameras)
        self._image_px = image_px

    def feed(self, order: FrameOrder, rows: slice) -> ImageFeed:
        """The images of ``order.indices(step)[rows]`` for every step.

        Blocks are decoded in order and ahead; frames in random order one by one, which is slow.
        """
        if isinstance(order, BlockOrder):
            return _BlockFeed(self._at, order, rows)
        return lambda step: self._at(order.indices(step)[rows])

    def _at(self, frames: Int64[np.ndarray, " b"]) -> Images:
        return decode_frames(self._meta, self._cameras, frames, image_px=self._image_px)


class _BlockFeed:
    """Images of blocks: those in use, and the next one, which a thread decodes."""

    def __init__(
        self, decode: Callable[[Int64[np.ndarray, " f"]], Images], order: BlockOrder, rows: slice
    ) -> None:
        self._decode = decode
        self._order = order
        self._rows = rows
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="blocks")
        self._blocks: dict[Block, Future[Images]] = {}

    def __call__(self, step: int) -> Images:
        """The images of the batch of ``step``."""
        frames, blocks, block_index = self._order.draw(step)
        frames, block_index = frames[self._rows], block_index[self._rows]
        self._hold(blocks)
        images: Images = {}
        for i, block in enumerate(blocks):
            chosen = np.flatnonzero(block_index == i)
            rows = np.searchsorted(self._order.block_frames(block), frames[chosen])
            for camera, decoded in self._blocks[block].result().items():
                if camera not in images:
                    images[camera] = np.empty((len(frames), *decoded.shape[1:]), np.uint8)
                # Image by image: indexing with arrays on both sides would copy twice.
                for target, row in zip(chosen.tolist(), rows.tolist(), strict=True):
                    images[camera][target] = decoded[row]
        return images

    def _hold(self, blocks: Sequence[Block]) -> None:
        """Start to decode what is missing of ``blocks`` and let go of all others.

        A pool of which a single block is in use also has its next one decoded: two at a time.
        """
        pools = [block.pool for block in blocks]
        ahead = [self._order.after(block) for block in blocks if pools.count(block.pool) == 1]
        for block in set(self._blocks) - {*blocks, *ahead}:
            self._blocks.pop(block).cancel()
        for block in (*blocks, *ahead):
            if block not in self._blocks:
                frames = self._order.block_frames(block)
                self._blocks[block] = self._thread.submit(self._decode, frames)
