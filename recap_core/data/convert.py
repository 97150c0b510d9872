"""Stage 1: raw episodes to a LeRobot v3.0 dataset with the five RECAP columns (SPEC §3)."""

import logging
from collections.abc import Collection, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int, UInt8

from recap_core.config.dataset import ConvertConfig
from recap_core.data.columns import (
    ACTION,
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    STATE,
    Feature,
    recap_columns,
    recap_features,
    vector_feature,
)
from recap_core.data.dataset_writer import (
    DatasetSummary,
    DatasetWriter,
    Origin,
    VideoSpan,
    emptied_on_error,
)
from recap_core.data.feature_statistics import FeatureStatistics, ImageStatistics, sampled_frames
from recap_core.data.raw_episode import (
    RawCamera,
    RawEpisode,
    episode_directories,
    read_outcome,
    read_raw_episode,
    read_timestamps,
)
from recap_core.data.resample import (
    hold_indices,
    interpolate,
    measured_fps,
    needs_resampling,
    plausible_fps,
    time_grid,
)
from recap_core.data.video_files import (
    VideoInfo,
    copy_packets,
    encode_video,
    probe_video,
    read_frames_in_order,
    rgb,
    video_feature,
)
from recap_core.errors import DataError, EpisodeError
from recap_core.progress import Progress, Silent

logger = logging.getLogger(__name__)

MAX_RATE_SPREAD = 0.1
"""Relative difference between an episode's rate and the dataset's beyond which frames would lie."""


@dataclass(frozen=True)
class _Plan:
    """What to convert, decided before anything is written."""

    episodes: list[Path]
    fps: int


def _plan(
    recording: Path, config: ConvertConfig, outcomes: Mapping[str, bool], excluded: Collection[str]
) -> _Plan:
    """Choose the episodes and the frame rate."""
    kept, skipped, rates = [], [], []
    for path in episode_directories(recording):
        num_rows = len(times := read_timestamps(path))
        success = outcomes.get(path.name, read_outcome(path))
        if path.name in excluded:
            skipped.append(f"{path.name}: excluded by an annotation")
        elif num_rows < 2:
            skipped.append(f"{path.name}: {num_rows} frames")
        elif config.success_only and not success:
            skipped.append(f"{path.name}: a failure")
        else:
            kept.append(path)
            rates.append(plausible_fps(times, episode=path.name))
    for reason in skipped:
        logger.warning("leaving out %s", reason)
    if not kept:
        raise DataError(
            f"no episode of {recording} is left to convert ({'; '.join(skipped)}). "
            "Record more, or change what is left out."
        )
    fps = config.target_fps or max(round(float(np.median(rates))), 1)
    for path, rate in zip(kept, rates, strict=True):
        if config.target_fps is None and abs(rate - fps) / fps > MAX_RATE_SPREAD:
            raise EpisodeError(
                f"episode {path.name} was recorded at {rate:.2f} frames per second, but the "
                f"recording at {fps}. Set target_fps to resample all episodes to one rate."
            )
    return _Plan(kept, fps)


def _features(episode: RawEpisode, videos: Mapping[str, VideoInfo], fps: int) -> dict[str, Feature]:
    features = {STATE: vector_feature(list(episode.state_names))}
    if episode.environment_state is not None:
        dims = episode.environment_state.shape[1]
        features[ENVIRONMENT_STATE] = vector_feature([f"environment_{i}" for i in range(dims)])
    features[ACTION] = vector_feature(list(episode.action_names))
    for camera, info in videos.items():
        stored = info._replace(codec="h264", pixel_format="yuv420p")
        features[IMAGE_PREFIX + camera] = video_feature(stored, fps=fps)
    return {**features, **recap_features()}


def _resampled(
    episode: RawEpisode, grid: Float64[np.ndarray, " g"], *, held: tuple[int, ...]
) -> RawEpisode:
    """The episode on another time grid; its videos are left to :func:`_frame_choice`."""
    times = episode.timestamps
    extra = episode.environment_state
    return replace(
        episode,
        timestamps=grid,
        state=interpolate(episode.state, times, grid),
        action=interpolate(episode.action, times, grid, held_dims=held),
        environment_state=None if extra is None else interpolate(extra, times, grid),
        phase=episode.phase[hold_indices(times, grid)],
    )


def _check_video(episode: RawEpisode, camera: RawCamera, info: VideoInfo) -> None:
    """Raise EpisodeError unless a video has the frames that its timestamps promise."""
    promised = len(episode.timestamps if camera.timestamps is None else camera.timestamps)
    if info.num_frames != promised or promised == 0:
        what = "rows" if camera.timestamps is None else "camera timestamps"
        raise EpisodeError(
            f"episode {episode.name}: {camera.path.name} holds {info.num_frames} frames, but there "
            f"are {promised} {what}. Exclude the episode with an annotation, or restore the video."
        )


def _frame_choice(
    episode: RawEpisode, camera: RawCamera, grid: Float64[np.ndarray, " g"], *, resampled: bool
) -> Int[np.ndarray, " g"] | None:
    """Video frame of every row; None where frame i belongs to row i."""
    times = episode.timestamps if camera.timestamps is None else camera.timestamps
    if not resampled and len(times) == len(grid):
        return None
    return hold_indices(times, grid)


def _chosen_frames(
    path: Path, choice: Int[np.ndarray, " g"]
) -> Generator[UInt8[np.ndarray, "height width 3"]]:
    """Frames of a video in the order of ``choice``, which rises but may repeat and skip."""
    repeats = np.bincount(choice)
    for index, frame in enumerate(read_frames_in_order(path)):
        if index >= len(repeats):
            return
        if repeats[index]:
            image = rgb(frame)
            for _ in range(repeats[index]):
                yield image


