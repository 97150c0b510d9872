"""Metadata of a LeRobot dataset that somebody else wrote: nothing in it is taken on trust.

Names and paths in the metadata could lead out of the dataset, and numbers may contradict each
other; both are errors here, before anything is read through them. A symbolic link to content
elsewhere is fine: caches of downloaded datasets consist of them.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recap_core.data.columns import index_features
from recap_core.data.layout import DatasetMeta, read_meta, read_parquet
from recap_core.errors import ColumnError, DataError

NUMBERS = (
    *("bool", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)
DTYPES = (*NUMBERS, "string", "video", "image")
"""What a dataset of ours can be made from."""


class _Feature(BaseModel):
    model_config = ConfigDict(strict=True)

    dtype: str
    shape: list[Annotated[int, Field(ge=1)]]


class _Info(BaseModel):
    model_config = ConfigDict(strict=True)

    codebase_version: str
    fps: int | float = Field(gt=0)
    features: dict[str, _Feature]
    total_episodes: int = Field(ge=1)
    total_frames: int = Field(ge=1)
    video_path: str | None = None
    robot_type: str | None = None


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``, its fields checked.

    Raises:
        DataError: If there is none, or a field is missing or of another type.
    """
    path = root / "meta" / "info.json"
    try:
        info = json.loads(path.read_text())
        _Info.model_validate(info)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{path}: {where} is wrong ({first['msg']}). Write the dataset again."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{root} is no LeRobot dataset: meta/info.json cannot be read ({error}). "
            "Pass the directory that holds meta, data and videos."
        ) from error
    return info


def read_foreign_meta(root: Path) -> DatasetMeta:
    """Metadata of a v3.0 dataset, checked.

    Raises:
        DataError: If files are missing, or the metadata contradicts itself or leads elsewhere.
        ColumnError: If a feature cannot be used under its name.
    """
    info = read_info(root)
    if info["fps"] != int(info["fps"]):
        raise DataError(
            f"{root} has {info['fps']} frames per second; LeRobot counts in whole numbers. "
            "Write the dataset again at a whole rate."
        )
    for name in info["features"]:
        check_feature_name(name)
    missing = [name for name in index_features() if name not in info["features"]]
    if missing:
        raise ColumnError(
            f"{root} has no feature {', '.join(missing)} in meta/info.json; every LeRobot dataset "
            "has them. Write the dataset again."
        )
    _check_tasks(root)
    meta = read_meta(root)
    _check_episodes(meta)
    return meta


def check_feature_name(name: str) -> None:
    """Raise ColumnError for a name that could not be a file's: empty, ``..``, or with a slash."""
    if name in {"", ".", ".."} or any(letter in name for letter in "/\\\0"):
        raise ColumnError(
            f"{name!r} cannot be the name of a feature: it would be a path of its own. Use "
            "letters, digits, '.', '_' and '-'."
        )


def contained_video(meta: DatasetMeta, camera: str, chunk_index: int, file_index: int) -> Path:
    """The file behind one path of the metadata.

    Raises:
        DataError: If the path leads out of the dataset, or there is no such file.
    """
    path = meta.video_path(camera, chunk_index, file_index)
    if not path.is_file():
        raise DataError(f"video {path} is missing. Download or copy the dataset again.")
    return path.resolve()


def _check_tasks(root: Path) -> None:
    table = read_parquet(root / "meta" / "tasks.parquet")
    texts = next((name for name in ("task", "__index_level_0__") if name in table.schema.names), "")
    if not texts or "task_index" not in table.schema.names:
        raise DataError(
            f"meta/tasks.parquet of {root} has the columns {', '.join(table.schema.names)}, not "
            "task and task_index. Write the dataset again."
        )
    numbers = sorted(table.column("task_index").to_pylist(), key=lambda i: (i is None, i))
    if numbers != list(range(len(numbers))):
        raise DataError(
            f"meta/tasks.parquet of {root} numbers its tasks {numbers[:10]}, not 0 to "
            f"{len(numbers) - 1}. Write the dataset again."
        )
    wrong = [t for t in table.column(texts).to_pylist() if not isinstance(t, str) or not t.strip()]
    if wrong:
        raise DataError(
            f"meta/tasks.parquet of {root} has {len(wrong)} tasks without text. Give each task a "
            "text; it becomes the policy's prompt."
        )


def _check_episodes(meta: DatasetMeta) -> None:
    """Raise DataError unless episodes are numbered in order and their lengths add up."""
    spans = [f"videos/{camera}/" for camera in meta.cameras]
    whole = ["episode_index", "length"]
    whole += [span + part for span in spans for part in ("chunk_index", "file_index")]
    times = [span + part for span in spans for part in ("from_timestamp", "to_timestamp")]
    _check_numbers(meta, [*whole, *times], whole=whole)
    episodes = meta.episode_column("episode_index")
    bad = np.flatnonzero(episodes != np.arange(len(episodes)))
    if bad.size:
        raise DataError(
            f"meta/episodes of {meta.root} has episode {episodes[bad[0]]} where episode {bad[0]} "
            "belongs. Episodes are numbered from 0 without gaps; write the dataset again."
        )
    lengths = meta.episode_lengths
    if lengths.min() < 1:
        raise DataError(
            f"episode {int(lengths.argmin())} of {meta.root} has {lengths.min()} frames; an "
            "episode has at least 1. Remove it from the dataset."
        )


def _check_numbers(meta: DatasetMeta, names: list[str], *, whole: list[str]) -> None:
    """Raise DataError unless columns of ``meta/episodes`` exist and hold numbers throughout."""
    missing = [name for name in names if name not in meta.episodes.column_names]
    if missing:
        raise DataError(
            f"meta/episodes of {meta.root} lacks {', '.join(missing)}. Write the dataset again."
        )
    for name in names:
        column = meta.episodes.column(name)
        is_fit = pa.types.is_integer(column.type)
        is_fit |= name not in whole and pa.types.is_floating(column.type)
        if not is_fit or column.null_count:
            raise DataError(
                f"{name} in meta/episodes of {meta.root} holds {column.type} with "
                f"{column.null_count} empty cells, not a number per episode. Write the dataset "
                "again."
            )
