"""Writer of LeRobot v3.0 datasets, one episode at a time.

One parquet row group per episode; video files are put in place by the caller, at paths that the
writer hands out. ``meta/info.json`` is written last, so an unfinished dataset is no dataset.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recap_core.data.columns import Feature, index_features
from recap_core.data.feature_statistics import (
    FeatureStatistics,
    aggregate_statistics,
    vector_statistics,
)
from recap_core.data.info import check_file_name
from recap_core.data.layout import (
    DATA_PATH,
    EPISODES_PATH,
    FILES_PER_CHUNK,
    VERSION,
    VIDEO_PATH,
    arrow_schema,
    new_parquet,
)
from recap_core.errors import ColumnError, DataError

MAX_DATA_FILE_MB = 100
MAX_VIDEO_FILE_MB = 200
EPISODE_ROWS_IN_MEMORY = 100


class DatasetSummary(NamedTuple):
    """What a written dataset holds: the details of its artifact."""

    num_episodes: int
    num_frames: int
    fps: int
    tasks: tuple[str, ...]
    cameras: tuple[str, ...]
    """Camera features: ``observation.images.<camera>``."""
    num_rounds: int


class VideoSpan(NamedTuple):
    """Where the frames of one episode are in a camera's files."""

    chunk_index: int
    file_index: int
    from_timestamp: float
    to_timestamp: float


class Origin(NamedTuple):
    """Where an episode comes from."""

    source: str
    """Name of the recording or dataset."""
    round: int
    """0 for demonstrations, k for the rollouts of iteration k."""
    raw_episode: str
    """Name of the raw episode directory; empty if unknown."""


@contextmanager
def emptied_on_error(output: Path) -> Generator[None]:
    """Make ``output``, which must not exist or be empty; leave nothing behind on any error.

    Raises:
        DataError: If ``output`` holds something.
    """
    existed = output.exists()
    if existed and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} exists and is not empty. Choose a new directory.")
    output.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in output.iterdir():
            if path.is_dir() and not path.is_symlink():
                rmtree(path)
            else:
                path.unlink()
        if not existed:
            with suppress(OSError):
                output.rmdir()
        raise


