"""Labels to exchange, and files as other tools lay them out."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from recap_core.data.frames import FrameTable
from recap_core.data.interchange.exchanged import ExchangedLabels
from recap_core.data.label_table import LabelTable

NUM_FRAMES = 46
"""Of the dataset of ``conftest.py``: episodes of 12, 15, 10 and 9 frames."""


def labels(
    adv_ind: np.ndarray, advantage: np.ndarray | None = None, values: np.ndarray | None = None
) -> ExchangedLabels:
    """Labels with advantages and values, or without."""
    if advantage is None:
        advantage = np.full(len(adv_ind), np.nan, dtype=np.float32)
    rank = np.full(len(adv_ind), -1, dtype=np.int64)
    return ExchangedLabels(LabelTable(advantage, adv_ind.astype(np.int8), rank), values)


def alternating() -> ExchangedLabels:
    """Negative and positive in turn, with an advantage and a value for every frame."""
    index = np.arange(NUM_FRAMES)
    advantage = np.where(index % 2, 0.5, -0.5).astype(np.float32) + (index / 100).astype(np.float32)
    return labels(index % 2 + 1, advantage, (-index / NUM_FRAMES).astype(np.float32))


def numbers(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    """One float32 number per frame."""
    number = st.floats(low, high, width=32)
    return st.lists(number, min_size=NUM_FRAMES, max_size=NUM_FRAMES).map(
        lambda found: np.array(found, dtype=np.float32)
    )


def codes(low: int) -> st.SearchStrategy[np.ndarray]:
    """One label per frame, from the code ``low`` upwards."""
    code = st.integers(low, 2)
    return st.lists(code, min_size=NUM_FRAMES, max_size=NUM_FRAMES).map(
        lambda found: np.array(found, dtype=np.int8)
    )


def assert_same(found: ExchangedLabels, wanted: ExchangedLabels) -> None:
    """Labels, advantages and values are equal to the last bit."""
    np.testing.assert_array_equal(found.labels.adv_ind, wanted.labels.adv_ind)
    np.testing.assert_array_equal(found.labels.advantage, wanted.labels.advantage)
    assert (found.values is None) == (wanted.values is None)
    if found.values is not None and wanted.values is not None:
        np.testing.assert_array_equal(found.values, wanted.values)


def keys(table: FrameTable) -> dict[str, np.ndarray]:
    """Episode and frame of every row, as the dataset itself has them."""
    return {name: table.column(name).copy() for name in ("episode_index", "frame_index")}


def write_parquet(path: Path, columns: dict[str, np.ndarray]) -> Path:
    """A parquet file in a directory that may not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
    return path


def write_json(path: Path, content: object) -> Path:
    """A JSON file in a directory that may not exist yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
