"""Metadata of a LeRobot dataset that somebody else wrote: nothing in it is taken on trust.

Names and paths in the metadata could lead out of the dataset, and numbers may contradict each
other; both are errors here, before anything is read through them. A symbolic link to content
elsewhere is fine: caches of downloaded datasets consist of them.
"""

from pathlib import Path

from recap_core.data.columns import index_features
from recap_core.data.layout import DatasetMeta, read_meta
from recap_core.errors import ColumnError, DataError

NUMBERS = (
    *("bool", "float32", "float64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)
DTYPES = (*NUMBERS, "string", "video", "image")
"""What a dataset of ours can be made from."""


def read_foreign_meta(root: Path) -> DatasetMeta:
    """Metadata of a v3.0 dataset, checked.

    Raises:
        DataError: If files are missing, or the metadata contradicts itself or leads elsewhere.
        ColumnError: If a feature cannot be used under its name.
    """
    meta = read_meta(root)
    missing = [name for name in index_features() if name not in meta.features]
    if missing:
        raise ColumnError(
            f"{root} has no feature {', '.join(missing)} in meta/info.json; every LeRobot dataset "
            "has them. Write the dataset again."
        )
    num_blank = sum(not task.strip() for task in meta.tasks)
    if num_blank:
        raise DataError(
            f"meta/tasks.parquet of {root} has {num_blank} tasks without text. Give each task a "
            "text; it becomes the policy's prompt."
        )
    return meta


def contained_video(meta: DatasetMeta, camera: str, chunk_index: int, file_index: int) -> Path:
    """The file behind one path of the metadata.

    Raises:
        DataError: If the path leads out of the dataset, or there is no such file.
    """
    path = meta.video_path(camera, chunk_index, file_index)
    if not path.is_file():
        raise DataError(f"video {path} is missing. Download or copy the dataset again.")
    return path.resolve()
