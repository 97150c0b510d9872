"""Checks of the columns by which a frame is found."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from recap_core.data.arrow_types import scalar_cells, to_array
from recap_core.data.columns import index_features
from recap_core.errors import ColumnError

TOLERANCE_S = 1e-4
"""LeRobot's tolerance between a frame's time and its row's."""


def check_index_columns(
    table: pa.Table, *, episode: int, first_index: int, fps: int, where: str
) -> None:
    """Raise ColumnError unless the rows of one episode are numbered as they must be.

    ``frame_index`` runs from 0, ``timestamp`` is ``frame_index / fps`` seconds, ``index`` runs on
    from the episodes before, and ``episode_index`` is the episode's.

    Args:
        table: Rows of one episode.
        episode: Its number.
        first_index: Frames of all episodes before.
        fps: Frames per second.
        where: What to call the episode in an error.
    """
    frame_index = np.arange(table.num_rows)
    expected = {
        "frame_index": frame_index,
        "timestamp": frame_index / fps,
        "index": first_index + frame_index,
        "episode_index": np.full(table.num_rows, episode),
    }
    columns: dict[str, np.ndarray] = {}
    for name in index_features():
        if name not in table.column_names or table.column(name).null_count:
            raise ColumnError(f"{where} lacks {name}, or has empty cells in it. Write it again.")
        columns[name] = to_array(scalar_cells(table.column(name), name=f"{name} of {where}"))
        if columns[name].dtype.kind not in ("iuf" if name == "timestamp" else "iu"):
            kind = table.column(name).type
            raise ColumnError(f"{name} of {where} holds {kind}, not numbers. Write it again.")
    for name, wanted in expected.items():
        values = columns[name]
        tolerance = TOLERANCE_S if name == "timestamp" else 0
        wrong = np.flatnonzero(~(np.abs(values - wanted) <= tolerance))
        if wrong.size:
            row, reason = wrong[0], "frames are missing, repeated or out of order"
            span_s = float(values[-1] - values[0])
            if name == "timestamp" and span_s > 0:
                reason = f"the rows run at {(len(values) - 1) / span_s:.4g} Hz, not at {fps} fps"
            raise ColumnError(
                f"{name} in row {row} of {where} is {values[row]:.9g}, but must be "
                f"{wanted[row]:.9g} ({wrong.size} of {table.num_rows} rows are wrong): {reason}. "
                "Write the dataset again."
            )


PLACE_COLUMNS = ("index", "episode_index")
"""Columns that say which frame a row is."""


def check_place(
    columns: Mapping[str, np.ndarray], episodes: Int[np.ndarray, " n"], *, first: int, where: object
) -> None:
    """Raise ColumnError unless rows are the frames that should be there, in order.

    Args:
        columns: ``PLACE_COLUMNS``, [n] each.
        episodes: ``episode_index`` that every row should have.
        first: ``index`` that the first row should have.
        where: What to call the rows in an error.
    """
    for name, expected in zip(
        PLACE_COLUMNS, (np.arange(first, first + len(episodes)), episodes), strict=True
    ):
        values = columns[name]
        wrong = np.flatnonzero(values != expected)
        if wrong.size:
            raise ColumnError(
                f"{name} of row {first + wrong[0]} of {where} is {values[wrong[0]]}, but must be "
                f"{expected[wrong[0]]} ({wrong.size} of {len(values)} rows are wrong): frames are "
                "missing, doubled or out of order. Write the dataset again."
            )
