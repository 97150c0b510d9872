"""The tables of ``meta/``: what tasks and episodes must say before anything relies on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from recap_core.data.arrow_types import to_array
from recap_core.errors import DataError


def task_texts(table: pa.Table, root: Path) -> tuple[str, ...]:
    """Task texts by ``task_index``.

    Raises:
        DataError: If a column is missing, a text is, or the indices are not 0, 1, 2, ...
    """
    where = f"meta/tasks.parquet of {root}"
    names = ("task", "__index_level_0__")
    text = next((name for name in names if name in table.column_names), names[0])
    index = _integers(table, "task_index", where)
    column = _column(table, text, where)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text or column.null_count:
        raise DataError(
            f"{text} in {where} is {column.type} with {column.null_count} empty cells, but must be "
            "one text per task. Write the dataset again."
        )
    if not np.array_equal(np.sort(index), np.arange(len(index))):
        raise DataError(
            f"{where} numbers its tasks {index.tolist()[:8]}, but task_index must count 0, 1, 2, "
            "... Write the dataset again."
        )
    texts = column.to_pylist()
    return tuple(texts[row] for row in np.argsort(index))


def check_episodes(table: pa.Table, *, root: Path, cameras: Sequence[str], fps: int) -> None:
    """Raise DataError unless ``meta/episodes`` says of every episode where its frames are.

    Args:
        table: One row per episode, sorted by ``episode_index``.
        root: The dataset, for the error.
        cameras: Its video features.
        fps: Its frames per second.
    """
    where = f"meta/episodes of {root}"
    if not table.num_rows:
        raise DataError(f"{root} has no episode. Record at least one, or choose another dataset.")
    index = _integers(table, "episode_index", where)
    _refuse(index != np.arange(len(index)), "episode_index", index, "count 0, 1, 2, ...", where)
    length = _integers(table, "length", where)
    _refuse(length < 1, "length", length, "be at least 1", where)
    starts = np.cumsum(length) - length
    for name, expected in (("dataset_from_index", starts), ("dataset_to_index", starts + length)):
        if name in table.column_names:
            found = _integers(table, name, where)
            _refuse(found != expected, name, found, "follow from the lengths", where)
    if "round" in table.column_names:
        _integers(table, "round", where)
    for camera in cameras:
        for name in (f"videos/{camera}/chunk_index", f"videos/{camera}/file_index"):
            numbers = _integers(table, name, where)
            _refuse(numbers < 0, name, numbers, "be 0 or more", where)
        begin, end = (
            _seconds(table, f"videos/{camera}/{name}", where)
            for name in ("from_timestamp", "to_timestamp")
        )
        rule = "be a time in the file, before the episode's end in it"
        is_wrong = ~((begin >= 0) & (end > begin) & np.isfinite(end))
        _refuse(is_wrong, f"videos/{camera}/from_timestamp", begin, rule, where)
        rule = f"be the episode's length at {fps} fps after from_timestamp"
        is_wrong = ~(np.abs((end - begin) * fps - length) < 0.5)
        _refuse(is_wrong, f"videos/{camera}/to_timestamp", end, rule, where)


def _refuse(bad: np.ndarray, name: str, values: np.ndarray, rule: str, where: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"{name} of episode {at} in {where} is {values[at]}, but must {rule} "
            f"({int(bad.sum())} of {len(bad)} are wrong). Write the dataset again."
        )


def _column(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"{where} has no column {name}. Write the dataset again.")
    return table.column(name)


def _integers(table: pa.Table, name: str, where: str) -> np.ndarray:
    column = _column(table, name, where)
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(
            f"{name} in {where} is {column.type} with {column.null_count} empty cells, but must be "
            "whole numbers. Write the dataset again."
        )
    return to_array(column).astype(np.int64)


def _seconds(table: pa.Table, name: str, where: str) -> np.ndarray:
    column = _column(table, name, where)
    is_number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    if not is_number or column.null_count:
        raise DataError(
            f"{name} in {where} is {column.type} with {column.null_count} empty cells, but must be "
            "seconds. Write the dataset again."
        )
    return to_array(column).astype(np.float64)
