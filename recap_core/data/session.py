"""A recorded session as a whole: its finished episodes, what they hold, and their digest."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from recap_core.data.columns import CORRECTING
from recap_core.data.in_progress import IN_PROGRESS
from recap_core.data.raw_episode import (
    episode_directories,
    read_metadata,
    read_outcome,
    read_phase,
    read_timestamps,
)
from recap_core.data.resample import measured_fps
from recap_core.errors import DataError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import files_digest
from recap_core.lineage.files import walk

logger = logging.getLogger(__name__)

SUMMARY = "session_summary.json"
"""What a recorder writes at the end of a session; not every recorder does."""


class SessionFacts(NamedTuple):
    """What the finished episodes of a session hold."""

    num_episodes: int
    num_frames: int
    """Control ticks."""
    num_successes: int
    num_intervention_frames: int
    """Ticks that a human corrected, by their phases."""
    num_intervention_episodes: int
    fps: int
    """Median of the episodes' rates."""
    task: str
    """The most frequent one."""
    cameras: tuple[str, ...]
    """Of all episodes, by name."""
    recorded: dict[str, Any]
    """Metadata that all episodes agree on, such as ``mode`` and ``round_index``."""


class _EpisodeFacts(NamedTuple):
    num_frames: int
    fps: float
    success: bool
    num_corrected: int
    metadata: dict[str, Any]
    cameras: tuple[str, ...]


def is_kept(relative: str) -> bool:
    """Whether a file of an episode, by its path in it, is part of the recording."""
    return relative != IN_PROGRESS


def session_digest(session: Path, cache: DigestCache | None) -> str:
    """xxh3-128, in hexadecimal, of the finished episodes and the summary of a session.

    Raises:
        DataError: If there is no finished episode, or a file cannot be read.
        ArtifactError: If an episode holds symbolic links or special files.
    """
    digest = xxhash.xxh3_128()
    try:
        for episode in episode_directories(session, warn=False):
            files = [file for file in walk(episode).files if is_kept(file.relative)]
            own = files_digest(files, cache)
            digest.update(f"{episode.name}\0{own}\n".encode())
        if (session / SUMMARY).is_file():
            digest.update((session / SUMMARY).read_bytes())
    except OSError as error:
        raise DataError(
            f"{session} cannot be read ({error}). Correct its permissions, or copy it first."
        ) from error
    return digest.hexdigest()


def read_session(session: Path, *, warn: bool = True) -> SessionFacts:
    """Count what a session holds; an episode that cannot be read is left out.

    Args:
        session: The directory that holds the episodes.
        warn: Whether to log a warning about what is left out, and about several tasks.

    Raises:
        DataError: If there is no finished episode that can be read.
    """
    found: list[_EpisodeFacts] = []
    problems: list[DataError] = []
    for path in episode_directories(session, warn=warn):
        try:
            found.append(_read_episode(path))
        except DataError as error:
            problems.append(error)
    if not found:
        raise DataError(
            f"none of the {len(problems)} episodes of {session} can be read; first: {problems[0]}"
        )
    tasks = Counter(str(episode.metadata["task_instruction"]).strip() for episode in found)
    for problem in problems if warn else ():
        logger.warning("not counted: %s", problem)
    if warn and len(tasks) > 1:
        logger.warning("%s holds %d tasks: %s", session.name, len(tasks), "; ".join(tasks))
    return SessionFacts(
        num_episodes=len(found),
        num_frames=sum(episode.num_frames for episode in found),
        num_successes=sum(episode.success for episode in found),
        num_intervention_frames=sum(episode.num_corrected for episode in found),
        num_intervention_episodes=sum(episode.num_corrected > 0 for episode in found),
        fps=max(round(float(np.median([episode.fps for episode in found]))), 1),
        task=tasks.most_common(1)[0][0],
        cameras=tuple(sorted({camera for episode in found for camera in episode.cameras})),
        recorded={
            key: value
            for key, value in found[0].metadata.items()
            if all(episode.metadata.get(key) == value for episode in found)
        },
    )


def _read_episode(path: Path) -> _EpisodeFacts:
    metadata, times = read_metadata(path), read_timestamps(path)
    if len(times) < 2:
        raise DataError(f"episode {path.name} has {len(times)} frames, but needs 2 to have a rate")
    phase = read_phase(path, len(times))[: len(times)]
    cameras = metadata.get("cameras") or [video.stem for video in path.glob("*.mp4")]
    return _EpisodeFacts(
        num_frames=len(times),
        fps=measured_fps(times),
        success=read_outcome(path),
        num_corrected=int((phase == CORRECTING).sum()),
        metadata=metadata,
        cameras=tuple(cameras),
    )
