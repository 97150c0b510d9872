"""One raw episode to the rows and videos of a dataset (SPEC §3.2)."""

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int, UInt8

from recap_core.config.dataset import ConvertConfig
from recap_core.data.columns import (
    ACTION,
    CORRECTION_INDEX,
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    STATE,
    Feature,
    correction_index_feature,
    recap_columns,
    recap_features,
    vector_feature,
)
from recap_core.data.feature_statistics import FeatureStatistics, ImageStatistics, sampled_frames
from recap_core.data.raw_episode import MAX_CUT, RawCamera, RawEpisode, read_raw_episode
from recap_core.data.resample import (
    hold_indices,
    interpolate,
    is_apart,
    measured_fps,
    needs_resampling,
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
from recap_core.errors import EpisodeError

logger = logging.getLogger(__name__)

MAX_STILL_S = 0.5
"""A camera that shows one picture for longer has lost frames, which deserves a warning."""


@dataclass(frozen=True)
class Plan:
    """What holds for every episode of a conversion."""

    config: ConvertConfig
    fps: int
    """Of the dataset, frames per second."""
    has_correction_index: bool
    """Whether every episode was recorded with it."""
    is_alone: bool = False
    """Whether one episode is worked on at a time, so that its videos may use all CPUs."""


@dataclass(frozen=True)
class OpenEpisode:
    """A raw episode, and what its videos hold."""

    raw: RawEpisode
    videos: dict[str, VideoInfo]
    """By camera name."""
    features: dict[str, Feature]
    """What it makes of the dataset: all but the index columns."""


@dataclass(frozen=True)
class ConvertedEpisode:
    """The rows of one episode; its videos are written."""

    name: str
    task: str
    columns: dict[str, np.ndarray]
    image_statistics: dict[str, FeatureStatistics]
    """By camera feature."""

    @property
    def num_frames(self) -> int:
        """Rows."""
        return len(self.columns[STATE])


def open_episode(path: Path, plan: Plan, *, outcomes: Mapping[str, bool]) -> OpenEpisode:
    """Read an episode's arrays and the packets of its videos.

    Args:
        path: The episode directory.
        plan: What holds for all episodes.
        outcomes: Corrected outcomes by episode name.

    Raises:
        EpisodeError, ColumnError, ConfigError: See :func:`read_raw_episode`.
    """
    config = plan.config
    # A demonstration is taken for a success, whatever its mark, unless it was corrected.
    outcome = outcomes.get(path.name, True if config.demonstrations else None)
    raw = read_raw_episode(path, config.robot, arms=config.include_arms, outcome=outcome)
    videos = {name: probe_video(camera.path) for name, camera in raw.cameras.items()}
    features = {STATE: vector_feature(list(raw.state_names))}
    if raw.environment_state is not None:
        dims = raw.environment_state.shape[1]
        features[ENVIRONMENT_STATE] = vector_feature([f"environment_{i}" for i in range(dims)])
    features[ACTION] = vector_feature(list(raw.action_names))
    for camera, info in videos.items():
        stored = info._replace(codec="h264", pixel_format="yuv420p")
        features[IMAGE_PREFIX + camera] = video_feature(stored, fps=plan.fps)
    features |= recap_features()
    if plan.has_correction_index:
        features |= correction_index_feature()
    return OpenEpisode(raw, videos, features)


def check_like_first(episode: OpenEpisode, expected: Mapping[str, Feature]) -> None:
    """Raise EpisodeError unless an episode has the cameras and vectors of the first one."""
    for name in sorted(set(episode.features) | set(expected)):
        ours, first = episode.features.get(name), expected.get(name)
        for key in ("shape", "names"):
            found, wanted = ours and ours[key], first and first[key]
            if found != wanted:
                raise EpisodeError(
                    f"episode {episode.raw.name} has {name} {found}, but the first episode has "
                    f"{wanted}. One dataset comes from one robot: convert them separately, or "
                    "exclude the episode with an annotation."
                )


def convert_episode(
    episode: OpenEpisode, plan: Plan, targets: Mapping[str, Path]
) -> ConvertedEpisode:
    """Resample an episode if its rate asks for it, write its videos, and compute its columns.

    Args:
        episode: The episode.
        plan: What holds for all episodes.
        targets: Video file to write, by camera feature; the directories exist.

    Raises:
        EpisodeError: If a video is damaged, or does not have the frames that it should.
    """
    raw, config = episode.raw, plan.config
    is_resampled = (
        config.target_fps is not None
        and len(raw.timestamps) > 1
        and needs_resampling(measured_fps(raw.timestamps), plan.fps)
    )
    resampled = _resampled(raw, plan) if is_resampled else raw
    statistics = {}
    for name, camera in raw.cameras.items():
        info = episode.videos[name]
        choice = _frame_choice(raw, camera, info, resampled.timestamps, is_resampled=is_resampled)
        statistics[IMAGE_PREFIX + name] = _convert_video(
            camera.path,
            targets[IMAGE_PREFIX + name],
            choice=choice,
            is_copyable=info.is_copyable,
            plan=plan,
            num_frames=len(resampled.timestamps),
        )
    columns = {STATE: resampled.state, ACTION: resampled.action}
    if resampled.environment_state is not None:
        columns[ENVIRONMENT_STATE] = resampled.environment_state
    # After resampling, because T counts the frames of the dataset.
    columns |= recap_columns(
        resampled.phase, success=raw.success, demonstration=config.demonstrations
    )
    if plan.has_correction_index and resampled.correction_index is not None:
        columns[CORRECTION_INDEX] = resampled.correction_index
    return ConvertedEpisode(raw.name, config.task or raw.task, columns, statistics)


def _resampled(episode: RawEpisode, plan: Plan) -> RawEpisode:
    """The episode on another time grid; its videos are left to :func:`_frame_choice`."""
    times = episode.timestamps
    grid = time_grid(times, plan.fps)
    held = plan.config.nearest_action_dims
    extra, corrections = episode.environment_state, episode.correction_index
    last = hold_indices(times, grid)
    return replace(
        episode,
        timestamps=grid,
        state=interpolate(episode.state, times, grid),
        action=interpolate(
            episode.action,
            times,
            grid,
            held_dims=episode.held_action_dims if held is None else held,
        ),
        environment_state=None if extra is None else interpolate(extra, times, grid),
        phase=episode.phase[last],
        correction_index=None if corrections is None else corrections[last],
    )


def _frame_choice(
    episode: RawEpisode,
    camera: RawCamera,
    info: VideoInfo,
    grid: Float64[np.ndarray, " g"],
    *,
    is_resampled: bool,
) -> Int[np.ndarray, " g"] | None:
    """Video frame of every row; None where frame i belongs to row i.

    Raises:
        EpisodeError: If the video does not have the frames that its timestamps, or the rows,
            promise, or is of another time. One frame more or fewer is a recorder that was stopped
            in the middle of a tick.
    """
    times = episode.timestamps if camera.timestamps is None else camera.timestamps
    if abs(info.num_frames - len(times)) > MAX_CUT or info.num_frames == 0 or len(times) == 0:
        what = "rows" if camera.timestamps is None else "camera timestamps"
        raise EpisodeError(
            f"episode {episode.name}: {camera.path.name} holds {info.num_frames} frames, but there "
            f"are {len(times)} {what}. Exclude the episode with an annotation, or restore the "
            "video."
        )
    if is_apart(episode.timestamps, times):
        first_s, last_s = times[[0, -1]] - episode.timestamps[0]
        raise EpisodeError(
            f"episode {episode.name}: the frames of {camera.path.name} are {first_s:.4g} to "
            f"{last_s:.4g} s after the first tick, but the ticks end after "
            f"{np.ptp(episode.timestamps):.4g} s: camera and ticks have no moment in common. "
            "Correct the camera's timestamps, or exclude the episode with an annotation."
        )
    if not is_resampled and len(times) == len(grid) == info.num_frames:
        return None
    times = times[: info.num_frames]
    choice = hold_indices(times, grid)
    still_s = float(np.abs(grid - times[choice]).max())
    if still_s > MAX_STILL_S:
        logger.warning(
            "episode %s: %s has %d frames for %d rows, and stands still for up to %.1f s",
            *(episode.name, camera.path.name, len(times), len(grid), still_s),
        )
    return choice


def _chosen_frames(
    path: Path, choice: Int[np.ndarray, " g"], *, is_threaded: bool
) -> Generator[UInt8[np.ndarray, "height width 3"]]:
    """Frames of a video in the order of ``choice``, which rises but may repeat and skip."""
    repeats = np.bincount(choice)
    for index, frame in enumerate(read_frames_in_order(path, is_threaded=is_threaded)):
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
    plan: Plan,
    num_frames: int,
) -> FeatureStatistics:
    """Write one camera of one episode and take its statistics from what was written.

    Packets are copied as they are where every row has its own frame; only dropped frames, another
    rate or another codec make a new encoding necessary.
    """
    if choice is None and is_copyable:
        copy_packets(source, target, fps=plan.fps)
    else:
        choice = np.arange(num_frames) if choice is None else choice
        frames = _chosen_frames(source, choice, is_threaded=plan.is_alone)
        encode_video(frames, target, fps=plan.fps)
    wanted = set(sampled_frames(num_frames).tolist())
    statistics, decoded = ImageStatistics(), 0
    for index, frame in enumerate(read_frames_in_order(target, is_threaded=plan.is_alone)):
        decoded += 1
        if index in wanted:
            statistics.add(rgb(frame))
    if decoded != num_frames:
        raise EpisodeError(
            f"video {source} yields {decoded} frames for {num_frames} rows: it is damaged. "
            "Exclude the episode with an annotation, or restore the file."
        )
    return statistics.result()
