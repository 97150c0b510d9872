"""One camera of an open episode: images wait in a bounded queue for a thread that encodes them.

Whoever records only copies the image into a buffer of a pool. When all buffers wait, images are
dropped and counted; times stand for encoded images only.
"""

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from recap_core.collection.camera_video import ENCODER_OPTIONS, CameraVideo
from recap_core.config.recording import RecordingConfig
from recap_core.errors import EpisodeError
from recap_core.lineage.files import sync
from recap_core.rollout.live import CameraFormat

NICENESS = 5
"""Encoders give way to the control loop."""
NUM_WARM = 2
"""Buffers that are made before the first image: fresh memory costs ten times a copy."""


class VideoSettings(NamedTuple):
    """How all cameras of a session are encoded."""

    fps: int
    options: Mapping[str, str]
    """Of the encoder."""


def video_settings(config: RecordingConfig, fps: int) -> VideoSettings:
    """The simulator's recorder's settings, with the preset, quality and keyframes of a config."""
    chosen = {
        "preset": config.preset,
        "crf": str(config.crf),
        "g": str(config.keyframe_interval),
    }
    return VideoSettings(fps, {**ENCODER_OPTIONS, **chosen})


class ImagePool:
    """Buffers for the images of one camera, used again and again.

    Args:
        size: Of the images.
        capacity: Most buffers there may be.
    """

    def __init__(self, size: CameraFormat, capacity: int) -> None:
        self.size = size
        self.capacity = capacity
        self._free: deque[np.ndarray] = deque()
        self._num_made = 0
        for _ in range(min(NUM_WARM, capacity)):
            self._free.append(self._make())

    def take(self) -> UInt8[np.ndarray, "height width 3"] | None:
        """A buffer; None: all are in use."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make() if self._num_made < self.capacity else None

    def give_back(self, buffer: UInt8[np.ndarray, "height width 3"]) -> None:
        """Offer a buffer again."""
        self._free.append(buffer)

    @property
    def used_share(self) -> float:
        """Share of the capacity that waits for the encoder, 0 to 1."""
        return (self._num_made - len(self._free)) / self.capacity

    def _make(self) -> np.ndarray:
        self._num_made += 1
        return np.full((*self.size, 3), 0, dtype=np.uint8)  # written to, so that it is there


class CameraEncoder:
    """The video of one camera of one episode, and the times of its frames.

    The methods are the control loop's; the attributes may be read anywhere.

    Args:
        path: The ``.mp4`` to write.
        settings: How.
        pool: Buffers of this camera.
    """

    def __init__(self, path: Path, settings: VideoSettings, pool: ImagePool) -> None:
        self._path = path
        self._settings = settings
        self._pool = pool
        self._waiting: queue.SimpleQueue[tuple[np.ndarray, float] | None] = queue.SimpleQueue()
        self._copied: list[tuple[np.ndarray, float]] = []
        """Images that the thread does not know of yet."""
        self._is_abandoned = False
        self.times: list[float] = []
        """Unix seconds of every encoded image."""
        self.num_bytes = 0
        self.problem: str | None = None
        """Why this video is lost; None: all is well."""
        self._thread = threading.Thread(target=self._run, name=f"encode {path.stem}", daemon=True)
        self._thread.start()

    def copy(self, image: UInt8[np.ndarray, "height width 3"], time_s: float) -> bool:
        """Copy an image, for :meth:`send`; False: there is no room, and it is lost."""
        if self.problem is not None:
            return False
        buffer = self._pool.take()
        if buffer is None:
            return False
        np.copyto(buffer, image)
        self._copied.append((buffer, time_s))
        return True

    def send(self) -> None:
        """Wake the thread for what was copied: after all cameras' copies, or it would slow them."""
        for item in self._copied:
            self._waiting.put(item)
        self._copied.clear()

    def end(self) -> None:
        """Say that no image follows; :meth:`finish` waits."""
        self._waiting.put(None)

    def finish(self, timeout_s: float) -> None:
        """Wait until all images are encoded and on the disk; after :meth:`end`.

        Raises:
            EpisodeError: If the video is lost, or not done in time.
        """
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._is_abandoned = True
            raise EpisodeError(
                f"{self._path} was not encoded within {timeout_s:g} s. Is the disk too slow? "
                "Record to another one, or choose a faster preset."
            )
        self._empty_queue()
        if self.problem is not None:
            raise EpisodeError(self.problem)

    def abandon(self, timeout_s: float) -> None:
        """Stop at once; what was written is of no use."""
        self._is_abandoned = True
        self._waiting.put(None)
        self._thread.join(timeout_s)
        self._empty_queue()

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # not on every system
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            self._encode()
        except Exception as error:  # noqa: BLE001 - a thread's error is told by its owner
            self.problem = (
                f"{self._path.name} cannot be written ({type(error).__name__}: {error}). Check "
                "the disk, then start the next episode."
            )

    def _encode(self) -> None:
        height_px, width_px = self._pool.size
        video = CameraVideo(
            self._path,
            fps=self._settings.fps,
            height_px=height_px,
            width_px=width_px,
            options=self._settings.options,
        )
        try:
            while (item := self._waiting.get()) is not None:
                image, time_s = item
                try:
                    if self._is_abandoned:
                        continue
                    video.write(image)
                finally:
                    self._pool.give_back(image)
                self.times.append(time_s)
                self.num_bytes = video.num_bytes
            if self.times and not self._is_abandoned:
                video.finish()
                sync(self._path)
        finally:
            with contextlib.suppress(Exception):  # closed already, or the disk is full
                video.abandon()

    def _empty_queue(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._waiting.get_nowait()
                if item is not None:
                    self._pool.give_back(item[0])


def probe_encoder(path: Path, settings: VideoSettings, size: CameraFormat) -> None:
    """Encode two black images into a new file, and delete it.

    Raises:
        Exception: Whatever keeps a video from being written there.
    """
    video = CameraVideo(
        path,
        fps=settings.fps,
        height_px=size.height_px,
        width_px=size.width_px,
        options=settings.options,
    )
    try:
        for _ in range(2):
            video.write(np.zeros((*size, 3), dtype=np.uint8))
        video.finish()
        sync(path)
    finally:
        with contextlib.suppress(Exception):
            video.abandon()
        path.unlink(missing_ok=True)
