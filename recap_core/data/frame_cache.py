"""Videos decoded once, at a model's image size, for every training that reads them.

A file of the :mod:`recap_core.data.video_cache` holds the frames of one video, uint8 [n, px, px,
3]; its name carries image size and version of the resize. A relabelled copy or a merge decodes
nothing again.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from recap_core.data.image_fit import RESIZE_VERSION, fit_image
from recap_core.data.video_cache import CachedVideo, Draft, ItemKind, VideoCache
from recap_core.data.video_files import frame_time_s, read_frames_in_order, rgb
from recap_core.errors import DataError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.progress import Progress, Silent

_MAX_DECODERS = 4


class FrameCache:
    """A directory of decoded videos, used by many processes at once.

    Args:
        directory: Made when the first video is decoded.
        digests: Digests of the videos; the store's digest cache.
        budget_bytes: Most that the files may take; None: 80 % of what is free on the disk, the
            files themselves counted as free.
    """

    def __init__(
        self,
        directory: Path,
        *,
        digests: DigestCache | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        self._files = VideoCache(
            directory, suffix=".frames", digests=digests, budget_bytes=budget_bytes
        )

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._files.directory

    @property
    def budget_bytes(self) -> int:
        """Most that the files may take."""
        return self._files.budget_bytes

    def prepare(
        self,
        videos: Mapping[Path, int],
        *,
        image_px: int,
        progress: Progress | None = None,
    ) -> dict[Path, CachedVideo]:
        """Decode what is missing of some videos, in several threads.

        Files of other videos make room if they have to, those used longest ago first.

        Args:
            videos: Videos, and how many frames each has.
            image_px: Side of the square that images are scaled to, pixels.
            progress: Who watches.

        Returns:
            Every video's images.

        Raises:
            DataError: If the images exceed the budget.
            EpisodeError: If a video is missing or damaged.
        """
        files = self._files.named(list(videos), _recipe(image_px))
        frames = {files[video]: num_frames for video, num_frames in videos.items()}
        kind = _images(image_px)
        needed = sum(frames.values()) * kind.item_bytes
        if needed > self.budget_bytes:
            raise DataError(
                f"decoded images need {needed / 1e9:.1f} GB, {self.directory} may take "
                f"{self.budget_bytes / 1e9:.1f} GB. Free some disk space or raise image_cache_gb, "
                "set sampling.order to blocks, or lower model.image_px."
            )
        self._files.make_room(frames, kind)
        opened: dict[Path, CachedVideo] = {}
        threads = ThreadPoolExecutor(min(_MAX_DECODERS, os.cpu_count() or 1))
        with (progress or Silent()).bar("decode videos", len(videos)) as bar:
            try:
                jobs = [threads.submit(self._open, v, files[v], image_px) for v in videos]
                for video, job in zip(videos, jobs, strict=True):
                    opened[video] = job.result()
                    bar.update(len(opened))
            finally:
                threads.shutdown(cancel_futures=True)
        return opened

    def fits(self, num_frames: int, *, image_px: int) -> bool:
        """Whether so many images stay within the budget."""
        return num_frames * _images(image_px).item_bytes <= self.budget_bytes

    def open(self, video: Path, *, image_px: int) -> CachedVideo:
        """One video's images, decoded if they are missing or damaged.

        Raises:
            EpisodeError: If the video is missing or damaged.
        """
        return self._open(video, self._files.named([video], _recipe(image_px))[video], image_px)

    def _open(self, video: Path, path: Path, image_px: int) -> CachedVideo:
        kind = _images(image_px)
        found = self._files.trusted(path, kind)
        if found is not None:
            return found
        with self._files.writing(path, kind) as place:
            if isinstance(place, Draft):
                return _decode(video, place, image_px)
            return place


def _images(image_px: int) -> ItemKind:
    return ItemKind("decoded video", b"recapvid", image_px, 3 * image_px**2)


def _recipe(image_px: int) -> str:
    return f"{image_px}px-v{RESIZE_VERSION}"


def _decode(video: Path, draft: Draft, image_px: int) -> CachedVideo:
    with closing(read_frames_in_order(video)) as frames:
        for frame in frames:
            draft.append(fit_image(rgb(frame), image_px, image_px), [frame_time_s(frame)])
    return draft.publish()
