"""Videos of a LeRobot dataset that somebody else wrote: checked against their rows, then shared."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from shutil import copyfile
from typing import Any, NamedTuple

import numpy as np
from av.error import FFmpegError
from jaxtyping import Float64

from recap_core.data.dataset_writer import DatasetWriter, VideoSpan
from recap_core.data.feature_statistics import QUANTILES, FeatureStatistics
from recap_core.data.foreign_layout import contained_video
from recap_core.data.layout import DatasetMeta
from recap_core.data.video_files import broken_video, open_video
from recap_core.data.video_files import image_statistics as video_statistics
from recap_core.errors import DataError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.links import link_file

TOLERANCE_S = 1e-4
"""LeRobot's tolerance between a frame's time and its row's."""
STATISTICS = ("min", "max", "mean", "std", "count")
"""What every LeRobot writer states; quantiles came later."""


class _Video(NamedTuple):
    """What a video file holds."""

    times_s: Float64[np.ndarray, " n"]
    """Time of every frame, rising, seconds."""
    height: int
    width: int


def check_videos(meta: DatasetMeta, cameras: tuple[str, ...]) -> None:
    """Raise unless every camera's files hold every frame of every episode at its time.

    Headers and packets are read, nothing is decoded.

    Raises:
        DataError: If a file is missing, of another size, or lacks frames of an episode, or its path
            leads out of the dataset.
        EpisodeError: If a file is truncated or no video.
    """
    files = {camera: _episodes_by_file(meta, camera) for camera in cameras}
    with ThreadPoolExecutor(max_workers=4) as threads:
        jobs = [
            threads.submit(_check_file, meta, camera, path, episodes)
            for camera in cameras
            for path, episodes in files[camera].items()
        ]
        for job in jobs:
            job.result()


def _episodes_by_file(meta: DatasetMeta, camera: str) -> dict[Path, list[int]]:
    """Episodes in each of a camera's files."""
    chunks, files, starts, ends = (
        meta.episode_column(f"videos/{camera}/{name}") for name in VideoSpan._fields
    )
    lengths = meta.episode_lengths
    bad = np.flatnonzero(~((starts >= 0) & (np.abs((ends - starts) * meta.fps - lengths) < 0.5)))
    if bad.size:
        e = bad[0]
        raise DataError(
            f"episode {e} of {meta.root} has {lengths[e]} frames, but its {camera} runs from "
            f"{starts[e]:.6g} s to {ends[e]:.6g} s at {meta.fps} fps ({bad.size} of "
            f"{len(lengths)} such episodes). Write the dataset again."
        )
    result: dict[Path, list[int]] = defaultdict(list)
    for episode, (chunk, file) in enumerate(zip(chunks, files, strict=True)):
        result[contained_video(meta, camera, int(chunk), int(file))].append(episode)
    return result


def _check_file(meta: DatasetMeta, camera: str, path: Path, episodes: Sequence[int]) -> None:
    video = _read_video(path)
    starts = meta.episode_column(f"videos/{camera}/from_timestamp")
    for episode in episodes:
        length = int(meta.episode_lengths[episode])
        wanted = starts[episode] + np.arange(length) / meta.fps
        first = int(np.searchsorted(video.times_s, starts[episode] - TOLERANCE_S))
        found = video.times_s[first : first + length]
        wrong = np.flatnonzero(np.abs(found - wanted[: len(found)]) > TOLERANCE_S)
        if len(found) < length or wrong.size:
            frame = wrong[0] if wrong.size else len(found)
            raise DataError(
                f"video {path} has no frame at {wanted[frame]:.6g} s, where frame {frame} of "
                f"episode {episode} belongs at {meta.fps} fps (the file holds "
                f"{len(video.times_s)} frames): it is truncated, frames were dropped, or its rate "
                "differs. Download or copy the dataset again."
            )
    shape = list(meta.features[camera]["shape"])
    if not {video.height, video.width} <= set(shape):
        raise DataError(
            f"video {path} has {video.height} x {video.width} pixels, but feature {camera} has "
            f"shape {shape}. Correct meta/info.json, or write the dataset again."
        )


def _read_video(path: Path) -> _Video:
    with closing(open_video(path)) as container:
        stream = container.streams.video[0]
        try:
            times = [
                float(packet.pts * packet.time_base)
                for packet in container.demux(stream)
                if packet.pts is not None and packet.time_base is not None
            ]
        except FFmpegError as error:
            raise broken_video(path, error) from error
        context = stream.codec_context
        return _Video(np.sort(np.array(times)), context.height, context.width)


class VideoShare:
    """Puts the video files of a dataset into another one, each once."""

    def __init__(
        self,
        meta: DatasetMeta,
        writer: DatasetWriter,
        *,
        digests: DigestCache | None,
        copies: bool,
    ) -> None:
        """Prepare to share.

        Args:
            meta: The source; its videos were checked.
            writer: Hands out paths in the result.
            digests: The store's digest cache.
            copies: Copy the bytes instead of linking.
        """
        self._meta = meta
        self._writer = writer
        self._digests = digests
        self._copies = copies
        self._placed: dict[tuple[str, Path], tuple[int, int]] = {}

    def span(self, row: Mapping[str, Any], camera: str, name: str) -> VideoSpan:
        """Place of an episode's frames in the result, where the camera is called ``name``."""
        span = VideoSpan(*(row[f"videos/{camera}/{field}"] for field in VideoSpan._fields))
        path = contained_video(self._meta, camera, span.chunk_index, span.file_index)
        key = (name, path)
        if key not in self._placed:
            target, *place = self._writer.new_video_file(name)
            if self._copies:
                copyfile(path, target)
            else:
                link_file(path, target, digests=self._digests)
            self._placed[key] = (place[0], place[1])
        chunk_index, file_index = self._placed[key]
        return span._replace(chunk_index=chunk_index, file_index=file_index)


def image_statistics(
    meta: DatasetMeta, row: Mapping[str, Any], camera: str, *, episode: int
) -> FeatureStatistics:
    """Statistics of one camera of one episode: the source's own, else from its images."""
    stated = _stated_statistics(row, camera)
    if all(name in stated for name in STATISTICS):
        return stated
    path = contained_video(
        meta, camera, row[f"videos/{camera}/chunk_index"], row[f"videos/{camera}/file_index"]
    )
    return video_statistics(
        path,
        start_s=row[f"videos/{camera}/from_timestamp"],
        num_frames=int(meta.episode_lengths[episode]),
    )


def _stated_statistics(row: Mapping[str, Any], camera: str) -> FeatureStatistics:
    """What the source states of a camera's images, where it has the shape that LeRobot gives it."""
    found: FeatureStatistics = {}
    for name in (*STATISTICS, *QUANTILES):
        try:
            values = np.array(row.get(f"stats/{camera}/{name}"), dtype=np.float64)
        except (TypeError, ValueError):
            continue
        shapes = [(1,)] if name == "count" else [(3, 1, 1), (1, 1, 1)]  # depth has one channel
        if values.shape in shapes and np.isfinite(values).all():
            found[name] = values
    return found
