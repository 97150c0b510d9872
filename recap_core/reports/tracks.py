"""Everything that is known of a dataset's episodes, frame by frame, ready to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Shaped

from recap_core.data.columns import (
    ACTION,
    ADV_IND,
    INTERVENTION,
    PHASE,
    REWARD,
    STATE,
    VALUE_LABEL,
)
from recap_core.data.frames import FrameTable, column_to_numpy
from recap_core.data.layout import open_parquet
from recap_core.errors import DataError
from recap_core.labels.adv_ind import encode_adv_ind

DRIVERS: Final = ("policy", "paused", "operator", "demonstration")
"""Who drove a frame; the position is the code."""
POLICY, IS_PAUSED, OPERATOR, DEMONSTRATION = range(len(DRIVERS))

type Ending = Literal["success", "failure", "unknown"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """What a value model and a label rule say of every frame of a dataset."""

    values: Float[np.ndarray, " n"] | None = None
    """V(o_t) in [-1, 0]."""
    values_from: str = ""
    """Artifact or directory that they come from."""
    advantage: Float[np.ndarray, " n"] | None = None
    """NaN where it is undefined."""
    adv_ind: Int[np.ndarray, " n"] | None = None
    """Codes that replace the column ``adv_ind``."""
    labels_from: str = ""
    thresholds: Mapping[str, float | None] | None = None
    """Smallest positive advantage by task."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Vector:
    """A vector column of one episode."""

    names: tuple[str, ...]
    """One per dimension."""
    values: Float[np.ndarray, "t d"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeTracks:
    """One episode."""

    episode_index: int
    first_index: int
    """Global index of its first frame."""
    fps: int
    task: str
    task_index: int
    round_index: int
    source: str
    ending: Ending
    value_label: Float[np.ndarray, " t"] | None
    values: Float[np.ndarray, " t"] | None
    """V(o_t); None without a value model."""
    advantage: Float[np.ndarray, " t"] | None
    threshold: float | None
    adv_ind: Int[np.ndarray, " t"]
    """Codes of :data:`recap_core.labels.adv_ind.NAMES`."""
    driver: Int[np.ndarray, " t"]
    """Codes of :data:`DRIVERS`."""
    phase: Shaped[np.ndarray, " t"] | None
    """The column ``phase``, as text."""
    reward: Float[np.ndarray, " t"] | None
    state: Vector | None
    action: Vector | None

    @property
    def num_frames(self) -> int:
        """Length of the episode."""
        return len(self.driver)

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_frames / self.fps

    @property
    def is_demonstration(self) -> bool:
        """Whether a human drove all of it."""
        return bool((self.driver == DEMONSTRATION).all())

    @property
    def is_corrected(self) -> bool:
        """Whether the operator took over."""
        return bool((self.driver == OPERATOR).any())


class _RowGroup(NamedTuple):
    """Rows ``start`` to ``stop`` of the dataset."""

    path: Path
    number: int
    start: int
    stop: int


class DatasetTracks:
    """A dataset's frames, with the judgements that belong to it.

    Datasets without the RECAP columns can be shown too: outcomes are then unknown, nobody
    intervenes, and no frame has a label.
    """

    def __init__(self, table: FrameTable, judgement: Judgement, *, name: str) -> None:
        self.table = table
        self.judgement = judgement
        self.name = name

    @property
    def num_episodes(self) -> int:
        """Episodes of the dataset."""
        return len(self.table.episode_lengths)

    @cached_property
    def adv_ind(self) -> Int[np.ndarray, " n"]:
        """Label codes: the judgement's, else the column's, else none."""
        if self.judgement.adv_ind is not None:
            return self.judgement.adv_ind
        if ADV_IND not in self.table.meta.features:
            return np.zeros(self.table.num_frames, dtype=np.int8)
        return encode_adv_ind(self.table.column(ADV_IND))

    @cached_property
    def driver(self) -> Int[np.ndarray, " n"]:
        """Codes of :data:`DRIVERS`."""
        codes = np.where(self.table.is_paused, np.int8(IS_PAUSED), np.int8(POLICY))
        if INTERVENTION in self.table.meta.features:
            codes[self.table.is_intervention] = OPERATOR
            codes[self.table.is_demonstration] = DEMONSTRATION
        return codes

    @cached_property
    def endings(self) -> tuple[Ending, ...]:
        """Outcome of every episode."""
        if REWARD not in self.table.meta.features:
            return ("unknown",) * self.num_episodes
        return tuple("success" if success else "failure" for success in self.table.success)

    @cached_property
    def is_corrected(self) -> Bool[np.ndarray, " e"]:
        """Episodes in which the operator took over."""
        if not self.num_episodes:
            return np.zeros(0, dtype=bool)
        return np.logical_or.reduceat(self.driver == OPERATOR, self.table.episode_starts)

    def episode(self, index: int) -> EpisodeTracks:
        """Everything about one episode.

        Raises:
            DataError: If its rows cannot be read.
        """
        table, judgement = self.table, self.judgement
        rows = slice(int(table.episode_starts[index]), int(table.episode_ends[index]))
        task_index = int(table.episode_tasks[index])
        task = table.tasks[task_index]
        features = table.meta.features

        def part(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[rows]

        def stored(name: str) -> np.ndarray | None:
            return table.column(name)[rows] if name in features else None

        return EpisodeTracks(
            episode_index=index,
            first_index=rows.start,
            fps=table.fps,
            task=task,
            task_index=task_index,
            round_index=int(table.rounds[index]),
            source=table.sources[index],
            ending=self.endings[index],
            value_label=stored(VALUE_LABEL),
            values=part(judgement.values),
            advantage=part(judgement.advantage),
            threshold=(judgement.thresholds or {}).get(task),
            adv_ind=self.adv_ind[rows],
            driver=self.driver[rows],
            phase=stored(PHASE),
            reward=stored(REWARD),
            state=self._vector(STATE, index),
            action=self._vector(ACTION, index),
        )

    @cached_property
    def _row_groups(self) -> list[_RowGroup]:
        """Where every row group of the dataset starts."""
        groups, start = [], 0
        for path in self.table.meta.data_files:
            metadata = open_parquet(path).metadata
            for number in range(metadata.num_row_groups):
                stop = start + metadata.row_group(number).num_rows
                groups.append(_RowGroup(path, number, start, stop))
                start = stop
        return groups

    def _vector(self, name: str, episode: int) -> Vector | None:
        """A vector column of one episode; only its row groups are read."""
        feature = self.table.meta.features.get(name)
        if feature is None:
            return None
        first, end = int(self.table.episode_starts[episode]), int(self.table.episode_ends[episode])
        parts = []
        for group in self._row_groups:
            if group.start < end and group.stop > first:
                column = _read_group(group, name).astype(np.float32)
                parts.append(column[max(first - group.start, 0) : end - group.start])
        values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if len(values) != end - first:
            raise DataError(
                f"{name} of episode {episode} of {self.table.meta.root} has {len(values)} rows, "
                f"but the episode has {end - first} frames. The dataset is incomplete; write it "
                "again."
            )
        matrix = values.reshape(len(values), -1)
        return Vector(names=_names(feature.get("names"), matrix.shape[1]), values=matrix)


def _read_group(group: _RowGroup, name: str) -> np.ndarray:
    try:
        table = open_parquet(group.path).read_row_group(group.number, columns=[name])
        return column_to_numpy(table.column(name))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(
            f"{name} cannot be read from {group.path} ({error}). Write the dataset again."
        ) from error


def _names(names: object, num_dims: int) -> tuple[str, ...]:
    """Names of a vector's dimensions; LeRobot writes a list, or a list inside a dictionary."""
    if isinstance(names, dict) and names:
        names = next(iter(names.values()))
    if isinstance(names, list) and len(names) == num_dims:
        return tuple(str(name) for name in names)
    return tuple(str(i) for i in range(num_dims))
