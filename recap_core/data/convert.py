"""Stage 1: raw episodes to a LeRobot v3.0 dataset with the five RECAP columns (SPEC §3)."""

import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recap_core.config.dataset import ConvertConfig
from recap_core.data.columns import CORRECTION_INDEX
from recap_core.data.dataset_writer import (
    DatasetSummary,
    DatasetWriter,
    Origin,
    VideoSpan,
    emptied_on_error,
)
from recap_core.data.episode_conversion import (
    ConvertedEpisode,
    Plan,
    check_like_first,
    convert_episode,
    open_episode,
)
from recap_core.data.raw_episode import (
    CORRECTION_INDEX_FILE,
    episode_directories,
    read_outcome,
    read_timestamps,
)
from recap_core.data.resample import plausible_fps
from recap_core.errors import DataError, EpisodeError
from recap_core.progress import Progress, Silent

logger = logging.getLogger(__name__)

type _VideoFiles = Mapping[str, tuple[Path, int, int]]
"""Path, chunk index and file index of an episode's video, by camera feature."""

MAX_RATE_SPREAD = 0.1
"""Relative difference between an episode's rate and the dataset's beyond which frames would lie."""


def _kept_episodes(
    recording: Path, config: ConvertConfig, outcomes: Mapping[str, bool], excluded: Collection[str]
) -> dict[Path, float]:
    """Measured rate of every episode to convert, in order; a warning for each that is left out."""
    kept, skipped = {}, []
    for path in episode_directories(recording):
        if path.name in excluded:  # asked first: a broken episode can be excluded
            skipped.append(f"{path.name}: excluded by an annotation")
            continue
        times = read_timestamps(path)
        success = outcomes[path.name] if path.name in outcomes else read_outcome(path)
        if len(times) < 2:
            skipped.append(f"{path.name}: {len(times)} frames")
        elif config.success_only and not success:
            skipped.append(f"{path.name}: a failure")
        else:
            kept[path] = plausible_fps(times, episode=path.name)
    for reason in skipped:
        logger.warning("leaving out %s", reason)
    if not kept:
        raise DataError(
            f"no episode of {recording} is left to convert ({'; '.join(skipped)}). "
            "Record more, or change what is left out."
        )
    return kept


def _plan(rates: Mapping[Path, float], config: ConvertConfig) -> Plan:
    """Choose the frame rate and the columns."""
    fps = config.target_fps or max(round(float(np.median(list(rates.values())))), 1)
    for path, rate in rates.items():
        if config.target_fps is None and abs(rate - fps) / fps > MAX_RATE_SPREAD:
            raise EpisodeError(
                f"episode {path.name} was recorded at {rate:.2f} frames per second, but the "
                f"recording at {fps}. Set target_fps to resample all episodes to one rate."
            )
    lacking = [path.name for path in rates if not (path / CORRECTION_INDEX_FILE).exists()]
    if lacking and len(lacking) < len(rates):
        logger.warning(
            "leaving out the column %s: %d of %d episodes were recorded without it (%s first)",
            *(CORRECTION_INDEX, len(lacking), len(rates), lacking[0]),
        )
    return Plan(config, fps, has_correction_index=not lacking)


def _in_order[R](
    function: Callable[..., R], calls: Iterable[tuple[Any, ...]], *, max_workers: int
) -> Generator[R]:
    """Results of ``function`` in the order of ``calls``.

    At most ``max_workers`` calls are worked on or not yet taken. The first call that fails, by
    order, raises; what has not begun by then is dropped.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(max_workers, thread_name_prefix="convert")
    try:
        for arguments in calls:
            waiting.append(pool.submit(function, *arguments))
            if len(waiting) == max_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _add(
    writer: DatasetWriter, episode: ConvertedEpisode, files: _VideoFiles, origin: Origin
) -> None:
    end_s = episode.num_frames / writer.fps
    writer.add_episode(
        episode.columns,
        task=episode.task,
        origin=origin,
        videos={
            camera: VideoSpan(chunk_index, file_index, 0.0, end_s)
            for camera, (_, chunk_index, file_index) in files.items()
        },
        image_statistics=episode.image_statistics,
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
    max_workers: int | None = None,
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
        max_workers: Episodes worked on, and held in memory, at the same time; None: one per CPU.
            It changes no byte of the result.

    Raises:
        DataError: If ``output`` is taken, or no episode is left.
        EpisodeError: If an episode breaks a rule; the message names episode, file, value and rule.
        ColumnError: If an array holds what it must not.
        ConfigError: If an arm was not recorded, or the robot map does not fit.
    """
    outcomes = outcomes or {}
    rates = _kept_episodes(recording, config, outcomes, excluded)
    workers = min(max_workers or os.cpu_count() or 1, len(rates))
    plan = replace(_plan(rates, config), is_alone=workers == 1)
    features = open_episode(next(iter(rates)), plan, outcomes=outcomes).features
    cameras = [name for name, feature in features.items() if feature["dtype"] == "video"]

    def convert(path: Path, files: _VideoFiles) -> tuple[ConvertedEpisode, _VideoFiles]:
        episode = open_episode(path, plan, outcomes=outcomes)
        check_like_first(episode, features)
        targets = {camera: file for camera, (file, _, _) in files.items()}
        return convert_episode(episode, plan, targets), files

    with (
        emptied_on_error(output),
        DatasetWriter(output, features, fps=plan.fps, robot_type=config.robot.robot_type) as writer,
        (progress or Silent()).bar("convert", len(rates)) as bar,
    ):
        jobs = ((path, {c: writer.new_video_file(c) for c in cameras}) for path in rates)
        with closing(_in_order(convert, jobs, max_workers=workers)) as converted:
            for number, (episode, files) in enumerate(converted, start=1):
                _add(writer, episode, files, Origin(source, round_index, episode.name))
                bar.update(number, episode.name)
        return writer.finish()