class DatasetWriter:
    """Writes episodes in order; use as a context manager and call :meth:`finish` at the end."""

    def __init__(  # noqa: PLR0913 - options are keyword-only
        self,
        root: Path,
        features: Mapping[str, Feature],
        *,
        fps: int,
        robot_type: str | None = None,
        tasks: Sequence[str] = (),
        max_data_file_mb: float = MAX_DATA_FILE_MB,
    ) -> None:
        """Prepare to write a dataset.

        Args:
            root: Directory of the dataset.
            features: All features but the index columns.
            fps: Control rate, frames per second.
            robot_type: Kept in ``info.json``.
            tasks: Texts of the first task indices; others follow as they appear.
            max_data_file_mb: Size beyond which the next episode starts a new data file, MiB.

        Raises:
            DataError: If a feature's name could not be that of its video directory.
            ColumnError: If a feature can be stored neither as a column nor as a video.
        """
        for name in features:
            check_file_name(name, what=f"a feature of {root}")
        self.root = root
        self.fps = fps
        self.features: dict[str, Feature] = {**features, **index_features()}
        self._robot_type = robot_type
        self._max_data_file_bytes = max_data_file_mb * 2**20
        self._schema = arrow_schema(self.features)
        self._tasks = {task: index for index, task in enumerate(tasks)}
        self._num_frames = 0
        self._num_episodes = 0
        self._rounds: set[int] = set()
        self._num_videos: dict[str, int] = {}
        self._num_data_files = 0
        self._data: pq.ParquetWriter | None = None
        self._meta: pq.ParquetWriter | None = None
        self._data_file, self._meta_file = ExitStack(), ExitStack()
        self._rows: list[dict[str, Any]] = []
        self._statistics: list[dict[str, FeatureStatistics]] = []

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        with self._meta_file:  # closed even if the data file cannot be
            self._data_file.close()
        self._data = self._meta = None

    @property
    def num_episodes(self) -> int:
        """Episodes written so far."""
        return self._num_episodes

    def new_video_file(self, camera: str) -> tuple[Path, int, int]:
        """Path, chunk index and file index of a camera's next video file; its directory exists."""
        number = self._num_videos.get(camera, 0)
        self._num_videos[camera] = number + 1
        chunk_index, file_index = divmod(number, FILES_PER_CHUNK)
        path = self.root / VIDEO_PATH.format(
            video_key=camera, chunk_index=chunk_index, file_index=file_index
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        return path, chunk_index, file_index

    def add_episode(
        self,
        columns: Mapping[str, np.ndarray],
        *,
        task: str,
        origin: Origin,
        videos: Mapping[str, VideoSpan],
        image_statistics: Mapping[str, FeatureStatistics],
    ) -> None:
        """Append one episode.

        Args:
            columns: Every feature but the videos and the index columns, in frame order.
            task: Task text.
            origin: Where the episode comes from.
            videos: Place of its frames, per camera feature.
            image_statistics: Statistics of its images, per camera feature.

        Raises:
            ColumnError: If a column is missing, unknown, or of another shape than its feature.
        """
        length = len(next(iter(columns.values())))
        columns = {**columns, **self._index_columns(length, task)}
        arrays = [
            _arrow_array(columns, name, self.features[name], length, self._num_episodes)
            for name in self._schema.names
        ]
        unknown = sorted(set(columns) - set(self._schema.names))
        if unknown:
            raise ColumnError(
                f"episode {self._num_episodes} has columns that are no features: "
                f"{', '.join(unknown)}. Declare them, or leave them out."
            )
        data_file = self._write_rows(pa.table(arrays, schema=self._schema))
        statistics = {
            name: vector_statistics(columns[name].reshape(length, -1))
            for name in self._schema.names
            if self.features[name]["dtype"] != "string"
        }
        statistics.update(image_statistics)
        row = self._meta_row(length, task, data_file) | origin._asdict()
        for camera, span in videos.items():
            row |= {f"videos/{camera}/{name}": value for name, value in span._asdict().items()}
        self._append_meta(row, statistics)
        self._num_frames += length
        self._num_episodes += 1
        self._rounds.add(origin.round)

    def _index_columns(self, length: int, task: str) -> dict[str, np.ndarray]:
        task_index = self._tasks.setdefault(task, len(self._tasks))
        frame_index = np.arange(length)
        return {
            "timestamp": (frame_index / self.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full(length, self._num_episodes),
            "index": self._num_frames + frame_index,
            "task_index": np.full(length, task_index),
        }

    def _write_rows(self, table: pa.Table) -> tuple[int, int]:
        """Append one row group; returns chunk and file index of the file it went to."""
        if self._data is not None:
            path = self.root / DATA_PATH.format(
                chunk_index=(self._num_data_files - 1) // FILES_PER_CHUNK,
                file_index=(self._num_data_files - 1) % FILES_PER_CHUNK,
            )
            if path.stat().st_size > self._max_data_file_bytes:
                self._data_file.close()
                self._data = None
        if self._data is None:
            chunk_index, file_index = divmod(self._num_data_files, FILES_PER_CHUNK)
            path = self.root / DATA_PATH.format(chunk_index=chunk_index, file_index=file_index)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = self._data_file.enter_context(new_parquet(path, self._schema))
            self._num_data_files += 1
        self._data.write_table(table)
        return divmod(self._num_data_files - 1, FILES_PER_CHUNK)

    def _meta_row(self, length: int, task: str, data_file: tuple[int, int]) -> dict[str, Any]:
        return {
            "episode_index": self._num_episodes,
            "tasks": [task],
            "length": length,
            "data/chunk_index": data_file[0],
            "data/file_index": data_file[1],
            "dataset_from_index": self._num_frames,
            "dataset_to_index": self._num_frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

    def _append_meta(self, row: dict[str, Any], statistics: dict[str, FeatureStatistics]) -> None:
        for feature, values in statistics.items():
            for name, value in values.items():
                cast = np.int64 if name == "count" else np.float64
                row[f"stats/{feature}/{name}"] = value.astype(cast).tolist()
        self._rows.append(row)
        self._statistics.append(statistics)
        if len(self._rows) >= EPISODE_ROWS_IN_MEMORY:
            self._flush_meta()

    def _flush_meta(self) -> None:
        if not self._rows:
            return
        table = pa.Table.from_pylist(self._rows, schema=self._meta.schema if self._meta else None)
        if self._meta is None:
            path = self.root / EPISODES_PATH.format(chunk_index=0, file_index=0)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._meta = self._meta_file.enter_context(new_parquet(path, table.schema))
        self._meta.write_table(table)
        self._rows.clear()
        # Aggregated statistics of aggregated statistics are the same, so memory stays bounded.
        self._statistics = [aggregate_statistics(self._statistics)]

    def finish(self) -> DatasetSummary:
        """Write what is left and the metadata of the whole; at least one episode was added."""
        self._flush_meta()
        self._close()
        meta = self.root / "meta"
        write_tasks(list(self._tasks), meta / "tasks.parquet")
        stats = {
            feature: {name: value.tolist() for name, value in values.items()}
            for feature, values in self._statistics[0].items()
        }
        (meta / "stats.json").write_text(json.dumps(stats, indent=4))
        cameras = tuple(name for name, ft in self.features.items() if ft["dtype"] == "video")
        info = {
            "codebase_version": VERSION,
            "fps": self.fps,
            "features": self.features,
            "total_episodes": self._num_episodes,
            "total_frames": self._num_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": MAX_DATA_FILE_MB,
            "video_files_size_in_mb": MAX_VIDEO_FILE_MB,
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if cameras else None,
            "robot_type": self._robot_type,
            "splits": {"train": f"0:{self._num_episodes}"},
        }
        (meta / "info.json").write_text(json.dumps(info, indent=4))
        return DatasetSummary(
            num_episodes=self._num_episodes,
            num_frames=self._num_frames,
            fps=self.fps,
            tasks=tuple(self._tasks),
            cameras=cameras,
            num_rounds=len(self._rounds),
        )


def write_tasks(tasks: list[str], path: Path) -> None:
    """Write ``meta/tasks.parquet``: texts in the order of their index, as pandas lays it out."""
    fields = [pa.field("task_index", pa.int64()), pa.field("task", pa.string())]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "int64"),
            _pandas_column("task", "unicode"),
        ],
        "pandas_version": "2.2.0",
    }
    schema = pa.schema(fields, metadata={"pandas": json.dumps(pandas)})
    pq.write_table(pa.table([np.arange(len(tasks)), pa.array(tasks)], schema=schema), path)


