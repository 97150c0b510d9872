"""Several datasets into one: demonstrations and the rollouts of every round."""

import logging
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recap_core.data.annotations import Corrections, key_of_row
from recap_core.data.arrow_types import require_columns
from recap_core.data.columns import (
    CORRECTION_INDEX,
    PHASE,
    Feature,
    check_finite,
    check_recap_columns,
    index_features,
    recap_features,
)
from recap_core.data.dataset_writer import (
    DatasetSummary,
    DatasetWriter,
    Origin,
    VideoSpan,
    emptied_on_error,
)
from recap_core.data.feature_statistics import MOMENTS, QUANTILES, FeatureStatistics
from recap_core.data.frames import column_to_numpy
from recap_core.data.layout import DatasetMeta, open_parquet, read_meta, read_row_group
from recap_core.errors import ConfigError, DataError, IncompatibleError
from recap_core.labels.targets import reference_labels
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.links import link_file
from recap_core.progress import Progress, Silent

logger = logging.getLogger(__name__)

COMPARED = ("dtype", "shape", "names")
OPTIONAL = (CORRECTION_INDEX,)
"""Columns that a merged dataset has only if every source has them."""
_PLACED = ("task_index", "index", "episode_index")
"""Columns that say where a row belongs."""
COMPARED_VIDEO = ("video.codec", "video.pix_fmt")


