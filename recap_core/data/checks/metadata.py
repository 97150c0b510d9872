"""``meta/``: totals, statistics, and where episodes are said to be."""

import json
from collections.abc import Generator
from typing import Any

import numpy as np

from recap_core.data.checks.finding import Finding, Place, from_error
from recap_core.data.layout import DATA_PATH, DatasetMeta, open_parquet, reading_parquet
from recap_core.errors import DataError

_STATISTICS = ("min", "max", "mean", "std", "count")


def check_totals(meta: DatasetMeta) -> Generator[Finding]:
    """Counts in ``info.json`` against the tables they count."""
    found: dict[str, Any] = {"total_tasks": len(meta.tasks)}
    if meta.num_episodes:
        found["splits"] = {"train": f"0:{meta.num_episodes}"}
    for key, expected in found.items():
        if key in meta.info and meta.info[key] != expected and _covers(meta.info[key], expected):
            yield Finding(
                severity="error" if key == "total_tasks" else "warning",
                check="totals",
                where=Place(feature=key, file="meta/info.json"),
                value=str(meta.info[key])[:80],
                rule=f"the dataset has {expected}",
                fix="correct info.json, or write the dataset again",
            )


def _covers(said: object, expected: object) -> bool:
    """Several splits may cover the episodes in another way."""
    return not (isinstance(said, dict) and isinstance(expected, dict) and len(said) > 1)


def check_episode_table(meta: DatasetMeta) -> Generator[Finding]:
    """The data files and spans that ``meta/episodes`` names; its reader checked the rest."""
    try:
        table, lengths = meta.episodes, meta.episode_lengths
    except DataError as error:
        yield from_error(error, check="episodes", where=Place(file="meta/episodes"))
        return
    columns = ("data/chunk_index", "data/file_index")
    if all(name in table.column_names for name in columns):
        pairs = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
        for episode, (chunk_index, file_index) in enumerate(pairs):
            name = DATA_PATH.format(chunk_index=chunk_index or 0, file_index=file_index or 0)
            if not (meta.root / name).is_file():
                yield Finding(
                    severity="error",
                    check="episodes",
                    where=Place(episode=episode, file=name),
                    value="no such file",
                    rule="the rows of an episode are in the file that meta/episodes names",
                    fix="restore the file, or write the dataset again",
                )
    for camera in meta.cameras:
        begin, end = (
            meta.episode_column(f"videos/{camera}/{name}_timestamp") for name in ("from", "to")
        )
        wrong = np.flatnonzero(np.abs((end - begin) * meta.fps - lengths) > 0.5)
        for episode in wrong.tolist():
            yield Finding(
                severity="error",
                check="episodes",
                where=Place(episode=episode, feature=camera),
                value=f"{end[episode] - begin[episode]:.3f} s of video for {lengths[episode]} rows",
                rule=f"an episode's video lasts as long as its rows at {meta.fps} fps",
                fix="write the dataset again",
            )


def check_statistics(meta: DatasetMeta) -> Generator[Finding]:
    """``meta/stats.json``, which policies of LeRobot normalise with."""
    try:
        stats = json.loads((meta.root / "meta" / "stats.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        yield Finding(
            severity="warning",
            check="statistics",
            where=Place(file="meta/stats.json"),
            value=f"cannot be read ({error})",
            rule="LeRobot's readers normalise with it",
            fix="write the dataset again",
        )
        return
    for name, feature in meta.features.items():
        if feature["dtype"] == "string":
            continue
        problem = _statistics_problem(stats.get(name) if isinstance(stats, dict) else None)
        if problem:
            yield Finding(
                severity="warning",
                check="statistics",
                where=Place(feature=name, file="meta/stats.json"),
                value=problem,
                rule="every number has min, max, mean and std",
                fix="write the dataset again",
            )


def check_episode_statistics(meta: DatasetMeta) -> Generator[Finding]:
    """Image statistics of every episode, without which a dataset cannot be merged."""
    for path in sorted((meta.root / "meta" / "episodes").glob("*/*.parquet")):
        file = path.relative_to(meta.root).as_posix()
        try:
            stored = open_parquet(path)
            for camera in meta.cameras:
                for name in (f"stats/{camera}/{key}" for key in _STATISTICS):
                    column = None
                    if name in stored.schema_arrow.names:
                        with reading_parquet(path):
                            column = stored.read(columns=[name]).column(0)
                    if column is None or column.null_count:
                        yield Finding(
                            severity="error",
                            check="statistics",
                            where=Place(feature=camera, file=file),
                            value=f"{name} is missing",
                            rule="merging takes the statistics of images from meta/episodes",
                            fix="write the dataset again",
                        )
        except DataError as error:
            yield from_error(error, check="statistics", where=Place(file=file))


def _statistics_problem(found: object) -> str | None:
    if not isinstance(found, dict):
        return "missing"
    for name in _STATISTICS[:-1]:
        try:
            values = np.asarray(found[name], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            return f"no usable {name}"
        if not values.size or not np.isfinite(values).all():
            return f"{name} is not finite"
    return None
