"""Rows of another tool's tables, and which frame of a dataset each of them speaks of."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Int64

from recap_core.data.frames import FrameTable, column_to_numpy
from recap_core.data.layout import open_parquet
from recap_core.errors import ColumnError, DataError

EPISODE = "episode_index"
FRAME = "frame_index"


def read_rows(
    paths: Sequence[Path], required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Columns of parquet files, their rows one after the other.

    Args:
        paths: Files with equal columns; at least one.
        required: Columns that must be there, besides ``episode_index`` and ``frame_index``.
        optional: Columns that are read if the first file has them.

    Raises:
        DataError: If a file cannot be read.
        ColumnError: If a column is missing, has another type in another file, or has empty cells.
    """
    wanted = [EPISODE, FRAME, *required]
    wanted += [name for name in optional if name in open_parquet(paths[0]).schema_arrow.names]
    tables = []
    for path in paths:
        file = open_parquet(path)
        missing = [name for name in wanted if name not in file.schema_arrow.names]
        if missing:
            raise ColumnError(
                f"{path} has no column {', '.join(missing)}; it has "
                f"{', '.join(file.schema_arrow.names)}. Check the tool, the tag and the path."
            )
        try:
            tables.append(file.read(columns=wanted).select(wanted).replace_schema_metadata())
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"parquet file {path} cannot be read ({error}). Let the tool write it again."
            ) from error
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ColumnError(
            f"the files beside {paths[0]} have columns of different types ({error}). Let the tool "
            "write them again."
        ) from error
    return {name: _numbers(table.column(name), name, paths[0]) for name in wanted}


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    if column.null_count:
        first = int(np.argmax(column.is_null().to_numpy()))
        raise ColumnError(
            f"{name} of {path} is empty or NaN in {column.null_count} of {len(column)} rows "
            f"(first: row {first}). Let the tool label all frames, then import again."
        )
    return column_to_numpy(column)


def rows_by_key(
    table: FrameTable, episode: np.ndarray, frame: np.ndarray, *, where: str
) -> Int64[np.ndarray, " n"]:
    """The row of every frame, for rows that say episode and frame within it.

    Args:
        table: The dataset.
        episode: Episode of every row.
        frame: Frame within the episode of every row.
        where: What to call the source in an error.

    Raises:
        ColumnError: If the columns hold no integers, or rows and frames do not match one to one.
    """
    for name, column in ((EPISODE, episode), (FRAME, frame)):
        if column.ndim != 1 or column.dtype.kind not in "iu":
            raise ColumnError(
                f"{name} of {where} has type {column.dtype} and {column.ndim} dimensions, but it "
                "must be one integer per row. Let the tool write it again."
            )
    episode, frame = episode.astype(np.int64), frame.astype(np.int64)
    is_known = (episode >= 0) & (episode < len(table.episode_lengths))
    known_episode = np.where(is_known, episode, 0)
    is_known &= (frame >= 0) & (frame < table.episode_lengths[known_episode])
    index = np.where(is_known, table.episode_starts[known_episode] + frame, -1)
    return rows_by_frame(
        table,
        index,
        where=where,
        row_name=lambda row: f"row {row}, episode {episode[row]}, frame {frame[row]}",
    )


def rows_by_frame(
    table: FrameTable,
    frame_of_row: Int[np.ndarray, " r"],
    *,
    where: str,
    row_name: Callable[[int], str],
) -> Int64[np.ndarray, " n"]:
    """The row of every frame of a dataset.

    Args:
        table: The dataset.
        frame_of_row: Global index of the frame that each row speaks of; -1 if there is none.
        where: What to call the source in an error.
        row_name: What to call a row in an error.

    Raises:
        ColumnError: Unless every frame has exactly one row and every row a frame.
    """
    is_known = frame_of_row >= 0
    counts = np.bincount(frame_of_row[is_known], minlength=table.num_frames)
    missing, repeated = np.flatnonzero(counts == 0), np.flatnonzero(counts > 1)
    problems = []
    total, num_rows = table.num_frames, len(frame_of_row)
    if missing.size:
        first = _frame_name(table, int(missing[0]))
        problems.append(f"{missing.size} of {total} frames are missing (first: {first})")
    if not is_known.all():
        first = row_name(int(np.argmin(is_known)))
        problems.append(f"{(~is_known).sum()} of {num_rows} rows are of no frame (first: {first})")
    if repeated.size:
        first = _frame_name(table, int(repeated[0]))
        problems.append(f"{repeated.size} of {total} frames have several rows (first: {first})")
    if problems:
        raise ColumnError(
            f"{where} does not fit the dataset {table.meta.root}: {'; '.join(problems)}. "
            "Import labels that were made for exactly this dataset."
        )
    rows = np.empty(table.num_frames, dtype=np.int64)
    rows[frame_of_row] = np.arange(num_rows)
    return rows


def _frame_name(table: FrameTable, index: int) -> str:
    episode = int(table.episode_index[index])
    return f"episode {episode}, frame {index - int(table.episode_starts[episode])}"


def frame_keys(table: FrameTable) -> dict[str, Int64[np.ndarray, " n"]]:
    """``episode_index`` and ``frame_index`` of every frame of a dataset."""
    episode = table.episode_index
    return {EPISODE: episode, FRAME: np.arange(len(episode)) - table.episode_starts[episode]}
