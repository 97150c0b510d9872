"""All non-image columns of a dataset as NumPy arrays, each read when it is first asked for."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int, Int64

from recap_core.data.arrow_types import is_list, require_columns, scalar_cells, to_array
from recap_core.data.columns import INTERVENTION, PAUSED, PHASE, REWARD
from recap_core.data.index_columns import PLACE_COLUMNS, check_place
from recap_core.data.layout import (
    DatasetMeta,
    open_parquet,
    read_meta,
    reading_parquet,
    require_features,
)
from recap_core.errors import ColumnError


class FrameTable:
    """A dataset's frames by global index, and its episodes by episode index.

    Arrays are read from parquet on first use and kept; videos are never touched.
    """

    def __init__(self, meta: DatasetMeta) -> None:
        self.meta = meta
        self._columns: dict[str, np.ndarray] = {}
        self._is_ordered = False

    @property
    def fps(self) -> int:
        """Control rate, frames per second."""
        return self.meta.fps

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task texts by task index."""
        return self.meta.tasks

    @property
    def num_frames(self) -> int:
        """Frames of the dataset."""
        return int(self.episode_lengths.sum())

    @property
    def episode_lengths(self) -> Int64[np.ndarray, " e"]:
        """Frames of every episode."""
        return self.meta.episode_lengths

    @cached_property
    def episode_starts(self) -> Int64[np.ndarray, " e"]:
        """Global index of every episode's first frame."""
        return np.cumsum(self.episode_lengths) - self.episode_lengths

    @property
    def episode_ends(self) -> Int64[np.ndarray, " e"]:
        """Global index one past every episode's last frame."""
        return np.cumsum(self.episode_lengths)

    @cached_property
    def episode_index(self) -> Int64[np.ndarray, " n"]:
        """Episode of every frame."""
        return np.repeat(np.arange(len(self.episode_lengths)), self.episode_lengths)

    @property
    def task_index(self) -> Int64[np.ndarray, " n"]:
        """Task of every frame."""
        return self.column("task_index")

    @property
    def episode_tasks(self) -> Int64[np.ndarray, " e"]:
        """Task of every episode: that of its first frame."""
        return self.task_index[self.episode_starts]

    @cached_property
    def rounds(self) -> Int64[np.ndarray, " e"]:
        """Round of every episode; 0 in datasets that do not say."""
        if "round" not in self.meta.episodes.column_names:
            return np.zeros(len(self.episode_lengths), dtype=np.int64)
        return self.meta.episode_column("round").astype(np.int64)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Recording or dataset that every episode comes from; empty text if unknown."""
        if "source" not in self.meta.episodes.column_names:
            return ("",) * len(self.episode_lengths)
        return tuple(self.meta.episodes.column("source").to_pylist())

    @cached_property
    def originals(self) -> Int64[np.ndarray, " e"]:
        """Of every episode the first one that is the same raw episode: itself, unless merged twice.

        Episodes that do not say which raw episode they are count as different.
        """
        if "raw_episode" not in self.meta.episodes.column_names:
            return np.arange(len(self.episode_lengths))
        names = self.meta.episodes.column("raw_episode").to_pylist()
        first: dict[tuple[str, str], int] = {}
        return np.array(
            [
                first.setdefault((source, name), episode) if name else episode
                for episode, (source, name) in enumerate(zip(self.sources, names, strict=True))
            ],
            dtype=np.int64,
        )

    @cached_property
    def success(self) -> Bool[np.ndarray, " e"]:
        """Outcome of every episode: whether its last frame is rewarded."""
        return self.column(REWARD)[self.episode_ends - 1] > 0

    @cached_property
    def is_intervention(self) -> Bool[np.ndarray, " n"]:
        """Frames that a human drove."""
        return self.column(INTERVENTION) == 1

    @cached_property
    def is_paused(self) -> Bool[np.ndarray, " n"]:
        """Paused frames; none in datasets without ``phase``."""
        if PHASE not in self.meta.features:
            return np.zeros(self.num_frames, dtype=bool)
        return self.column(PHASE) == PAUSED

    @cached_property
    def is_demonstration(self) -> Bool[np.ndarray, " n"]:
        """Frames of episodes that a human drove throughout."""
        corrected = np.add.reduceat(self.is_intervention.astype(np.int64), self.episode_starts)
        return np.repeat(corrected == self.episode_lengths, self.episode_lengths)

    def places(self, frames: Int[np.ndarray, " b"]) -> Int64[np.ndarray, "b 2"]:
        """Episode, and frame within it, of every global index in ``frames``."""
        episodes = np.searchsorted(self.episode_ends, frames, side="right")
        return np.stack([episodes, frames - self.episode_starts[episodes]], axis=1)

    def column(self, name: str) -> np.ndarray:
        """One column: [n] for scalars and text (fixed-width), [n, d] for vectors.

        Raises:
            ColumnError: If the dataset has no such column, it is a video, or rows are missing.
        """
        if name not in self._columns:
            values = _read_column(self.meta, name)
            self._require_order()
            self._columns[name] = values
        return self._columns[name]

    def _require_order(self) -> None:
        """Raise ColumnError unless row ``i`` is frame ``i``, of the episode it should be of."""
        if self._is_ordered:
            return
        columns = {name: _read_column(self.meta, name) for name in PLACE_COLUMNS}
        check_place(columns, self.episode_index, first=0, where=self.meta.root)
        self._is_ordered = True


def _read_column(meta: DatasetMeta, name: str) -> np.ndarray:
    require_features(meta, [name])
    if meta.features[name]["dtype"] == "video":
        raise ColumnError(f"{name} of {meta.root} is a video. Decode it with data.video instead.")
    parts = []
    for path in meta.data_files:
        file = open_parquet(path)
        require_columns(file.schema_arrow, [name], meta.features, path=path)
        with reading_parquet(path):
            table = file.read(columns=[name])
        parts.append(column_to_numpy(table.column(name), name=f"column {name} of {path}"))
    values = np.concatenate(parts) if parts else np.zeros(0)
    expected = int(meta.episode_lengths.sum())
    if len(values) != expected:
        raise ColumnError(
            f"{name} of {meta.root} has {len(values)} rows, but the episodes have {expected} "
            "frames. The dataset is incomplete; write it again."
        )
    return values


def column_to_numpy(column: pa.ChunkedArray, *, name: str = "a column") -> np.ndarray:
    """A parquet column as an array: [n], or [n, d] for vectors; text has fixed width.

    Args:
        column: Numbers, text, or vectors of one length.
        name: What to call it in an error.

    Raises:
        ColumnError: If cells are empty, or vectors of different lengths.
    """
    if column.null_count:
        raise ColumnError(f"{name} holds {column.null_count} empty cells. Write it again.")
    if is_list(column.type) and pa.types.is_string(column.type.value_type):
        column = scalar_cells(column, name=name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        encoded = column.combine_chunks().dictionary_encode()
        words = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
        return words[to_array(encoded.indices)]
    if is_list(column.type):
        sizes = pc.call_function("list_value_length", [column]).unique().to_pylist()
        if len(sizes) > 1:
            raise ColumnError(f"{name} holds vectors of {sorted(sizes)} numbers. Write it again.")
        flat = column.combine_chunks().flatten()
        if flat.null_count:
            raise ColumnError(f"{name} holds {flat.null_count} empty numbers. Write it again.")
        width = sizes[0] if sizes else getattr(column.type, "list_size", 1)
        matrix = flat.to_numpy(zero_copy_only=False).reshape(len(column), width)
        # A feature of shape (1,) may be stored as a list of one; it is a scalar all the same.
        return matrix[:, 0] if matrix.shape[1] == 1 else matrix
    return to_array(column)


def read_frames(root: Path, columns: Sequence[str] = ()) -> FrameTable:
    """Open a dataset's frames and read some columns at once.

    Args:
        root: Directory of a v3.0 dataset.
        columns: Columns to read now; others are read when asked for.

    Raises:
        DataError: If there is no complete dataset.
        ColumnError: If a column is missing.
    """
    table = FrameTable(read_meta(root))
    require_features(table.meta, list(columns))
    for name in columns:
        table.column(name)
    return table
