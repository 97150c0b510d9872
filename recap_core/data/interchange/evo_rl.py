"""Evo-RL: value, advantage and indicator as columns of the dataset itself."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.data.columns import Feature
from recap_core.data.frames import FrameTable
from recap_core.data.interchange.exchanged import (
    ExchangedLabels,
    advantages,
    codes_of,
    exchanged_labels,
    positives,
)
from recap_core.data.interchange.rows import EPISODE, FRAME, read_rows, rows_by_key
from recap_core.data.layout import read_meta
from recap_core.data.rewrite import rewrite_columns, rewrite_statistics, statistics_files
from recap_core.errors import ColumnError
from recap_core.lineage.digest_cache import DigestCache


def field(name: str, tag: str | None) -> str:
    """Column of ``value``, ``advantage`` or ``acp_indicator``."""
    return f"complementary_info.{name}_{tag}" if tag else f"complementary_info.{name}"


def read_evo_rl(source: Path, table: FrameTable, *, tag: str | None = None) -> ExchangedLabels:
    """Read the columns of a dataset that Evo-RL annotated.

    Args:
        source: The annotated v3.0 dataset.
        table: The dataset that these labels are for: the same frames.
        tag: Suffix of the columns.

    Raises:
        DataError: If ``source`` is no dataset, or cannot be read.
        ColumnError: If rows and frames do not match, an indicator is no integer 0 or 1, or a number
            is NaN (Evo-RL's mark of frames that it did not annotate).
    """
    meta = read_meta(source)
    indicator, value, advantage = (field(n, tag) for n in ("acp_indicator", "value", "advantage"))
    if indicator not in meta.features:
        found = [name for name in meta.features if name.startswith("complementary_info.acp_")]
        raise ColumnError(
            f"{source} has no column {indicator}; it has "
            f"{', '.join(found) or 'no indicators of Evo-RL at all'}. Give another tag."
        )
    columns = read_rows(meta.data_files, [indicator], [value, advantage])
    is_bad = _is_no_indicator(columns[indicator])
    if is_bad.any():
        first = np.argmax(is_bad)
        raise ColumnError(
            f"{indicator} of {source} is {columns[indicator][first]} "
            f"({columns[indicator].dtype}) in row {first}, but it must be the integer 0 or 1 "
            f"({is_bad.sum()} of {len(is_bad)} rows are wrong). Annotate the dataset again."
        )
    rows = rows_by_key(table, columns[EPISODE], columns[FRAME], where=str(source))
    return exchanged_labels(
        codes_of(columns[indicator][rows] == 1),
        columns[advantage][rows] if advantage in columns else None,
        columns[value][rows] if value in columns else None,
        where=str(source),
    )


def _is_no_indicator(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iu":
        return np.full(len(values), fill_value=True)
    return ~np.isin(values, (0, 1))


def write_evo_rl(  # noqa: PLR0913 - options are keyword-only
    output: Path,
    table: FrameTable,
    exchanged: ExchangedLabels,
    config: ExportLabelsConfig,
    *,
    share: bool = True,
    digests: DigestCache | None = None,
) -> None:
    """Write the dataset with Evo-RL's columns: the indicator, and value and advantage if known.

    Args:
        output: Directory of the new dataset; exists and is empty.
        table: The dataset.
        exchanged: Its labels.
        config: Tag, and what becomes of what an integer 0 or 1 cannot hold.
        share: Hard-link the videos; else copy them. Everything else is copied.
        digests: The store's digest cache, if the dataset is in a store.

    Raises:
        ColumnError: If labels or advantages are missing and the config does not say what then.
    """
    indicator = positives(exchanged.labels, none_as=config.none_as).astype(np.int64)
    known = {
        "value": exchanged.values,
        "advantage": advantages(exchanged.labels, fill=config.fill_advantage),
        "acp_indicator": indicator,
    }
    columns = {field(n, config.tag): values for n, values in known.items() if values is not None}
    features: dict[str, Feature] = {
        name: {"dtype": str(values.dtype), "shape": [1], "names": None}
        for name, values in columns.items()
    }
    rewrite_columns(
        table.meta,
        output,
        {name: pa.array(values) for name, values in columns.items()},
        features=features,
        left_out=statistics_files(table.meta),
        shared="videos" if share else "nothing",
        digests=digests,
    )
    rewrite_statistics(table.meta, output, columns)
