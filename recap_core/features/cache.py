"""Tokens of frozen encoders, computed once per video.

A file of the :mod:`recap_core.data.video_cache` holds the tokens of a video's frames in the compute
dtype, [n, p, d]. Its name carries the digest of the encoder's weights, the dtype, the image size
and the versions of the code. At full size a frame of one camera takes 590 kB.
"""

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from recap_core.data.image_fit import fit_image
from recap_core.data.video_cache import CachedVideo, Draft, ItemKind, VideoCache
from recap_core.data.video_files import frame_time_s, read_frames_in_order, rgb
from recap_core.errors import DataError
from recap_core.features.encoder import FrozenEncoder
from recap_core.lineage.digest_cache import DigestCache
from recap_core.progress import Bar, Progress, Silent

_VIDEOS_AT_ONCE = 4
_BATCHES_ON_DEVICE = 2


class FeatureCache:
    """A directory of encoded videos, used by many processes at once.

    Args:
        directory: Made when the first video is encoded.
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
            directory, suffix=".tokens", digests=digests, budget_bytes=budget_bytes
        )

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._files.directory

    def fits(self, num_images: int, encoder: FrozenEncoder) -> bool:
        """Whether the tokens of so many images stay within the budget."""
        return num_images * encoder.item_bytes <= self._files.budget_bytes

    def found(
        self, videos: Mapping[Path, int], encoder: FrozenEncoder
    ) -> dict[Path, CachedVideo] | None:
        """The tokens of some videos, if all of them were computed before.

        Raises:
            EpisodeError: If a video cannot be read.
        """
        opened: dict[Path, CachedVideo] = {}
        for video, path in self._files.named(list(videos), encoder.recipe).items():
            cached = self._files.trusted(path, _tokens(encoder))
            if cached is None:
                return None
            opened[video] = cached
        return opened

    def prepare(
        self,
        videos: Mapping[Path, int],
        encoder: FrozenEncoder,
        *,
        progress: Progress | None = None,
    ) -> dict[Path, CachedVideo]:
        """Encode what is missing of some videos; a later call continues after the last whole one.

        Several videos are decoded ahead while the device encodes. Files of other videos and other
        encoders make room if they have to, those used longest ago first.

        Args:
            videos: Videos, and how many frames each has.
            encoder: The frozen encoder.
            progress: Who watches.

        Returns:
            Every video's tokens.

        Raises:
            DataError: If the tokens exceed the budget.
            EpisodeError: If a video is missing or damaged.
        """
        kind, files = _tokens(encoder), self._files.named(list(videos), encoder.recipe)
        frames = {files[video]: num_frames for video, num_frames in videos.items()}
        needed, budget = sum(frames.values()) * kind.item_bytes, self._files.budget_bytes
        if needed > budget:
            raise DataError(
                f"the encoder's tokens of {sum(frames.values())} images need {needed / 1e9:.1f} "
                f"GB, {self.directory} may take {budget / 1e9:.1f} GB. Free some disk space or "
                "raise feature_cache_gb, or set features to recompute."
            )
        self._files.make_room(frames, kind)
        done = {path: self._files.trusted(path, kind) for path in frames}
        # Videos of equal content share a file; the same order everywhere, so that processes that
        # wait for each other's files never wait in a circle.
        missing = {p: v for v, p in files.items() if done[p] is None}
        num_missing = sum(frames[path] for path in missing)
        label = f"encode {num_missing * kind.item_bytes / 1e9:.1f} GB"
        with (progress or Silent()).bar(label, num_missing) as bar:
            done |= _Pass(self._files, kind, encoder, bar).over(sorted(missing.items()))
        return {video: _present(done[path]) for video, path in files.items()}

    def open(self, video: Path, encoder: FrozenEncoder) -> CachedVideo:
        """One video's tokens, computed if they are missing or damaged.

        Raises:
            EpisodeError: If the video is missing or damaged.
        """
        path = self._files.named([video], encoder.recipe)[video]
        with Silent().bar("", 0) as bar:
            found = _Pass(self._files, _tokens(encoder), encoder, bar).over([(path, video)])
        return found[path]


def _tokens(encoder: FrozenEncoder) -> ItemKind:
    return ItemKind("encoded video", b"recaptok", encoder.item_bytes, encoder.item_bytes)


def _present(cached: CachedVideo | None) -> CachedVideo:
    assert cached is not None  # noqa: S101 - every missing one was made
    return cached


class _Block(NamedTuple):
    images: UInt8[np.ndarray, "b px px 3"]
    times_s: list[float]


class _Stream:
    """A video's images in blocks, one of them decoded ahead."""

    def __init__(self, video: Path, draft: Draft, size: tuple[int, int]) -> None:
        """Start to decode; ``size``: side of the images, and images per block."""
        self.draft = draft
        self._blocks = _decoded(video, *size)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")
        self._next: Future[_Block | None] = self._thread.submit(next, self._blocks, None)

    def next(self) -> _Block | None:
        """The next block; None at the end."""
        block = self._next.result()
        self._next = self._thread.submit(next, self._blocks, None)
        return block

    def close(self) -> None:
        """Stop decoding, and close the video."""
        self._thread.shutdown(cancel_futures=True)
        self._blocks.close()


