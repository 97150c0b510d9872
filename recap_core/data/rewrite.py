"""A dataset like another one, but for some columns: parquet rewritten, videos shared or copied."""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recap_core.data.arrow_types import listed_cells, require_columns
from recap_core.data.columns import Feature
from recap_core.data.feature_statistics import aggregate_statistics, vector_statistics
from recap_core.data.frames import column_to_numpy
from recap_core.data.index_columns import PLACE_COLUMNS, check_place
from recap_core.data.layout import (
    DatasetMeta,
    new_parquet,
    open_parquet,
    read_row_group,
    require_features,
)
from recap_core.errors import ColumnError, DataError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.files import walk
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.lineage.links import link_tree

INFO = "meta/info.json"
STATS = "meta/stats.json"


def rewrite_columns(  # noqa: PLR0913 - options are keyword-only
    meta: DatasetMeta,
    output: Path,
    columns: Mapping[str, pa.Array],
    *,
    features: Mapping[str, Feature],
    info: Mapping[str, Any] | None = None,
    left_out: Collection[str] = (),
    shared: Literal["all", "videos", "nothing"] = "all",
    digests: DigestCache | None = None,
) -> int:
    """Write a dataset like ``meta``'s with other values in some columns; the source stays as it is.

    Data files are rewritten row group by row group, with all other columns and all metadata.
    Statistics are left as they are: :func:`rewrite_statistics` is for numbers.

    Args:
        meta: A v3.0 dataset; only read.
        output: Directory of the new dataset; exists and is empty.
        columns: New values by global index. A column that the dataset has keeps its type.
        features: Features of the columns; those that the dataset lacks are added.
        info: Entries of ``info.json`` that change, besides the features.
        left_out: Paths below ``meta/`` that the caller writes.
        shared: Which of the files that stay as they are become hard links; the others are copied.
        digests: The store's digest cache, if the source is in a store.

    Returns:
        New bytes on disk.

    Raises:
        ColumnError: If values do not fit the type of an existing column.
        DataError: If the source holds more or fewer rows than it promises.
    """
    require_features(meta, PLACE_COLUMNS)
    added = {name: ft for name, ft in features.items() if name not in meta.features}
    changes = {**(info or {}), **({"features": {**meta.features, **added}} if added else {})}
    skipped = {*left_out, *((INFO,) if changes else ())}

    def is_kept(path: str) -> bool:
        return not (path.startswith("data/") or path in skipped)

    def is_linked(path: str) -> bool:
        return shared == "all" or (shared == "videos" and path.startswith("videos/"))

    new_bytes = link_tree(
        meta.root, output, digests=digests, include=lambda path: is_kept(path) and is_linked(path)
    )
    if shared != "all":
        new_bytes += _copy_tree(
            meta.root, output, include=lambda path: is_kept(path) and not is_linked(path)
        )
    (output / "meta").mkdir(parents=True, exist_ok=True)
    if changes:
        (output / INFO).write_text(json.dumps({**meta.info, **changes}, indent=4))
        new_bytes += (output / INFO).stat().st_size
    return new_bytes + _rewrite_data(meta, output, columns, features)


def _rewrite_data(
    meta: DatasetMeta,
    output: Path,
    columns: Mapping[str, pa.Array],
    features: Mapping[str, Feature],
) -> int:
    """Write every data file with new columns; returns their size in bytes."""
    start = new_bytes = 0
    episodes = np.repeat(np.arange(len(meta.episode_lengths)), meta.episode_lengths)
    for path in meta.data_files:
        target = output / path.relative_to(meta.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        left = {name: values.slice(start) for name, values in columns.items()}
        require_columns(open_parquet(path).schema_arrow, PLACE_COLUMNS, meta.features, path=path)
        start += _rewrite(path, target, left, features, episodes=episodes, first=start)
        new_bytes += target.stat().st_size
    if start != meta.num_frames:
        raise DataError(
            f"the data files of {meta.root} hold {start} rows, but info.json says "
            f"{meta.num_frames}. The dataset is incomplete; write it again."
        )
    return new_bytes


def _copy_tree(source: Path, target: Path, *, include: Callable[[str], bool]) -> int:
    """Like :func:`link_tree`, with real copies; returns their size in bytes."""
    new_bytes = 0
    for file in walk(source).files:
        if file.relative != MANIFEST_FILE and include(file.relative):
            path = target / file.relative
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, path)
            new_bytes += file.stat.st_size
    return new_bytes


