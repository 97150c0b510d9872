"""Rows of a LeRobot dataset that somebody else wrote, episode by episode, checked on the way."""

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute

from recap_core.data.arrow_types import is_list
from recap_core.data.columns import Feature, check_finite, index_features
from recap_core.data.frames import column_to_numpy
from recap_core.data.index_columns import check_index_columns
from recap_core.data.layout import DatasetMeta, open_parquet
from recap_core.data.merge import episode_tables
from recap_core.errors import ColumnError, DataError


class ForeignEpisode(NamedTuple):
    """One episode as it is stored."""

    number: int
    """``episode_index``."""
    columns: dict[str, np.ndarray]
    """By source name, in the dtypes of ``info.json``; scalars [t], vectors [t, d]."""
    images: pa.Table
    """Columns whose feature is an ``image``, as they are stored."""
    length: int
    """Frames."""
    task: str

    @property
    def where(self) -> str:
        """What errors call it."""
        return f"episode {self.number}"


def foreign_episodes(meta: DatasetMeta, names: Sequence[str]) -> Generator[ForeignEpisode]:
    """Every episode in order, with some of its columns.

    Args:
        meta: Checked metadata.
        names: Features that are no videos.

    Raises:
        ColumnError: If a column is missing, is not what ``info.json`` says, or holds empty cells,
            NaN or infinity.
        DataError: If a file cannot be read, or rows are missing, out of order, or off the grid of
            ``fps``.
    """
    _check_columns_exist(meta, names)
    images = [name for name in names if meta.features[name]["dtype"] == "image"]
    values = [name for name in names if name not in images]
    start = 0
    for episode, table in enumerate(episode_tables(meta, [*names, *index_features()])):
        where = f"episode {episode} of {meta.root}"
        check_index_columns(table, episode=episode, first_index=start, fps=meta.fps, where=where)
        start += table.num_rows
        columns = {
            name: foreign_column(table.column(name), meta.features[name], name=name, where=where)
            for name in values
        }
        task = _task(column_to_numpy(table.column("task_index")), meta, episode)
        yield ForeignEpisode(episode, columns, table.select(images), table.num_rows, task)


def foreign_column(
    column: pa.ChunkedArray, feature: Feature, *, name: str, where: str
) -> np.ndarray:
    """One column in the shape and dtype that its feature promises.

    Raises:
        ColumnError: If it holds anything else, empty cells, NaN or infinity.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    dims = list(feature["shape"])
    if column.null_count:
        raise ColumnError(
            f"{name} of {where} holds {column.null_count} empty cells of {len(column)}. Fill "
            "them, or drop the column."
        )
    kind = column.type
    if is_list(column.type):
        lengths = compute.call_function("list_value_length", [column]).unique().to_pylist()
        kind = column.type.value_type
        if lengths != dims:
            raise ColumnError(
                f"{name} of {where} holds lists of {sorted(lengths)} numbers, but its feature has "
                f"shape {dims}. Correct the feature, or drop the column."
            )
    if (not is_list(column.type) and dims != [1]) or not _fits(kind, feature["dtype"]):
        raise ColumnError(
            f"{name} of {where} is stored as {column.type}, but its feature is "
            f"{feature['dtype']} of shape {dims}. Correct the feature, or drop the column."
        )
    values = column_to_numpy(column)
    if feature["dtype"] == "string":
        return values
    values = values.astype(feature["dtype"], copy=False)
    if values.dtype.kind == "f":
        check_finite(name, values, where=where)
    return values


def _fits(kind: pa.DataType, dtype: str) -> bool:
    """Whether a stored type becomes a feature's dtype without loss of meaning."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return dtype == "string"
    if dtype == "string" or not (pa.types.is_primitive(kind)):
        return False
    try:
        return np.can_cast(kind.to_pandas_dtype(), np.dtype(dtype), "same_kind")
    except (NotImplementedError, TypeError):
        return False


def _check_columns_exist(meta: DatasetMeta, names: Sequence[str]) -> None:
    if not meta.data_files:
        raise DataError(f"{meta.root} has no data/*/*.parquet. Download or copy it again.")
    for path in meta.data_files:
        stored = set(open_parquet(path).schema_arrow.names)
        missing = [name for name in (*names, *index_features()) if name not in stored]
        if missing:
            raise ColumnError(
                f"{path} lacks the column {', '.join(missing)} that meta/info.json promises. "
                "Drop it, or write the dataset again."
            )


def _task(task_index: np.ndarray, meta: DatasetMeta, episode: int) -> str:
    tasks = np.unique(task_index)
    if len(tasks) != 1:
        raise DataError(
            f"episode {episode} of {meta.root} has {len(tasks)} tasks; one is supported. Split the "
            "episode, or give it one task."
        )
    if not 0 <= tasks[0] < len(meta.tasks):
        raise DataError(
            f"episode {episode} of {meta.root} has task_index {tasks[0]}, but there are "
            f"{len(meta.tasks)} tasks. Write the dataset again."
        )
    return meta.tasks[int(tasks[0])]
