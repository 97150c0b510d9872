"""Where things are in a LeRobot v3.0 dataset, and what its metadata says."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from recap_core.data.arrow_types import to_array, value_type
from recap_core.data.columns import Feature
from recap_core.data.info import check_info, read_info
from recap_core.data.meta_tables import check_episodes, task_texts
from recap_core.errors import ColumnError, DataError

VERSION: Final = "v3.0"
DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH: Final = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK: Final = 1000


@dataclass(frozen=True)
class DatasetMeta:
    """The metadata of a dataset; nothing of its data is read."""

    root: Path
    fps: int
    features: dict[str, Feature]
    """In the order of ``info.json``."""
    robot_type: str | None
    tasks: tuple[str, ...]
    """Task texts by ``task_index``."""
    info: dict[str, Any]
    """All of ``info.json``."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Features that are videos."""
        return tuple(name for name, ft in self.features.items() if ft["dtype"] == "video")

    @property
    def num_episodes(self) -> int:
        """Episodes, by ``info.json``."""
        return int(self.info["total_episodes"])

    @property
    def num_frames(self) -> int:
        """Frames, by ``info.json``."""
        return int(self.info["total_frames"])

    @cached_property
    def episodes(self) -> pa.Table:
        """``meta/episodes`` without statistics, one row per episode, in episode order."""
        return self._read_episodes(statistics=False)

    def _read_episodes(self, *, statistics: bool) -> pa.Table:
        paths = sorted((self.root / "meta" / "episodes").glob("*/*.parquet"))
        if not paths:
            raise DataError(f"{self.root} has no meta/episodes. Convert or export it again.")
        tables = []
        for path in paths:
            names = open_parquet(path).schema_arrow.names
            kept = [name for name in names if statistics or name[:6] != "stats/"]
            tables.append(read_parquet(path, columns=kept))
        try:
            table = pa.concat_tables(tables, promote_options="default").sort_by("episode_index")
        except (pa.ArrowException, TypeError) as error:
            raise DataError(
                f"the files in meta/episodes of {self.root} do not fit together, or lack "
                f"episode_index ({error}). Write the dataset again."
            ) from error
        if table.num_rows != self.num_episodes:
            raise DataError(
                f"{self.root} has {table.num_rows} rows in meta/episodes, but info.json says "
                f"{self.num_episodes} episodes. The dataset is incomplete; write it again."
            )
        check_episodes(table, root=self.root, cameras=self.cameras, fps=self.fps)
        return table

    def episodes_with_statistics(self) -> pa.Table:
        """``meta/episodes`` with the statistics of every episode."""
        return self._read_episodes(statistics=True)

    def episode_column(self, name: str) -> np.ndarray:
        """One column of ``meta/episodes`` as an array."""
        return to_array(self.episodes.column(name))

    @cached_property
    def episode_lengths(self) -> Int[np.ndarray, " e"]:
        """Frames of every episode; they sum to the number of frames."""
        lengths = self.episode_column("length").astype(np.int64)
        if lengths.sum() != self.num_frames:
            raise DataError(
                f"the episodes of {self.root} have {lengths.sum()} frames, but info.json says "
                f"{self.num_frames}. The dataset is incomplete; write it again."
            )
        return lengths

    @property
    def data_files(self) -> list[Path]:
        """Parquet files in reading order."""
        return sorted((self.root / "data").glob("*/*.parquet"))

    def video_path(self, camera: str, chunk_index: int, file_index: int) -> Path:
        """One video file."""
        template = self.info.get("video_path") or VIDEO_PATH
        return path_inside(
            self.root, template, video_key=camera, chunk_index=chunk_index, file_index=file_index
        )


def path_inside(root: Path, template: str, **fields: str | int) -> Path:
    """Path of a file of a dataset, from a template and names that the dataset itself supplies.

    Raises:
        DataError: If the template asks for other fields, or the path leaves the dataset.
    """
    try:
        relative = template.format(**fields)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DataError(
            f"path template {template!r} of {root} cannot be filled in ({error!r}); it may use "
            f"{', '.join(fields)}. Correct meta/info.json."
        ) from error
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(
            f"{root} names the file {relative}, which is outside of the dataset. Correct the path "
            "templates and the feature names in meta/info.json."
        )
    return root / path


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file.

    Raises:
        DataError: If it is missing, truncated, or no parquet file, or it has two columns of
            one name.
    """
    with reading_parquet(path):
        file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"parquet file {path} has two columns {twice}. Write the dataset again.")
    return file


@contextmanager
def reading_parquet(path: Path) -> Generator[None]:
    """Turn what Arrow says of a damaged file into a DataError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"parquet file {path} cannot be read ({error}). Write the dataset again."
        ) from error


