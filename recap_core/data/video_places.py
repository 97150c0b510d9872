"""Where the frames of a dataset are in its videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int64

from recap_core.data.layout import DatasetMeta
from recap_core.data.video_cache import CachedVideo
from recap_core.data.video_files import TIME_TOLERANCE_S
from recap_core.errors import EpisodeError


def frames_per_video(meta: DatasetMeta, cameras: Sequence[str]) -> dict[Path, int]:
    """Frames that a video holds, as far as the episodes tell; repeated episodes count once."""
    lengths: dict[tuple[Path, float], int] = {}
    for camera in cameras:
        spans = _episode_videos(meta, camera)
        lengths |= dict(zip(spans, meta.episode_lengths.tolist(), strict=True))
    videos: dict[Path, int] = {}
    for (path, _), length in lengths.items():
        videos[path] = videos.get(path, 0) + length
    return videos


class _Camera(NamedTuple):
    videos: list[Path]
    """Of every episode."""
    first: Int64[np.ndarray, " e"]
    """Position of the episode's first frame in its video."""


class VideoPlaces:
    """Video, and position in it, of any frame of some cameras."""

    def __init__(
        self, meta: DatasetMeta, cameras: Sequence[str], videos: Mapping[Path, CachedVideo]
    ) -> None:
        """Find the first frame of every episode.

        Args:
            meta: The dataset.
            cameras: Camera features.
            videos: Every video of these cameras.

        Raises:
            EpisodeError: If a video is too short.
        """
        self._ends = np.cumsum(meta.episode_lengths)
        self._starts = self._ends - meta.episode_lengths
        self._cameras = {camera: _camera(meta, camera, videos) for camera in cameras}

    def of(self, camera: str, frames: Int[np.ndarray, " b"]) -> list[tuple[Path, int]]:
        """Of frames by global index."""
        place = self._cameras[camera]
        episodes = np.searchsorted(self._ends, frames, side="right")
        positions = frames - self._starts[episodes] + place.first[episodes]
        videos = [place.videos[episode] for episode in episodes.tolist()]
        return list(zip(videos, positions.tolist(), strict=True))


def _episode_videos(meta: DatasetMeta, camera: str) -> list[tuple[Path, float]]:
    """File, and time of the first frame in it, of every episode."""
    columns = [
        meta.episode_column(f"videos/{camera}/{name}").tolist()
        for name in ("chunk_index", "file_index", "from_timestamp")
    ]
    return [
        (meta.video_path(camera, chunk_index, file_index), start_s)
        for chunk_index, file_index, start_s in zip(*columns, strict=True)
    ]


def _camera(meta: DatasetMeta, camera: str, videos: Mapping[Path, CachedVideo]) -> _Camera:
    spans = _episode_videos(meta, camera)
    first = np.zeros(len(spans), dtype=np.int64)
    for episode, (path, start_s) in enumerate(spans):
        times_s, length = videos[path].times_s, int(meta.episode_lengths[episode])
        first[episode] = np.searchsorted(times_s, start_s - TIME_TOLERANCE_S)
        num_images = len(times_s) - int(first[episode])
        if num_images < length:
            raise EpisodeError(
                f"{path} ends after {num_images} of the {length} frames of episode {episode}. "
                "The video is truncated; write the dataset again."
            )
    return _Camera([path for path, _ in spans], first)
