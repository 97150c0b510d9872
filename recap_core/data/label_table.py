"""Labels as a file of their own: one row per frame, in global index order.

``labels.parquet`` has the columns ``index`` (int64), ``advantage`` (float32, null where undefined),
``adv_ind`` (dictionary of ``none``, ``negative``, ``positive``) and ``rank`` (int64, -1 outside the
threshold's pool).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int8, Int64

from recap_core.data.arrow_types import to_array
from recap_core.errors import ColumnError, DataError
from recap_core.labels.adv_ind import NAMES, encode_adv_ind

LABELS_FILE = "labels.parquet"
_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("advantage", pa.float32()),
        ("adv_ind", pa.dictionary(pa.int8(), pa.string())),
        ("rank", pa.int64()),
    ]
)


class LabelTable(NamedTuple):
    """Labels of every frame of a dataset."""

    advantage: Float32[np.ndarray, " n"]
    """NaN where it is undefined."""
    adv_ind: Int8[np.ndarray, " n"]
    """Codes of :data:`recap_core.labels.adv_ind.NAMES`."""
    rank: Int64[np.ndarray, " n"]
    """0 for the largest advantage of the pool; -1 outside it."""


def write_label_table(path: Path, table: LabelTable) -> None:
    """Write ``table``; frame ``i`` is row ``i``."""
    names = pa.array(NAMES, pa.string())
    columns = [
        pa.array(np.arange(len(table.adv_ind))),
        pa.array(table.advantage, from_pandas=True),  # NaN becomes null
        pa.DictionaryArray.from_arrays(pa.array(table.adv_ind), names),
        pa.array(table.rank),
    ]
    pq.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), path)


def read_label_table(path: Path) -> LabelTable:
    """Read what :func:`write_label_table` wrote.

    Raises:
        DataError: If the file is missing or cut short.
        ColumnError: If a column is missing, or rows are not in index order.
    """
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"labels {path} cannot be read ({error}). Label again.") from error
    missing = set(_SCHEMA.names) - set(table.column_names)
    if missing:
        raise ColumnError(f"labels {path} lack {sorted(missing)}. Label again.")
    index = to_array(table.column("index"))
    if not np.array_equal(index, np.arange(len(index))):
        raise ColumnError(f"labels {path} are not in index order. Label again.")
    adv_ind = encode_adv_ind(np.array(table.column("adv_ind").to_pylist(), dtype=np.str_))
    return LabelTable(to_array(table.column("advantage")), adv_ind, to_array(table.column("rank")))