def read_parquet(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """Read a whole parquet file, or some columns of it.

    Raises:
        DataError: If it is missing, truncated, damaged, or no parquet file.
    """
    file = open_parquet(path)
    try:
        return file.read(columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"parquet file {path} is damaged ({error}). Write the dataset again."
        ) from error


@contextmanager
def new_parquet(path: Path, schema: pa.Schema) -> Generator[pq.ParquetWriter]:
    """A parquet file to fill, closed whatever happens.

    PyArrow leaves a file open whose last write fails, and tries again when it is collected: on a
    full disk, that would keep the space of a file that is long removed.
    """
    # Words and whole numbers repeat; measured numbers do not, and a dictionary only costs them.
    repeating = [
        f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_integer(f.type)
    ]
    with pa.OSFile(str(path), "wb") as sink:
        writer = pq.ParquetWriter(
            sink,
            schema,
            compression="snappy",
            use_dictionary=repeating,  # pyright: ignore[reportArgumentType] - names are allowed
        )
        try:
            yield writer
            writer.close()
        finally:
            writer.is_open = False


def read_row_group(
    file: pq.ParquetFile, group: int, columns: Sequence[str] | None, *, path: Path
) -> pa.Table:
    """One row group of a data file.

    Raises:
        DataError: If it is damaged.
    """
    with reading_parquet(path):
        return file.read_row_group(group, columns=None if columns is None else list(columns))


def read_meta(root: Path) -> DatasetMeta:
    """Read ``info.json`` and the tasks of a dataset.

    Raises:
        DataError: If there is none, it is of another version, or says what cannot be.
        ColumnError: If a feature is not described as it must be.
    """
    info = read_info(root)
    if info.get("codebase_version") != VERSION:
        raise DataError(
            f"{root} is a dataset of version {info.get('codebase_version')!r}, but {VERSION} is "
            "needed. Convert it first."
        )
    check_info(info, root)
    table = read_parquet(root / "meta" / "tasks.parquet")
    return DatasetMeta(
        root=root,
        fps=int(info["fps"]),
        features=info["features"],
        robot_type=info.get("robot_type"),
        tasks=task_texts(table, root),
        info=info,
    )


def require_features(meta: DatasetMeta, names: list[str] | tuple[str, ...]) -> None:
    """Raise ColumnError unless the dataset has all of these features."""
    missing = [name for name in names if name not in meta.features]
    if missing:
        raise ColumnError(
            f"{meta.root} has no column {', '.join(missing)}; it has {', '.join(meta.features)}. "
            "Convert the recording with this version, or correct the names in the configuration."
        )


def arrow_schema(features: dict[str, Feature]) -> pa.Schema:
    """Schema of the data files, with the metadata by which Hugging Face finds the types.

    Raises:
        ColumnError: If a feature is neither a scalar, a vector, a string nor a video.
    """
    fields, described = [], {}
    for name, feature in features.items():
        if feature["dtype"] == "video":
            continue
        shape, dtype = list(feature["shape"]), feature["dtype"]
        value = value_type(name, dtype)
        if shape == [1]:
            fields.append(pa.field(name, value))
            described[name] = {"dtype": dtype, "_type": "Value"}
        elif len(shape) == 1:
            fields.append(pa.field(name, pa.list_(value, shape[0])))
            described[name] = {
                "feature": {"dtype": dtype, "_type": "Value"},
                "length": shape[0],
                "_type": "List",
            }
        else:
            raise ColumnError(
                f"feature {name} has dtype {dtype} and shape {shape}; only scalars, vectors and "
                "videos can be stored. Leave it out, or flatten it."
            )
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pa.schema(fields, metadata=metadata)
