"""RLinf: labels and returns in parquet files of their own below ``meta/``."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.data.frames import FrameTable
from recap_core.data.interchange.exchanged import (
    ExchangedLabels,
    advantages,
    codes_of,
    exchanged_labels,
    positives,
)
from recap_core.data.interchange.rows import EPISODE, FRAME, frame_keys, read_rows, rows_by_key
from recap_core.errors import ColumnError, DataError

IS_POSITIVE, ADVANTAGE, VALUE = "advantage", "advantage_continuous", "value_current"


class Returns(NamedTuple):
    """RLinf's rewards and undiscounted returns of every frame, by global index, in frames."""

    returns: Float32[np.ndarray, " n"]
    rewards: Float32[np.ndarray, " n"]


def sidecar(name: str, tag: str | None) -> str:
    """Path of ``advantages`` or ``returns`` in a dataset."""
    return f"meta/{name}_{tag}.parquet" if tag else f"meta/{name}.parquet"


def read_rlinf(source: Path, table: FrameTable, *, tag: str | None = None) -> ExchangedLabels:
    """Read an advantage file of RLinf's, RECAP's or STEAM's.

    Args:
        source: The file, or the dataset with it in ``meta/``.
        table: The dataset that was labelled.
        tag: Of the file, if ``source`` is a dataset.

    Raises:
        DataError: If there is no such file, or it cannot be read.
        ColumnError: If rows and frames do not match, a label is no boolean, or a number is NaN.
    """
    path = _find(source, "advantages", tag)
    columns = read_rows([path], [IS_POSITIVE], [ADVANTAGE, VALUE])
    is_positive = columns[IS_POSITIVE]
    if is_positive.dtype != np.bool_:
        raise ColumnError(
            f"{IS_POSITIVE} of {path} has type {is_positive.dtype}, but RLinf's labels are "
            f"booleans (the number is {ADVANTAGE}). Let RLinf label the dataset again."
        )
    rows = rows_by_key(table, columns[EPISODE], columns[FRAME], where=str(path))
    return exchanged_labels(
        codes_of(is_positive[rows]),
        _floats(columns, ADVANTAGE, rows, path),
        _floats(columns, VALUE, rows, path),
        where=str(path),
    )


def _floats(
    columns: dict[str, np.ndarray], name: str, rows: np.ndarray, path: Path
) -> np.ndarray | None:
    if name not in columns:
        return None
    if columns[name].dtype.kind != "f":
        raise ColumnError(
            f"{name} of {path} has type {columns[name].dtype}, but it must be a floating point "
            "number. Let RLinf label the dataset again."
        )
    return columns[name][rows]


def _find(source: Path, name: str, tag: str | None) -> Path:
    if source.is_file():
        return source
    path = source / sidecar(name, tag)
    if not path.is_file():
        found = sorted(other.name for other in (source / "meta").glob(f"{name}*.parquet"))
        raise DataError(
            f"there is no {path}; meta/ has {', '.join(found) or f'no {name} of RLinf at all'}. "
            "Give another tag, or the path of the file itself."
        )
    return path


def write_rlinf(
    output: Path,
    table: FrameTable,
    exchanged: ExchangedLabels,
    config: ExportLabelsConfig,
    *,
    dataset_name: str,
) -> None:
    """Write ``meta/advantages[_tag].parquet`` and, with a failure reward, the returns file.

    The columns are those that RLinf's training, relabelling and plots read. Those that describe
    its own sum of rewards are left out: our advantage need not come from that sum.

    Args:
        output: An existing directory.
        table: The dataset.
        exchanged: Its labels.
        config: Tag, failure reward, and what becomes of what a boolean cannot hold.
        dataset_name: What RLinf calls the dataset.

    Raises:
        ColumnError: If labels or advantages are missing and the config does not say what then.
    """
    is_positive = positives(exchanged.labels, none_as=config.none_as)
    advantage = advantages(exchanged.labels, fill=config.fill_advantage)
    columns: dict[str, object] = dict(frame_keys(table))
    if advantage is not None:
        columns[ADVANTAGE] = advantage.astype(np.float64)
    if config.failure_reward is not None:
        returns = rlinf_returns(table, failure_reward=config.failure_reward)
        columns["return"] = returns.returns.astype(np.float64)
        _write_returns(output / sidecar("returns", config.tag), table, returns)
    if exchanged.values is not None:
        columns[VALUE] = exchanged.values.astype(np.float64)
    columns["dataset_name"] = pa.array([dataset_name] * table.num_frames, pa.string())
    columns[IS_POSITIVE] = is_positive
    _write(output / sidecar("advantages", config.tag), columns)


def rlinf_returns(table: FrameTable, *, failure_reward: float) -> Returns:
    """-1 per frame, and at the last one 0 after a success or the failure reward; no discount.

    Args:
        table: The dataset; its outcomes are used, demonstrations are successes.
        failure_reward: At the last frame of a failure, in frames (RLinf's example has -300).
    """
    last = np.where(table.success, 0.0, failure_reward)
    to_go = np.repeat(table.episode_ends, table.episode_lengths) - 1 - np.arange(table.num_frames)
    rewards = np.full(table.num_frames, -1.0)
    rewards[table.episode_ends - 1] = last
    returns = np.repeat(last, table.episode_lengths) - to_go
    return Returns(returns.astype(np.float32), rewards.astype(np.float32))


def read_rlinf_returns(source: Path, table: FrameTable, *, tag: str | None = None) -> Returns:
    """Read RLinf's returns file; arguments and errors as for :func:`read_rlinf`."""
    path = _find(source, "returns", tag)
    columns = read_rows([path], ["return", "reward"])
    rows = rows_by_key(table, columns[EPISODE], columns[FRAME], where=str(path))
    parts = []
    for name in ("return", "reward"):
        values = _floats(columns, name, rows, path)
        if values is None or not np.isfinite(values).all():
            raise ColumnError(f"{name} of {path} holds NaN or infinity. Compute the returns again.")
        parts.append(values.astype(np.float32))
    return Returns(*parts)


def _write_returns(path: Path, table: FrameTable, returns: Returns) -> None:
    tasks = pa.DictionaryArray.from_arrays(pa.array(table.task_index), pa.array(table.tasks))
    columns = {
        **frame_keys(table),
        "return": returns.returns,
        "reward": returns.rewards,
        "prompt": tasks.cast(pa.string()),
    }
    _write(path, columns)


def _write(path: Path, columns: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
