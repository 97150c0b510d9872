"""Images of recorded cameras, row after row, over and over, decoded before they are needed."""

import queue
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int, UInt8

from recap_core.data.video_files import read_frames_in_order, rgb
from recap_core.errors import EpisodeError, RecapError, RobotError

BLOCK_ROWS_AHEAD = 16
"""Images that a thread decodes ahead; 15 MB for 480x640."""
STARVED_S = 5.0
"""How long a tick waits for an image before it gives up; normally it is long there."""


class Clip(NamedTuple):
    """One camera of one episode."""

    path: Path
    frames: Int[np.ndarray, " t"]
    """Which frame of the video every row shows; never falls."""


class ImageFeed(Protocol):
    """The images of one camera, one per call."""

    def next_image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The next row's image; rows that show the same frame get the same array."""
        ...

    def close(self) -> None:
        """Stop decoding."""
        ...


class StoredImages:
    """All images of a camera in memory: for short recordings.

    Args:
        clips: Its episodes.

    Raises:
        EpisodeError: If a video is damaged or too short.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._rows = [image for clip in clips for image in _rows(clip)]
        self._next = 0

    def next_image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The next row's image."""
        image = self._rows[self._next]
        self._next = (self._next + 1) % len(self._rows)
        return image

    def close(self) -> None:
        """Forget them."""
        self._rows.clear()


class DecodedImages:
    """Images of a camera decoded ahead by a thread; no more than ``BLOCK_ROWS_AHEAD`` wait.

    Args:
        clips: Its episodes.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self._waiting: queue.Queue[UInt8[np.ndarray, "h w 3"] | RecapError] = queue.Queue(
            BLOCK_ROWS_AHEAD
        )
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._decode, name="replay-camera", daemon=True)
        self._thread.start()

    def next_image(self) -> UInt8[np.ndarray, "h w 3"]:
        """The next row's image.

        Raises:
            RobotError: If it cannot be decoded, or not in ``STARVED_S``.
        """
        try:
            image = self._waiting.get(timeout=STARVED_S)
        except queue.Empty:
            raise RobotError(
                f"{self._clips[0].path.name} is decoded too slowly: no image for {STARVED_S:g} s. "
                "Replay at a lower fps, or smaller videos."
            ) from None
        if isinstance(image, RecapError):
            self._put(image)  # whoever asks again hears it again
            raise RobotError(f"The recording cannot be replayed: {image}") from image
        return image

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()
        self._thread.join()

    def _decode(self) -> None:
        try:
            while not self._is_closed.is_set():
                for clip in self._clips:
                    for image in _rows(clip):
                        if not self._put(image):
                            return
        except RecapError as error:
            self._put(error)

    def _put(self, item: UInt8[np.ndarray, "h w 3"] | RecapError) -> bool:
        """Whether there was room before it was closed."""
        while not self._is_closed.is_set():
            try:
                self._waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def _rows(clip: Clip) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    """The image of every row of an episode, read-only; frames that no row shows are left out."""
    row, num_frames = 0, 0
    for index, frame in enumerate(read_frames_in_order(clip.path, is_threaded=False)):
        if row == len(clip.frames):
            return
        num_frames = index + 1
        if clip.frames[row] != index:
            continue
        image = rgb(frame)
        image.setflags(write=False)
        while row < len(clip.frames) and clip.frames[row] == index:
            yield image
            row += 1
    if row < len(clip.frames):
        raise EpisodeError(
            f"{clip.path} ends after {num_frames} frames, but row {row} shows frame "
            f"{clip.frames[row]}. The video is truncated; replay another episode."
        )
