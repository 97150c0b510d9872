"""Several datasets into one: demonstrations and the rollouts of every round."""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recap_core.data.columns import Feature, index_features
from recap_core.data.dataset_writer import (
    DatasetSummary,
    DatasetWriter,
    Origin,
    VideoSpan,
    emptied_on_error,
)
from recap_core.data.feature_statistics import FeatureStatistics
from recap_core.data.frames import column_to_numpy
from recap_core.data.layout import DatasetMeta, open_parquet, read_meta
from recap_core.errors import DataError, IncompatibleError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.links import link_file
from recap_core.progress import Progress, Silent

COMPARED = ("dtype", "shape", "names")
COMPARED_VIDEO = ("video.codec", "video.pix_fmt")


def merge_datasets(
    sources: Sequence[Path],
    output: Path,
    *,
    digests: DigestCache | None = None,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Merge datasets of equal fps and features, episodes in the given order.

    Rows are rewritten with new ``index``, ``episode_index`` and ``task_index`` (tasks are matched
    by text); videos are shared by hard link; ``source`` and ``round`` of every episode are kept.
    The same dataset may be given twice. On an error nothing is left in ``output``.

    Args:
        sources: Directories of v3.0 datasets; only read.
        output: Directory of the merged dataset; must not exist or be empty.
        digests: The store's digest cache.
        progress: Who watches.

    Raises:
        IncompatibleError: If fps or a feature differs, naming it.
        DataError: If a source is incomplete, or ``output`` is taken.
    """
    if not sources:
        raise DataError("no dataset was given to merge. Pass at least one.")
    metas = [read_meta(source) for source in sources]
    for meta in metas[1:]:
        _check_like(meta, metas[0])
    features = {n: ft for n, ft in metas[0].features.items() if n not in index_features()}
    total = sum(meta.num_episodes for meta in metas)
    with (
        emptied_on_error(output),
        DatasetWriter(output, features, fps=metas[0].fps, robot_type=metas[0].robot_type) as writer,
        (progress or Silent()).bar("merge", total) as bar,
    ):
        done = 0
        for meta in metas:
            for _ in _add_dataset(writer, meta, digests):
                done += 1
                bar.update(done)
        return writer.finish()


def _check_like(meta: DatasetMeta, first: DatasetMeta) -> None:
    """Raise IncompatibleError unless two datasets have the same rate and features."""
    where = f"{meta.root} and {first.root} cannot be merged"
    if meta.fps != first.fps:
        raise IncompatibleError(
            f"{where}: fps is {meta.fps} and {first.fps}. Convert both with the same target_fps."
        )
    for name in sorted(set(meta.features) | set(first.features)):
        ours, theirs = meta.features.get(name), first.features.get(name)
        if ours is None or theirs is None:
            lacking = meta.root if ours is None else first.root
            raise IncompatibleError(
                f"{where}: feature {name} is missing in {lacking}. Convert both the same way."
            )
        for key, a, b in _differences(ours, theirs):
            raise IncompatibleError(
                f"{where}: {key} of feature {name} is {a} and {b}. Convert both the same way."
            )


def _differences(ours: Feature, theirs: Feature) -> Generator[tuple[str, Any, Any]]:
    for key in COMPARED:
        if ours.get(key) != theirs.get(key):
            yield key, ours.get(key), theirs.get(key)
    info, other = ours.get("info") or {}, theirs.get("info") or {}
    for key in COMPARED_VIDEO:
        if info.get(key) != other.get(key):
            yield key, info.get(key), other.get(key)


def _add_dataset(
    writer: DatasetWriter, meta: DatasetMeta, digests: DigestCache | None
) -> Generator[None]:
    """Append every episode of one dataset."""
    placed: dict[tuple[str, int, int], tuple[int, int]] = {}
    names = [n for n, ft in writer.features.items() if ft["dtype"] != "video"]
    kept = [name for name in names if name not in index_features()]
    rows = meta.episodes_with_statistics()
    for episode, table in enumerate(episode_tables(meta, [*kept, "task_index"])):
        row = rows.slice(episode, 1).to_pylist()[0]
        tasks = np.unique(table.column("task_index").to_numpy())
        if len(tasks) != 1:
            raise DataError(
                f"episode {episode} of {meta.root} has {len(tasks)} tasks; one is supported. "
                "Split the episode, or give it one task."
            )
        spans = {}
        for camera in meta.cameras:
            span = VideoSpan(*(row[f"videos/{camera}/{name}"] for name in VideoSpan._fields))
            key = (camera, span.chunk_index, span.file_index)
            if key not in placed:
                target, *place = writer.new_video_file(camera)
                link_file(meta.video_path(*key), target, digests=digests)
                placed[key] = (place[0], place[1])
            chunk_index, file_index = placed[key]
            spans[camera] = span._replace(chunk_index=chunk_index, file_index=file_index)
        writer.add_episode(
            {name: column_to_numpy(table.column(name)) for name in kept},
            task=meta.tasks[int(tasks[0])],
            origin=Origin(
                row.get("source") or meta.root.name,
                int(row.get("round") or 0),
                row.get("raw_episode") or "",
            ),
            videos=spans,
            image_statistics={
                camera: _image_statistics(row, camera, meta) for camera in meta.cameras
            },
        )
        yield


def _image_statistics(row: Mapping[str, Any], camera: str, meta: DatasetMeta) -> FeatureStatistics:
    prefix = f"stats/{camera}/"
    found = {
        name.removeprefix(prefix): np.array(value)
        for name, value in row.items()
        if name.startswith(prefix)
    }
    if not found:
        raise DataError(
            f"meta/episodes of {meta.root} has no statistics of {camera}. Write the dataset again."
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
            table = file.read_row_group(group, columns=list(names))
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
