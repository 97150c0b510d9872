"""The columns by which a frame is found."""

from collections.abc import Generator

import numpy as np

from recap_core.data.checks.episode import Episode, first_of
from recap_core.data.checks.finding import Finding
from recap_core.data.layout import DatasetMeta
from recap_core.errors import DataError

MAX_TIME_ERROR_S = 1e-4
"""LeRobot's tolerance between a row's time and its frame's."""


class IndexCheck:
    """``index``, ``frame_index``, ``episode_index``, ``task_index`` and ``timestamp`` count on."""

    def __init__(self, meta: DatasetMeta) -> None:
        self._fps = meta.fps
        self._num_tasks = len(meta.tasks)
        self._promised = _promised_lengths(meta)
        self._num_episodes_said, self._num_frames_said = meta.num_episodes, meta.num_frames
        self._num_episodes = self._num_frames = 0

    def look(self, episode: Episode) -> Generator[Finding]:
        """Rows of one episode."""
        length = episode.length
        for name, expected in (
            ("index", episode.start + np.arange(length)),
            ("frame_index", np.arange(length)),
        ):
            yield from self._counts(episode, name, expected)
        if "timestamp" in episode.columns:
            found = episode.columns["timestamp"]
            wrong = ~(np.abs(found - np.arange(length) / self._fps) <= MAX_TIME_ERROR_S)
            yield from _wrong(
                episode, "timestamp", wrong, f"it is frame_index / {self._fps} fps, in seconds"
            )
        if "task_index" in episode.columns:
            found = episode.columns["task_index"]
            yield from _wrong(
                episode,
                "task_index",
                (found < 0) | (found >= self._num_tasks),
                f"meta/tasks.parquet has {self._num_tasks} tasks",
            )
            yield from _wrong(episode, "task_index", found != found[0], "an episode has one task")
        yield from self._is_promised(episode)
        self._num_episodes += 1
        self._num_frames += length

    def _counts(self, episode: Episode, name: str, expected: np.ndarray) -> Generator[Finding]:
        if name in episode.columns:
            wrong = episode.columns[name] != expected
            yield from _wrong(
                episode, name, wrong, "it counts on by one: no gap, no repetition, no disorder"
            )

    def _is_promised(self, episode: Episode) -> Generator[Finding]:
        number = self._num_episodes
        if episode.name != number:
            yield Finding(
                severity="error",
                check="index",
                where=episode.place("episode_index"),
                value=f"episode {episode.name} where episode {number} should be",
                rule="episodes are stored in order, each once",
                fix="write the dataset again",
            )
        elif number < len(self._promised) and self._promised[number] != episode.length:
            yield Finding(
                severity="error",
                check="index",
                where=episode.place("length"),
                value=f"{episode.length} rows, but meta/episodes says {self._promised[number]}",
                rule="an episode has the rows that meta/episodes promises",
                fix="write the dataset again",
            )

    def finish(self) -> Generator[Finding]:
        """Rows and episodes that are missing, or too many."""
        for name, found, said in (
            ("total_episodes", self._num_episodes, self._num_episodes_said),
            ("total_frames", self._num_frames, self._num_frames_said),
        ):
            if found != said:
                yield Finding(
                    severity="error",
                    check="totals",
                    value=f"info.json says {said}, the data files hold {found}",
                    rule=f"{name} is what the data files hold",
                    fix="restore missing files, or write the dataset again",
                )


def _promised_lengths(meta: DatasetMeta) -> list[int]:
    try:
        return meta.episode_column("length").tolist()
    except DataError:
        return []  # check_episode_table says why


def _wrong(episode: Episode, name: str, bad: np.ndarray, rule: str) -> Generator[Finding]:
    if not bad.any():
        return
    frame, count = first_of(bad)
    yield Finding(
        severity="error",
        check="index",
        where=episode.place(name, frame=frame),
        value=f"{episode.columns[name][frame]} ({count} of {episode.length} frames)",
        rule=rule,
        fix="write the dataset again from its source",
    )