def _with_fields(schema: pa.Schema, features: Mapping[str, Feature]) -> pa.Schema:
    """The schema with all of these columns in it, also where Hugging Face looks for them."""
    metadata = dict(schema.metadata or {})
    for name, feature in features.items():
        if name in schema.names:
            continue
        schema = schema.append(pa.field(name, pa.type_for_alias(feature["dtype"])))
        if b"huggingface" in metadata:
            described = json.loads(metadata[b"huggingface"])
            value = {"dtype": feature["dtype"], "_type": "Value"}
            described["info"]["features"][name] = value
            metadata[b"huggingface"] = json.dumps(described).encode()
    return schema.with_metadata(metadata or None)


def _rewrite(  # noqa: PLR0913 - options are keyword-only
    source: Path,
    target: Path,
    columns: Mapping[str, pa.Array],
    features: Mapping[str, Feature],
    *,
    episodes: np.ndarray,
    first: int,
) -> int:
    """Copy one data file, whose first row is frame ``first``, with the first values of ``columns``.

    Returns:
        Its number of rows.
    """
    file = open_parquet(source)
    schema = _with_fields(file.schema_arrow, features)
    start = 0
    with new_parquet(target, schema) as writer:
        for group in range(file.num_row_groups):
            table = read_row_group(file, group, None, path=source)
            _require_order(table, episodes, first + start, source)
            arrays = dict(zip(table.column_names, table.columns, strict=True))
            for name, values in columns.items():
                arrays[name] = _cast(
                    values.slice(start, table.num_rows), schema.field(name), source
                )
            start += table.num_rows
            ordered = pa.table([arrays[name] for name in schema.names], schema=schema)
            writer.write_table(ordered, row_group_size=max(table.num_rows, 1))
    return start


def _require_order(table: pa.Table, episodes: np.ndarray, start: int, source: Path) -> None:
    """Raise ColumnError unless rows are the frames from ``start`` on, which get their values."""
    if start + table.num_rows > len(episodes):
        raise DataError(f"{source} holds more rows than info.json says. Write the dataset again.")
    columns = {
        name: column_to_numpy(table.column(name), name=f"column {name} of {source}")
        for name in PLACE_COLUMNS
    }
    check_place(columns, episodes[start : start + table.num_rows], first=start, where=source)


def _cast(values: pa.Array, field: pa.Field, source: Path) -> pa.Array:
    try:
        return listed_cells(values, field.type)
    except pa.ArrowException as error:
        raise ColumnError(
            f"{field.name} of {source} has type {field.type}, which cannot hold the new "
            f"{values.type} values ({error}). Take that column out of the dataset first."
        ) from error


def statistics_files(meta: DatasetMeta) -> list[str]:
    """Paths of what :func:`rewrite_statistics` writes."""
    found = [*sorted((meta.root / "meta" / "episodes").glob("*/*.parquet")), meta.root / STATS]
    return [path.relative_to(meta.root).as_posix() for path in found if path.is_file()]


def rewrite_statistics(
    meta: DatasetMeta,
    output: Path,
    columns: Mapping[str, np.ndarray],
    *,
    tasks: list[list[str]] | None = None,
) -> None:
    """Write ``meta/episodes`` and ``stats.json`` anew, with the statistics of some columns.

    Args:
        meta: The dataset that ``output`` is made from.
        output: The new dataset, without these files.
        columns: Numbers by global index, one per frame.
        tasks: Task texts of every episode, if they change.
    """
    ends = np.cumsum(meta.episode_lengths)
    episodes = [
        {name: vector_statistics(values[start:end, None]) for name, values in columns.items()}
        for start, end in zip(ends - meta.episode_lengths, ends, strict=True)
    ]
    for relative in statistics_files(meta):
        path = output / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if relative == STATS:
            stats = json.loads((meta.root / relative).read_text())
            for name, values in aggregate_statistics(episodes).items():
                stats[name] = {key: value.tolist() for key, value in values.items()}
            path.write_text(json.dumps(stats, indent=4))
            continue
        table = open_parquet(meta.root / relative).read()
        numbers = table.column("episode_index").to_pylist()
        if tasks is not None:
            table = _set_cells(table, "tasks", [tasks[number] for number in numbers], pa.string())
        for name, statistics in episodes[0].items():
            for key in statistics:
                cells = [episodes[number][name][key].tolist() for number in numbers]
                kind = pa.int64() if key == "count" else pa.float64()
                table = _set_cells(table, f"stats/{name}/{key}", cells, kind)
        pq.write_table(table, path, compression="snappy")


def _set_cells(
    table: pa.Table, name: str, cells: list[list[object]], kind: pa.DataType
) -> pa.Table:
    """The table with these lists in a column, which is appended if it is not there."""
    array = pa.array(cells, pa.list_(kind))
    if name not in table.column_names:
        return table.append_column(name, array)
    position = table.schema.get_field_index(name)
    return table.set_column(
        position, table.schema.field(position), array.cast(table.schema.types[position])
    )
