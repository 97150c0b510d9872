"""Where things are in a LeRobot v2.1 dataset, and what its metadata says.

One parquet file per episode, one video per episode and camera, a thousand episodes to a directory;
tasks, episodes and the statistics of every episode are JSON lines. v2.0 differs in having no
statistics per episode. The loader that openpi pins (lerobot 0cf8648) reads this.
"""

import json
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from recap_core.data.columns import Feature
from recap_core.data.dataset_writer import Origin
from recap_core.data.feature_statistics import FeatureStatistics
from recap_core.data.info import check_info, is_count, read_info
from recap_core.data.layout import path_inside
from recap_core.errors import DataError

VERSION: Final = "v2.1"
READABLE_VERSIONS: Final = ("v2.0", "v2.1")
DATA_PATH: Final = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH: Final = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
EPISODES_PER_CHUNK: Final = 1000
PATHS: Final = {
    "data_path": {"episode_chunk", "episode_index"},
    "video_path": {"video_key", "episode_chunk", "episode_index"},
}
"""Path templates of ``info.json``, and what may be filled in."""

INFO: Final = "meta/info.json"
TASKS: Final = "meta/tasks.jsonl"
EPISODES: Final = "meta/episodes.jsonl"
STATISTICS: Final = "meta/episodes_stats.jsonl"

REQUIRED_STATISTICS: Final = frozenset({"min", "max", "mean", "std", "count"})


class V21Episode(NamedTuple):
    """What ``episodes.jsonl`` says of one episode."""

    length: int
    origin: Origin
    """From our own export; else the dataset's directory and round 0."""