def _convert_video(  # noqa: PLR0913 - options are keyword-only
    source: Path,
    target: Path,
    *,
    choice: Int[np.ndarray, " g"] | None,
    is_copyable: bool,
    fps: int,
    num_frames: int,
) -> FeatureStatistics:
    """Write one camera of one episode and take its statistics from what was written.

    Packets are copied as they are where every row has its own frame; only dropped frames, another
    rate or another codec make a new encoding necessary.
    """
    if choice is None and is_copyable:
        copy_packets(source, target, fps=fps)
    else:
        choice = np.arange(num_frames) if choice is None else choice
        encode_video(_chosen_frames(source, choice), target, fps=fps)
    wanted = set(sampled_frames(num_frames).tolist())
    statistics, decoded = ImageStatistics(), 0
    for index, frame in enumerate(read_frames_in_order(target)):
        decoded += 1
        if index in wanted:
            statistics.add(rgb(frame))
    if decoded != num_frames:
        raise EpisodeError(
            f"video {source} yields {decoded} frames for {num_frames} rows: it is damaged. "
            "Exclude the episode with an annotation, or restore the file."
        )
    return statistics.result()


class _Converter:
    def __init__(
        self, writer: DatasetWriter, config: ConvertConfig, threads: ThreadPoolExecutor
    ) -> None:
        self._writer = writer
        self._config = config
        self._threads = threads

    def add(self, episode: RawEpisode, videos: Mapping[str, VideoInfo], origin: Origin) -> None:
        """Convert one episode."""
        fps, config = self._writer.fps, self._config
        resampled = config.target_fps is not None and needs_resampling(
            measured_fps(episode.timestamps), fps
        )
        source = episode
        if resampled:
            grid = time_grid(episode.timestamps, fps)
            episode = _resampled(episode, grid, held=config.nearest_action_dims)
        num_frames = len(episode.timestamps)
        spans, jobs = {}, {}
        for name, camera in episode.cameras.items():
            _check_video(source, camera, videos[name])
            feature = IMAGE_PREFIX + name
            target, chunk_index, file_index = self._writer.new_video_file(feature)
            spans[feature] = VideoSpan(chunk_index, file_index, 0.0, num_frames / fps)
            jobs[feature] = self._threads.submit(
                _convert_video,
                camera.path,
                target,
                choice=_frame_choice(source, camera, episode.timestamps, resampled=resampled),
                is_copyable=videos[name].is_copyable,
                fps=fps,
                num_frames=num_frames,
            )
        columns = {STATE: episode.state, ACTION: episode.action}
        if episode.environment_state is not None:
            columns[ENVIRONMENT_STATE] = episode.environment_state
        columns |= recap_columns(
            episode.phase, success=episode.success, demonstration=config.demonstrations
        )
        self._writer.add_episode(
            columns,
            task=config.task or episode.task,
            origin=origin,
            videos=spans,
            image_statistics={feature: job.result() for feature, job in jobs.items()},
        )


def _check_like_first(
    episode: RawEpisode,
    features: Mapping[str, Feature],
    expected: Mapping[str, Feature],
) -> None:
    """Raise EpisodeError unless an episode has the cameras and vectors of the first one."""
    for name in sorted(set(features) | set(expected)):
        ours, first = features.get(name), expected.get(name)
        if ours is None or first is None or ours["shape"] != first["shape"]:
            raise EpisodeError(
                f"episode {episode.name} has {name} {ours and ours['shape']}, but the first "
                f"episode has {first and first['shape']}. One dataset comes from one robot: "
                "convert them separately, or exclude the episode with an annotation."
            )


def convert_recording(  # noqa: PLR0913 - options are keyword-only
    recording: Path,
    output: Path,
    config: ConvertConfig,
    *,
    round_index: int,
    source: str,
    progress: Progress | None = None,
    outcomes: Mapping[str, bool] | None = None,
    excluded: Collection[str] = (),
) -> DatasetSummary:
    """Convert a recording to a LeRobot v3.0 dataset.

    Episodes keep their order. All columns are computed after resampling. On an error nothing is
    left in ``output``.

    Args:
        recording: Directory of raw episodes; only read.
        output: Directory of the dataset; must not exist or be empty.
        config: What to convert, and how.
        round_index: 0 for demonstrations, k for the rollouts of iteration k.
        source: Name of the recording, kept with every episode.
        progress: Who watches.
        outcomes: Corrected outcomes by episode name (annotations); True is a success.
        excluded: Names of episodes to leave out (annotations).

    Raises:
        DataError: If ``output`` is taken, or no episode is left.
        EpisodeError: If an episode breaks a rule; the message names episode, file, value and rule.
        ColumnError: If an array holds what it must not.
    """
    outcomes = outcomes or {}
    plan = _plan(recording, config, outcomes, excluded)
    with (
        emptied_on_error(output),
        ExitStack() as stack,
        (progress or Silent()).bar("convert", len(plan.episodes)) as bar,
    ):
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=4))
        first, writer = {}, DatasetWriter(output, {}, fps=plan.fps)
        for number, path in enumerate(plan.episodes):
            episode = read_raw_episode(path)
            episode = replace(episode, success=outcomes.get(path.name, episode.success))
            videos = {name: probe_video(camera.path) for name, camera in episode.cameras.items()}
            features = _features(episode, videos, plan.fps)
            if number == 0:
                first = features
                writer = stack.enter_context(DatasetWriter(output, features, fps=plan.fps))
            _check_like_first(episode, features, first)
            converter = _Converter(writer, config, threads)
            converter.add(episode, videos, Origin(source, round_index, path.name))
            bar.update(number + 1, path.name)
        return writer.finish()
