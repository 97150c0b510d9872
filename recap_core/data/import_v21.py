"""LeRobot v2.1 to v3.0: every column is kept, and no video is decoded or encoded.

A video of one episode is a valid v3.0 video file, so it is shared with the source by hard link.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from recap_core.data.arrow_types import is_list
from recap_core.data.columns import Feature, index_features
from recap_core.data.dataset_writer import (
    DatasetSummary,
    DatasetWriter,
    VideoSpan,
    emptied_on_error,
)
from recap_core.data.feature_statistics import QUANTILES, FeatureStatistics
from recap_core.data.frames import column_to_numpy
from recap_core.data.index_columns import check_index_columns
from recap_core.data.layout import open_parquet
from recap_core.data.v21_layout import REQUIRED_STATISTICS, V21Meta, read_v21_meta
from recap_core.data.video_cutting import check_video
from recap_core.data.video_files import image_statistics
from recap_core.errors import ColumnError, ConfigError, DataError
from recap_core.lineage.links import link_file
from recap_core.progress import Progress, Silent


def import_v21(
    source: Path, output: Path, *, drop: Collection[str] = (), progress: Progress | None = None
) -> DatasetSummary:
    """Write a v2.1 (or v2.0) dataset as a v3.0 dataset.

    Index columns are checked and derived anew, task indices are kept. Statistics of images are
    kept where the source has them for the whole episode; those of columns are taken from the rows.
    Symbolic links in the source are followed: trees made of links into a v3.0 dataset are common.
    On an error nothing is left in ``output``.

    Args:
        source: A v2.1 dataset; only read. Its videos become files of the result too.
        output: Directory of the v3.0 dataset; must not exist or be empty.
        drop: Columns and cameras that are left out, and not looked at.
        progress: Who watches.

    Raises:
        ConfigError: If there is nothing of a name in ``drop``, or it is an index column.
        DataError: If the source is incomplete or its parts disagree, or ``output`` is taken.
        ColumnError: If a column is missing or of another type than ``info.json`` says, or rows
            are not numbered as they must be.
        EpisodeError: If a video does not hold exactly the frames of its episode.
    """
    meta = read_v21_meta(source)
    own = {name: ft for name, ft in meta.features.items() if name not in index_features()}
    for name in drop:
        if name not in own:
            raise ConfigError(
                f"drop names {name!r}, but {source} has {', '.join(own)}. Correct it."
            )
    kept = {name: feature for name, feature in own.items() if name not in drop}
    for name, feature in kept.items():
        _check_feature(meta, name, feature)
    importer = _Importer(meta, kept)
    with (
        emptied_on_error(output),
        DatasetWriter(
            output,
            kept,
            fps=meta.fps,
            robot_type=meta.info.get("robot_type"),
            tasks=meta.tasks,
        ) as writer,
        (progress or Silent()).bar("import", len(meta.episodes)) as bar,
    ):
        for episode in range(len(meta.episodes)):
            importer.add(writer, episode)
            bar.update(episode + 1)
        return writer.finish()


def _check_feature(meta: V21Meta, name: str, feature: Feature) -> None:
    """Raise ColumnError unless a feature can be stored in v3.0 as it is."""
    dtype, shape = feature["dtype"], feature["shape"]
    if dtype == "video" or (dtype == "string" and shape == [1]):
        return
    is_number = dtype == "bool" or dtype.rstrip("0123456789") in ("int", "uint", "float")
    if not is_number or len(shape) != 1:
        raise ColumnError(
            f"feature {name} of {meta.root} has dtype {dtype} and shape {shape}; only scalars, "
            f"vectors, texts and videos can be imported. Leave it out with --drop {name}; images "
            "in parquet can be imported once the dataset is stored as v3.0, or has videos."
        )


class _Importer:
    """Reads the episodes of a dataset one after the other."""

    def __init__(self, meta: V21Meta, kept: Mapping[str, Feature]) -> None:
        self._meta = meta
        self._columns = [name for name, feature in kept.items() if feature["dtype"] != "video"]
        self._cameras = [name for name in meta.cameras if name in kept]
        self._num_frames = 0
        known = meta.image_statistics.values()
        # Quantiles are newer than the format; all episodes of a dataset have them, or none has.
        self._quantiles = [name for name in QUANTILES if all(name in stats for stats in known)]

    def add(self, writer: DatasetWriter, episode: int) -> None:
        """Append one episode."""
        meta, (length, origin) = self._meta, self._meta.episodes[episode]
        table = self._rows(episode)
        tasks = np.unique(table.column("task_index").to_numpy())
        if len(tasks) != 1 or not 0 <= tasks[0] < len(meta.tasks):
            raise DataError(
                f"episode {episode} of {meta.root} has the task indices {tasks.tolist()}; it must "
                f"have one, of {len(meta.tasks)} tasks. Split the episode, or give it one task."
            )
        spans = {}
        for camera in self._cameras:
            path = meta.video_path(camera, episode).resolve()
            check_video(path, num_frames=length, fps=meta.fps)
            target, *place = writer.new_video_file(camera)
            link_file(path, target, digests=None)
            spans[camera] = VideoSpan(place[0], place[1], 0.0, length / meta.fps)
        writer.add_episode(
            {
                name: _column(table, name, meta.features[name], meta.data_path(episode))
                for name in self._columns
            },
            task=meta.tasks[int(tasks[0])],
            origin=origin,
            videos=spans,
            image_statistics={
                camera: self._image_statistics(camera, episode) for camera in self._cameras
            },
        )
        self._num_frames += length

    def _rows(self, episode: int) -> pa.Table:
        """Rows of one episode, their numbering checked."""
        path = self._meta.data_path(episode)
        try:
            table = open_parquet(path).read()
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"parquet file {path} cannot be read ({error}). Write the dataset again."
            ) from error
        length = self._meta.episodes[episode].length
        if table.num_rows != length:
            raise DataError(
                f"{path} holds {table.num_rows} rows, but meta/episodes.jsonl says {length}. "
                "The dataset is incomplete; write it again."
            )
        check_index_columns(
            table,
            episode=episode,
            first_index=self._num_frames,
            fps=self._meta.fps,
            where=str(path),
        )
        return table

    def _image_statistics(self, camera: str, episode: int) -> FeatureStatistics:
        names = REQUIRED_STATISTICS | set(self._quantiles)
        found = self._meta.image_statistics.get((episode, camera))
        if found is None:
            length = self._meta.episodes[episode].length
            path = self._meta.video_path(camera, episode)
            found = image_statistics(path, start_s=0.0, num_frames=length)
        return {name: value for name, value in found.items() if name in names}


def _column(table: pa.Table, name: str, feature: Feature, path: Path) -> np.ndarray:
    """One column as an array, after checking that every row has the type of its feature."""
    if name not in table.column_names:
        raise ColumnError(f"{path} has no column {name}, but info.json does. Write it again.")
    column = table.column(name).combine_chunks()
    kind = column.type.value_type if is_list(column.type) else column.type
    dtype = "string" if pa.types.is_large_string(kind) else str(kind)
    if dtype != str(pa.type_for_alias(feature["dtype"])):
        raise ColumnError(
            f"{name} in {path} is of type {column.type}, but info.json says {feature['dtype']}. "
            "Write the file, or info.json, again."
        )
    num_empty = column.null_count + (column.flatten().null_count if is_list(column.type) else 0)
    if num_empty:
        raise ColumnError(f"{name} in {path} has {num_empty} empty cells. Fill them.")
    sizes = _cell_sizes(column)
    if sizes != feature["shape"]:
        raise ColumnError(
            f"{name} in {path} has cells of {sizes} numbers, but info.json says "
            f"{feature['shape']}. Write the file, or info.json, again."
        )
    return column_to_numpy(pa.chunked_array([column]))


def _cell_sizes(column: pa.Array) -> list[int]:
    """How many values the cells of a column hold, each number once."""
    if pa.types.is_fixed_size_list(column.type):
        return [column.type.list_size]
    if is_list(column.type):
        return np.unique(np.diff(column.offsets.to_numpy())).tolist()
    return [1]