@dataclass(frozen=True)
class V21Meta:
    """The metadata of a dataset; nothing of its data is read."""

    root: Path
    fps: int
    features: dict[str, Feature]
    """In the order of ``info.json``."""
    tasks: tuple[str, ...]
    """Task texts by ``task_index``."""
    episodes: tuple[V21Episode, ...]
    """By ``episode_index``."""
    info: dict[str, Any]
    """All of ``info.json``."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Features that are videos."""
        return tuple(name for name, ft in self.features.items() if ft["dtype"] == "video")

    def data_path(self, episode: int) -> Path:
        """Parquet file of one episode."""
        return path_inside(
            self.root, self.info.get("data_path") or DATA_PATH, **self._place(episode)
        )

    def video_path(self, camera: str, episode: int) -> Path:
        """Video file of one episode and camera."""
        return path_inside(
            self.root,
            self.info.get("video_path") or VIDEO_PATH,
            video_key=camera,
            **self._place(episode),
        )

    def _place(self, episode: int) -> dict[str, int]:
        per_chunk = int(self.info.get("chunks_size") or EPISODES_PER_CHUNK)
        return {"episode_chunk": episode // per_chunk, "episode_index": episode}

    @cached_property
    def image_statistics(self) -> dict[tuple[int, str], FeatureStatistics]:
        """By episode and camera, where the dataset has all that LeRobot's aggregation needs."""
        path = self.root / STATISTICS
        if not path.exists():
            return {}
        found = {}
        for line in _json_lines(path):
            by_feature = line.get("stats")
            if not isinstance(by_feature, dict) or not is_count(line.get("episode_index")):
                continue
            for camera in self.cameras:
                stats = _image_statistics(by_feature.get(camera))
                if stats is not None:
                    found[line.get("episode_index"), camera] = stats
        return found


def data_path(episode: int) -> str:
    """Path of one episode's parquet file in the datasets that we write."""
    return DATA_PATH.format(episode_chunk=episode // EPISODES_PER_CHUNK, episode_index=episode)


def video_path(camera: str, episode: int) -> str:
    """Path of one episode's video in the datasets that we write."""
    chunk = episode // EPISODES_PER_CHUNK
    return VIDEO_PATH.format(episode_chunk=chunk, video_key=camera, episode_index=episode)


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object per line."""
    with path.open("w", encoding="ascii") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _json_lines(path: Path) -> Generator[dict[str, Any]]:
    """The objects of a JSON lines file, empty lines left out."""
    line_number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line_number, line in enumerate(file, start=1):  # noqa: B007 - for the message
                if line.strip():
                    row = dict(json.loads(line))
                    if "\\u" in line:  # half a character can be escaped, but not stored
                        json.dumps(row, ensure_ascii=False).encode()
                    yield row
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read, line {line_number}: {error}. It must hold one JSON object "
            "per line; restore the file, or write the dataset again."
        ) from error


def read_v21_meta(root: Path) -> V21Meta:
    """Read ``info.json``, the tasks and the episodes of a v2.1 or v2.0 dataset.

    Raises:
        DataError: If there is none, it is of another version, its parts disagree, or a name or a
            path leads out of the dataset.
        ColumnError: If a feature is not described as it must be.
    """
    info = read_info(root)
    version = info.get("codebase_version")
    if version not in READABLE_VERSIONS:
        raise DataError(
            f"{root} is a dataset of version {version!r}, but {' or '.join(READABLE_VERSIONS)} is "
            "needed. A v3.0 dataset is used as it is."
        )
    check_info(info, root, paths=PATHS)
    _check_sizes(info, root)
    tasks = _read_tasks(root)
    episodes = _read_episodes(root)
    for name, count, total in (
        ("total_episodes", len(episodes), info["total_episodes"]),
        ("total_frames", sum(episode.length for episode in episodes), info["total_frames"]),
    ):
        if count != total:
            raise DataError(
                f"{root / EPISODES} holds {count} {name.removeprefix('total_')}, but info.json "
                f"says {total}. The dataset is incomplete; write it again."
            )
    return V21Meta(
        root=root,
        fps=int(info["fps"]),
        features=info["features"],
        tasks=tasks,
        episodes=episodes,
        info=info,
    )


def _check_sizes(info: dict[str, Any], root: Path) -> None:
    """Raise DataError unless there are episodes, and directories hold at least one each."""
    for key, default in (("total_episodes", None), ("chunks_size", EPISODES_PER_CHUNK)):
        value = info.get(key, default)
        if not is_count(value, low=1):
            raise DataError(
                f"{key} in meta/info.json of {root} is {value!r}; it must be a whole number "
                "of at least 1. Write the dataset again."
            )


def _in_order(path: Path, key: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by their number ``key``, which must run from 0 without gap or repetition."""
    rows = list(rows)
    numbers = Counter(row[key] for row in rows if is_count(row.get(key)))
    wrong = [number for number in range(len(rows)) if numbers[number] != 1]
    if wrong:
        raise DataError(
            f"{path} has {numbers[wrong[0]]} lines with {key} {wrong[0]}; each number from 0 to "
            f"{len(rows) - 1} must be there once ({len(wrong)} are not). Write the dataset again."
        )
    return sorted(rows, key=lambda row: row[key])


def _image_statistics(values: object) -> FeatureStatistics | None:
    """Statistics of one camera's images; None unless they are complete and of the right shapes."""
    if not isinstance(values, dict) or not set(values) >= REQUIRED_STATISTICS:
        return None
    try:
        stats = {str(name): np.array(value, dtype=np.float64) for name, value in values.items()}
    except (ValueError, TypeError, OverflowError):
        return None
    shapes = {name: (1,) if name == "count" else (3, 1, 1) for name in stats}
    return stats if all(stats[name].shape == shape for name, shape in shapes.items()) else None


def _read_tasks(root: Path) -> tuple[str, ...]:
    path = root / TASKS
    texts = [row.get("task") for row in _in_order(path, "task_index", _json_lines(path))]
    tasks = tuple(text for text in texts if isinstance(text, str))
    if len(tasks) != len(texts) or len(set(tasks)) != len(tasks):
        raise DataError(
            f"{path} must give every task a text of its own; it has {texts}. Write it again."
        )
    return tasks


def _read_episodes(root: Path) -> tuple[V21Episode, ...]:
    path = root / EPISODES
    episodes = []
    for number, row in enumerate(_in_order(path, "episode_index", _json_lines(path))):
        length, round_index = row.get("length"), row.get("round", 0)
        if not is_count(length, low=1) or not is_count(round_index):
            raise DataError(
                f"episode {number} in {path} has length {length!r} and round {round_index!r}; "
                "length must be a whole number of at least 1, round of at least 0. Write the "
                "dataset again."
            )
        source = str(row.get("source") or root.name)
        origin = Origin(source, int(round_index), str(row.get("raw_episode") or ""))
        episodes.append(V21Episode(int(length), origin))
    return tuple(episodes)
