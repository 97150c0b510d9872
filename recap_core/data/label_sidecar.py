"""Where a relabelled dataset's labels come from, inside the dataset itself.

``meta/recap_labels.parquet`` has one row per frame, in global index order: ``index``,
``episode_index``, ``frame_index`` (int64), ``value`` and ``advantage`` (float32, null where there
is none), ``adv_ind``, ``rank`` (int64, -1 outside the pool) and ``threshold`` (float32, that of the
frame's group, also for frames that it does not decide about; null without one).
``meta/recap_labels.json`` says which artifacts and which rule they are of. LeRobot reads neither.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from recap_core.data.frames import FrameTable
from recap_core.data.label_table import LabelTable
from recap_core.errors import DataError
from recap_core.labels.adv_ind import NAMES

TABLE_FILE = "meta/recap_labels.parquet"
FACTS_FILE = "meta/recap_labels.json"
SIDECAR_FILES = (TABLE_FILE, FACTS_FILE)


def write_sidecar(  # noqa: PLR0913 - options are keyword-only
    output: Path,
    table: FrameTable,
    labels: LabelTable,
    facts: dict[str, Any],
    *,
    values: Float[np.ndarray, " n"] | None,
    thresholds: Float[np.ndarray, " n"] | None,
) -> int:
    """Write both files into the dataset ``output``; returns their size in bytes.

    Args:
        output: A v3.0 dataset.
        table: Its frames.
        labels: Label, advantage and rank of every frame.
        facts: What ``recap_labels.json`` says: plain JSON values.
        values: V of every frame, if it is stored.
        thresholds: Smallest positive advantage for every frame; NaN where there is none.
    """
    num_frames = len(labels.adv_ind)
    index = np.arange(num_frames)
    nothing = np.full(num_frames, np.nan, dtype=np.float32)

    def numbers(column: np.ndarray | None) -> pa.Array:
        filled = nothing if column is None else column.astype(np.float32)
        return pa.array(filled, from_pandas=True)  # NaN becomes null

    columns = {
        "index": pa.array(index),
        "episode_index": pa.array(table.episode_index),
        "frame_index": pa.array(index - table.episode_starts[table.episode_index]),
        "value": numbers(values),
        "advantage": numbers(labels.advantage),
        "adv_ind": pa.DictionaryArray.from_arrays(
            pa.array(labels.adv_ind), pa.array(NAMES, pa.string())
        ),
        "rank": pa.array(labels.rank),
        "threshold": numbers(thresholds),
    }
    pq.write_table(pa.table(columns), output / TABLE_FILE, compression="zstd")
    (output / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n")
    return sum((output / name).stat().st_size for name in SIDECAR_FILES)


def read_sidecar_facts(dataset: Path) -> dict[str, Any] | None:
    """What ``recap_labels.json`` of a dataset says; None if there is none.

    Raises:
        DataError: If it cannot be read.
    """
    path = dataset / FACTS_FILE
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Relabel the dataset again.") from error
    if not isinstance(facts, dict):
        raise DataError(f"{path} holds no facts about labels. Relabel the dataset again.")
    return facts