def merge_datasets(  # noqa: PLR0913 - options are keyword-only
    sources: Sequence[Path],
    output: Path,
    *,
    names: Sequence[str] = (),
    repeats: Sequence[int] = (),
    corrections: Corrections | None = None,
    digests: DigestCache | None = None,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Merge datasets of equal fps and features, episodes in the given order.

    Rows are rewritten with new ``index``, ``episode_index`` and ``task_index`` (tasks are matched
    by text); videos are shared by hard link; ``source`` and ``round`` of every episode are kept.
    A corrected outcome rewrites ``reward``, ``reward_label`` and ``value_label`` of its episode by
    the reference rule. On an error nothing is left in ``output``.

    Args:
        sources: Directories of v3.0 datasets; only read.
        output: Directory of the merged dataset; must not exist or be empty.
        names: What to call each source where its episodes do not say where they come from; left
            out, the names of the directories.
        repeats: How often the episodes of each source are taken; left out, once.
        corrections: Outcomes changed and episodes excluded after the fact; those of other
            episodes are ignored.
        digests: The store's digest cache.
        progress: Who watches.

    Raises:
        IncompatibleError: If fps or a feature differs, naming it.
        ConfigError: If names or repeats are not one per source.
        DataError: If a source is incomplete, all episodes are excluded, or ``output`` is taken.
    """
    names, repeats = _one_per_source(sources, names, repeats)
    metas = [read_meta(source) for source in sources]
    for meta in metas[1:]:
        _check_like(meta, metas[0])
    left_out = {*index_features(), *_lacking(metas)}
    features = {n: ft for n, ft in metas[0].features.items() if n not in left_out}
    shared = _Shared(corrections or {}, _common_statistics(metas), digests)
    robot_type = next((meta.robot_type for meta in metas if meta.robot_type), None)
    total = sum(meta.num_episodes * times for meta, times in zip(metas, repeats, strict=True))
    with (
        emptied_on_error(output),
        DatasetWriter(output, features, fps=metas[0].fps, robot_type=robot_type) as writer,
        (progress or Silent()).bar("merge", total) as bar,
    ):
        done = 0
        for meta, name, times in zip(metas, names, repeats, strict=True):
            source = _Source(writer, meta, name, shared)
            for _ in range(times):
                for _ in source.add_episodes():
                    done += 1
                    bar.update(done)
        if not writer.num_episodes:
            raise DataError(
                f"annotations exclude all {total} episodes that were to be merged. "
                "Keep at least one."
            )
        return writer.finish()


def _one_per_source(
    sources: Sequence[Path], names: Sequence[str], repeats: Sequence[int]
) -> tuple[Sequence[str], Sequence[int]]:
    """Names and repeats, the defaults filled in."""
    if not sources:
        raise DataError("no dataset was given to merge. Pass at least one.")
    names = names or [source.name for source in sources]
    repeats = repeats or [1] * len(sources)
    for what, given in (("names", names), ("repeats", repeats)):
        if len(given) != len(sources):
            raise ConfigError(
                f"{len(given)} {what} were given for {len(sources)} datasets to merge: "
                f"{list(given)}. Give one for each dataset."
            )
    if min(repeats) < 1:
        raise ConfigError(f"repeats are {list(repeats)}, but each must be 1 or more.")
    return names, repeats


def _check_like(meta: DatasetMeta, first: DatasetMeta) -> None:
    """Raise IncompatibleError unless two datasets have the same rate and features."""
    where = f"{meta.root} and {first.root} cannot be merged"
    if meta.fps != first.fps:
        raise IncompatibleError(
            f"{where}: fps is {meta.fps} and {first.fps}. Convert both with the same target_fps."
        )
    types = meta.robot_type, first.robot_type
    if all(types) and types[0] != types[1]:
        raise IncompatibleError(
            f"{where}: robot_type is {types[0]} and {types[1]}. Merge datasets of one robot."
        )
    for name in sorted(set(meta.features) | set(first.features)):
        ours, theirs = meta.features.get(name), first.features.get(name)
        if ours is None or theirs is None:
            if name in OPTIONAL:
                continue
            lacking = meta.root if ours is None else first.root
            raise IncompatibleError(
                f"{where}: feature {name} is missing in {lacking}. Convert both the same way."
            )
        for key, a, b in _differences(ours, theirs):
            raise IncompatibleError(
                f"{where}: {key} of feature {name} is {a} and {b}. Convert both the same way."
            )


def _lacking(metas: Sequence[DatasetMeta]) -> list[str]:
    """Optional columns that some dataset lacks and so all lose; each is warned of."""
    lost = []
    for name in OPTIONAL:
        lacking = [meta.root.name for meta in metas if name not in meta.features]
        if 0 < len(lacking) < len(metas):
            logger.warning(
                "merging without %s, which %s does not have", name, ", ".join(sorted(set(lacking)))
            )
            lost.append(name)
    return lost


def _differences(ours: Feature, theirs: Feature) -> Generator[tuple[str, Any, Any]]:
    for key in COMPARED:
        if ours.get(key) != theirs.get(key):
            yield key, ours.get(key), theirs.get(key)
    info, other = ours.get("info") or {}, theirs.get("info") or {}
    for key in COMPARED_VIDEO:
        if info.get(key) != other.get(key):
            yield key, info.get(key), other.get(key)


class _Shared(NamedTuple):
    """What all datasets of a merge have in common."""

    corrections: Corrections
    statistics: dict[str, list[str]]
    """Names of the image statistics that are kept, by camera."""
    digests: DigestCache | None


class _Source:
    """One dataset on its way into the merged one."""

    def __init__(
        self, writer: DatasetWriter, meta: DatasetMeta, name: str, shared: _Shared
    ) -> None:
        self._writer = writer
        self._meta = meta
        self._name = name
        self._shared = shared
        self._placed: dict[tuple[str, int, int], tuple[int, int]] = {}
        """Where the writer's copy of each video file is; repeats share it."""

    def add_episodes(self) -> Generator[None]:
        """Append every episode that is not excluded; yields after each, excluded or not."""
        meta, writer = self._meta, self._writer
        names = [n for n, ft in writer.features.items() if ft["dtype"] != "video"]
        kept = [name for name in names if name not in index_features()]
        rows = meta.episodes_with_statistics()
        for episode, table in enumerate(episode_tables(meta, [*kept, *_PLACED])):
            require_columns(table.schema, [*kept, *_PLACED], meta.features, path=meta.root)
            _require_place(table, meta, episode)
            row = rows.slice(episode, 1).to_pylist()[0]
            key = key_of_row(row, episode=episode, dataset=self._name)
            correction = self._shared.corrections.get(key)
            if correction is None or not correction.excluded:
                columns = {
                    name: column_to_numpy(table.column(name), name=f"{name} of {meta.root}")
                    for name in kept
                }
                _check_columns(columns, where=f"episode {episode} of {meta.root}")
                if correction is not None and correction.outcome is not None:
                    success = correction.outcome == "success"
                    columns |= reference_labels(table.num_rows, success=success)._asdict()
                writer.add_episode(
                    columns,
                    task=self._task(episode, table),
                    origin=Origin(key.source, int(row.get("round") or 0), key.episode),
                    videos={camera: self._span(camera, row) for camera in meta.cameras},
                    image_statistics={
                        camera: _image_statistics(row, camera, names, meta)
                        for camera, names in self._shared.statistics.items()
                    },
                )
            yield

    def _task(self, episode: int, table: pa.Table) -> str:
        tasks = np.unique(table.column("task_index").to_numpy())
        if len(tasks) != 1:
            raise DataError(
                f"episode {episode} of {self._meta.root} has {len(tasks)} tasks; one is "
                "supported. Split the episode, or give it one task."
            )
        if not 0 <= tasks[0] < len(self._meta.tasks):
            raise DataError(
                f"task_index of episode {episode} of {self._meta.root} is {tasks[0]}, but "
                f"meta/tasks.parquet has {len(self._meta.tasks)} tasks. Write the dataset again."
            )
        return self._meta.tasks[int(tasks[0])]

    def _span(self, camera: str, row: Mapping[str, Any]) -> VideoSpan:
        """Where the episode's frames are in the merged dataset; its video file is linked once."""
        span = VideoSpan(*(row[f"videos/{camera}/{name}"] for name in VideoSpan._fields))
        key = (camera, span.chunk_index, span.file_index)
        if key not in self._placed:
            target, *place = self._writer.new_video_file(camera)
            video = _require_video(self._meta.video_path(*key))
            link_file(video, target, digests=self._shared.digests)
            self._placed[key] = (place[0], place[1])
        chunk_index, file_index = self._placed[key]
        return span._replace(chunk_index=chunk_index, file_index=file_index)


def _check_columns(columns: Mapping[str, np.ndarray], *, where: str) -> None:
    """Raise ColumnError if an episode holds what a dataset must not hold."""
    if set(recap_features()) - {PHASE} <= set(columns):
        check_recap_columns(columns, where=where)
    for name, values in columns.items():
        if values.dtype.kind == "f":
            check_finite(name, values, where=where)


def _require_place(table: pa.Table, meta: DatasetMeta, episode: int) -> None:
    """Raise DataError unless the rows of an episode are the ones that should be there, in order."""
    start = int(meta.episode_lengths[:episode].sum())
    for name, expected in (
        ("index", np.arange(start, start + table.num_rows)),
        ("episode_index", np.full(table.num_rows, episode)),
    ):
        values = column_to_numpy(table.column(name), name=f"{name} of {meta.root}")
        wrong = np.flatnonzero(values != expected)
        if wrong.size:
            raise DataError(
                f"{name} of row {start + wrong[0]} of {meta.root} is {values[wrong[0]]}, but must "
                f"be {expected[wrong[0]]}: frames are missing, doubled or out of order. "
                "Write the dataset again."
            )


def _require_video(path: Path) -> Path:
    """The path of a video, if it is a file of its own with something in it."""
    if path.is_symlink() or not path.is_file() or not path.stat().st_size:
        kind = "a symbolic link" if path.is_symlink() else "missing, empty, or no file"
        raise DataError(f"video {path} is {kind}. Restore it, or write the dataset again.")
    return path


def _common_statistics(metas: Sequence[DatasetMeta]) -> dict[str, list[str]]:
    """By camera the statistics that every episode of every dataset has.

    Datasets of LeRobot v2.1 have no quantiles.
    """
    tables = [meta.episodes_with_statistics() for meta in metas]
    shared = {}
    for camera in metas[0].cameras:
        columns = {name: f"stats/{camera}/{name}" for name in (*MOMENTS, *QUANTILES)}
        shared[camera] = [
            name
            for name, column in columns.items()
            if all(
                column in table.column_names and not table.column(column).null_count
                for table in tables
            )
        ]
        for meta, table in zip(metas, tables, strict=True):
            missing = [n for n in MOMENTS if columns[n] not in table.column_names]
            if missing:
                raise DataError(
                    f"meta/episodes of {meta.root} has no statistics of {camera} "
                    f"({', '.join(missing)}). Write the dataset again."
                )
    return shared


def _image_statistics(
    row: Mapping[str, Any], camera: str, names: Sequence[str], meta: DatasetMeta
) -> FeatureStatistics:
    prefix = f"stats/{camera}/"
    found = {name: np.array(row[prefix + name]) for name in names}
    for name, value in found.items():
        shape = (1,) if name == "count" else (3, 1, 1)
        if value.shape != shape or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
            raise DataError(
                f"{prefix}{name} in meta/episodes of {meta.root} is {value.tolist()}, but must be "
                f"finite numbers of shape {shape}. Write the dataset again."
            )
    return found


def episode_tables(meta: DatasetMeta, names: Sequence[str]) -> Generator[pa.Table]:
    """Columns of one episode after the other, read row group by row group.

    Raises:
        DataError: If the rows of the data files are not those that meta/episodes promises.
    """
    lengths = iter(meta.episode_lengths.tolist())
    pending: list[pa.Table] = []
    num_pending, wanted = 0, next(lengths, None)
    for path in meta.data_files:
        file = open_parquet(path)
        for group in range(file.num_row_groups):
            table = read_row_group(file, group, names, path=path)
            while wanted is not None and num_pending + table.num_rows >= wanted:
                cut = wanted - num_pending
                yield pa.concat_tables([*pending, table.slice(0, cut)]).combine_chunks()
                table, pending, num_pending = table.slice(cut), [], 0
                wanted = next(lengths, None)
            pending.append(table)
            num_pending += table.num_rows
    if wanted is not None or num_pending:
        raise DataError(
            f"the data files of {meta.root} do not hold the {meta.num_frames} rows that its "
            "episodes promise. The dataset is incomplete; write it again."
        )
