"""Passes over a dataset's columns in bounded memory, each frame with the whole of its episode."""

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from recap_core.data.frames import column_to_numpy
from recap_core.data.index_columns import PLACE_COLUMNS, check_place
from recap_core.data.layout import DatasetMeta, open_parquet, require_features
from recap_core.errors import ColumnError, DataError


class FrameWindow(NamedTuple):
    """Successive frames, and the rows of every episode that one of them belongs to."""

    frames: Int64[np.ndarray, " b"]
    """Global indices."""
    first: int
    """Global index of the first row of ``columns``."""
    columns: dict[str, np.ndarray]


def frame_windows(
    meta: DatasetMeta, names: Sequence[str], *, num_frames: int
) -> Generator[FrameWindow]:
    """All frames of a dataset in order, some at a time; videos are never touched.

    Memory is that of one window and the episodes at its ends, however long the dataset is.

    Args:
        meta: The dataset.
        names: Columns.
        num_frames: Frames per window; the last window has what is left.

    Raises:
        ColumnError: If a column is missing, or rows are missing, doubled or out of order.
        DataError: If a parquet file cannot be read.
    """
    require_features(meta, [*names, *PLACE_COLUMNS])
    ends = np.cumsum(meta.episode_lengths)
    total = int(ends[-1])
    batches = _batches(meta, names, num_frames)
    held: dict[str, list[np.ndarray]] = {name: [] for name in names}
    first = loaded = 0
    for start in range(0, total, num_frames):
        stop = min(start + num_frames, total)
        # The last frame's episode is needed to its end.
        needed = int(ends[np.searchsorted(ends, stop - 1, side="right")])
        while loaded < needed:
            batch = next(batches, None)
            if batch is None:
                raise _wrong_number_of_rows(meta, loaded, total)
            for name in names:
                held[name].append(batch[name])
            rows = np.arange(loaded, loaded + len(batch["index"]))
            loaded += len(rows)
            if loaded > total:
                raise _wrong_number_of_rows(meta, loaded, total)
            episodes = np.searchsorted(ends, rows, side="right")
            check_place(batch, episodes, first=int(rows[0]), where=meta.root)
        columns = {name: np.concatenate(parts) for name, parts in held.items()}
        yield FrameWindow(np.arange(start, stop), first, columns)
        # The next window's first frame needs its episode from the beginning.
        episode = int(np.searchsorted(ends, stop, side="right"))
        kept_from = int(ends[episode - 1]) if episode else 0
        held = {name: [rows[kept_from - first :]] for name, rows in columns.items()}
        first = kept_from
    if loaded != total or next(batches, None) is not None:
        raise _wrong_number_of_rows(meta, loaded, total)


def _batches(
    meta: DatasetMeta, names: Sequence[str], num_rows: int
) -> Generator[dict[str, np.ndarray]]:
    columns = list(dict.fromkeys([*names, *PLACE_COLUMNS]))
    for path in meta.data_files:
        file = open_parquet(path)
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise ColumnError(
                f"{path} has no column {missing[0]}, but info.json does. Write it again."
            )
        try:
            for batch in file.iter_batches(batch_size=num_rows, columns=columns):
                yield {name: column_to_numpy(pa.chunked_array([batch[name]])) for name in columns}
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"parquet file {path} cannot be read ({error}). Write the dataset again."
            ) from error


def _wrong_number_of_rows(meta: DatasetMeta, found: int, total: int) -> ColumnError:
    more = "" if found < total else " or more"
    return ColumnError(
        f"the data files of {meta.root} hold {found}{more} rows, but the episodes have {total} "
        "frames. The dataset is incomplete; write it again."
    )
