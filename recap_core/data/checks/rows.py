"""The rows of a dataset's data files, episode by episode, however broken they are."""

from collections.abc import Callable, Generator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from recap_core.data.checks.episode import Episode
from recap_core.data.checks.finding import Finding, Place, from_error
from recap_core.data.checks.schema import check_columns_of, readable
from recap_core.data.columns import REWARD
from recap_core.data.frames import column_to_numpy
from recap_core.data.layout import DatasetMeta, open_parquet, reading_parquet
from recap_core.errors import DataError

ROWS_PER_READ = 4096

type Report = Callable[[Finding], None]


def episodes(meta: DatasetMeta, report: Report) -> Generator[Episode]:
    """Runs of rows with one ``episode_index``; only one of them is in memory.

    Columns that cannot be read are reported and left out; so is a file, or the rest of it.

    Args:
        meta: The dataset.
        report: Takes what is wrong with files and columns.
    """
    origins = episode_origins(meta)
    pending: list[pa.Table] = []
    number, start = -1, 0
    for path in meta.data_files:
        try:
            for table in _tables(path, meta, report):
                ids = column_to_numpy(table.column("episode_index"))
                for run in _runs(ids):
                    part = table.slice(run.start, run.stop - run.start)
                    is_same = bool(pending) and ids[run.start] == number
                    if pending and not (is_same and part.schema.equals(pending[0].schema)):
                        episode = _episode(number, start, pending, origins, report)
                        yield episode
                        start, pending = start + episode.length, []
                    pending.append(part)
                    number = int(ids[run.start])
        except DataError as error:
            where = Place(file=path.relative_to(meta.root).as_posix())
            report(from_error(error, check="rows", where=where))
    if pending:
        yield _episode(number, start, pending, origins, report)


def _tables(path: Path, meta: DatasetMeta, report: Report) -> Generator[pa.Table]:
    """Readable columns of a file, some thousand rows at a time."""
    file = open_parquet(path)
    for finding in check_columns_of(path, file.schema_arrow, meta):
        report(finding)
    names = readable(file.schema_arrow, meta)
    if "episode_index" not in names:
        return  # reported; without it nobody knows where an episode ends
    with reading_parquet(path):
        # One row group after the other: reading ahead over all of them holds the whole file.
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(ROWS_PER_READ, row_groups=[group], columns=names):
                if batch.column("episode_index").null_count:
                    raise DataError(f"episode_index of {path} has empty cells. Write it again.")
                yield pa.table(batch)


def _runs(ids: np.ndarray) -> Generator[slice]:
    """Slices of equal neighbours."""
    edges = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
    for first, last in pairwise(edges):
        if last > first:
            yield slice(first, last)


def _episode(
    number: int, start: int, parts: list[pa.Table], origins: list[str], report: Report
) -> Episode:
    table = pa.concat_tables(parts)
    columns = {}
    for name in table.column_names:
        try:
            columns[name] = column_to_numpy(table.column(name), name=name)
        except DataError as error:
            report(from_error(error, check="rows", where=Place(episode=number, feature=name)))
    origin = origins[number] if 0 <= number < len(origins) else ""
    success = bool(columns[REWARD][-1] > 0) if REWARD in columns else None
    return Episode(number, start, columns, success, origin)


def episode_origins(meta: DatasetMeta) -> list[str]:
    """Which recorded episode every episode is; empty text or list where nobody says."""
    try:
        table = meta.episodes
    except DataError:
        return []  # check_episode_table says why
    if not {"source", "raw_episode"} <= set(table.column_names):
        return []
    pairs = zip(
        *(table.column(name).to_pylist() for name in ("source", "raw_episode")), strict=True
    )
    return [f"{source}/{raw}" if raw else "" for source, raw in pairs]