def _decoded(video: Path, image_px: int, block: int) -> Generator[_Block]:
    with closing(read_frames_in_order(video)) as frames:
        while chunk := list(islice(frames, block)):
            images = [fit_image(rgb(frame), image_px, image_px) for frame in chunk]
            yield _Block(np.stack(images), [frame_time_s(frame) for frame in chunk])


class _Pass:
    """One pass of the encoder over some videos, a few of them side by side."""

    def __init__(self, files: VideoCache, kind: ItemKind, encoder: FrozenEncoder, bar: Bar) -> None:
        self._files = files
        self._kind = kind
        self._encoder = encoder
        self._bar = bar
        self._done: dict[Path, CachedVideo] = {}
        self._num_written = 0
        self._pending: deque[tuple[_Stream, _Block, Any]] = deque()
        """On the device, oldest first."""

    def over(self, videos: list[tuple[Path, Path]]) -> dict[Path, CachedVideo]:
        """Encode (file, video) pairs; what they hold, by file."""
        waiting = iter(videos)
        with ExitStack() as stack:
            active: deque[tuple[_Stream, ExitStack]] = deque()
            while True:
                while len(active) < _VIDEOS_AT_ONCE and (opened := self._opened(waiting, stack)):
                    active.append(opened)
                if not active:
                    return self._done
                stream, held = active.popleft()
                block = stream.next()
                if block is None:
                    self._write(until=stream)
                    self._done[stream.draft.path] = stream.draft.publish()
                    held.close()
                    continue
                self._pending.append((stream, block, self._encoder.encode(block.images)))
                active.append((stream, held))
                if len(self._pending) > _BATCHES_ON_DEVICE:
                    self._write_oldest()

    def _opened(
        self, waiting: Iterator[tuple[Path, Path]], stack: ExitStack
    ) -> tuple[_Stream, ExitStack] | None:
        """The next video that nobody has encoded yet, its file claimed; None: there is none."""
        for path, video in waiting:
            held = stack.enter_context(ExitStack())
            place = held.enter_context(self._files.writing(path, self._kind))
            if isinstance(place, Draft):
                size = self._encoder.image_px, self._encoder.batch_size
                stream = _Stream(video, place, size)
                held.callback(stream.close)
                return stream, held
            self._done[path] = place
            held.close()
        return None

    def _write(self, *, until: _Stream) -> None:
        """Write what is on the device, up to the last block of a stream."""
        while any(stream is until for stream, _, _ in self._pending):
            self._write_oldest()

    def _write_oldest(self) -> None:
        stream, block, tokens = self._pending.popleft()
        stream.draft.append(np.asarray(tokens)[: len(block.images)], block.times_s)
        self._num_written += len(block.images)
        self._bar.update(self._num_written)