def _pandas_column(name: str, kind: str) -> dict[str, Any]:
    dtype = "int64" if kind == "int64" else "object"
    return {
        "name": name,
        "field_name": name,
        "pandas_type": kind,
        "numpy_type": dtype,
        "metadata": None,
    }


def _arrow_array(
    columns: Mapping[str, np.ndarray], name: str, feature: Feature, length: int, episode: int
) -> pa.Array:
    """One column as Arrow stores it, after checking its shape."""
    if name not in columns:
        raise ColumnError(f"episode {episode} lacks the column {name}. Convert it again.")
    values, dims = columns[name], feature["shape"]
    if dims == [1] and values.shape == (length, 1):
        values = values[:, 0]  # a vector of one dimension is stored as a number
    wanted = (length,) if dims == [1] else (length, *dims)
    if values.shape != wanted:
        raise ColumnError(
            f"{name} of episode {episode} has shape {values.shape}, but the dataset has {wanted}. "
            "All episodes of a dataset come from one robot; convert other robots separately."
        )
    if feature["dtype"] == "string":
        return pa.array(values.tolist(), pa.string())
    flat = pa.array(values.ravel(), pa.type_for_alias(feature["dtype"]))
    return flat if dims == [1] else pa.FixedSizeListArray.from_arrays(flat, dims[0])
