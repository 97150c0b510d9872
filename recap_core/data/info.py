"""``meta/info.json``, read as something that a stranger wrote.

Feature names and path templates become file names, so none of them may leave the dataset.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any, Final, TypeGuard

from recap_core.errors import ColumnError, DataError

MAX_INFO_BYTES: Final = 64 << 20
"""The largest real one is a few hundred kilobytes."""
MAX_FPS: Final = 1000
MAX_SIZE: Final = 2**31 - 1
"""Arrow's limit to the length of vectors."""
V30_PATHS: Final = {
    "data_path": {"chunk_index", "file_index"},
    "video_path": {"video_key", "chunk_index", "file_index"},
}
"""Path templates of v3.0, and what may be filled in."""
_NUMBER_FORMAT = re.compile(r"(0?\d)?d?")
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f\ud800-\udfff]")


def read_info(root: Path) -> dict[str, Any]:
    """The object in ``meta/info.json``; its content is not checked.

    Raises:
        DataError: If it is missing, no JSON object, or absurdly large.
    """
    path = root / "meta" / "info.json"
    try:
        size = path.stat().st_size
        if size > MAX_INFO_BYTES:
            raise DataError(
                f"meta/info.json of {root} has {size} bytes, more than {MAX_INFO_BYTES}: it is no "
                "dataset's metadata. Write the dataset again."
            )
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{root} is no LeRobot dataset: meta/info.json cannot be read ({error}). "
            "Check the path."
        ) from error
    if not isinstance(info, dict):
        raise DataError(
            f"meta/info.json of {root} holds a {type(info).__name__}, but must hold an object. "
            "Write the dataset again."
        )
    return info


def check_info(
    info: dict[str, Any], root: Path, *, paths: Mapping[str, Collection[str]] = V30_PATHS
) -> None:
    """Raise unless everything that the readers rely on is there and safe to use.

    Args:
        info: What :func:`read_info` gave.
        root: The dataset, for the error.
        paths: Its path templates, and what may be filled in.

    Raises:
        DataError: If a key is missing or of the wrong kind, or a path leads out of the dataset.
        ColumnError: If a feature is not described as it must be.
    """
    for key in ("fps", "features", "total_episodes", "total_frames"):
        if key not in info:
            raise DataError(f"meta/info.json of {root} has no {key!r}. Write the dataset again.")
    if not is_count(info["fps"], low=1, high=MAX_FPS):
        raise _wrong(root, "fps", info["fps"], f"a whole number from 1 to {MAX_FPS}")
    for key in ("total_episodes", "total_frames"):
        if not is_count(info[key]):
            raise _wrong(root, key, info[key], "a whole number, 0 or more")
    if not isinstance(info.get("robot_type"), str | None):
        raise _wrong(root, "robot_type", info["robot_type"], "a text")
    _check_features(root, info["features"])
    for key, fields in paths.items():
        problem = _template_problem(info.get(key), fields)
        if problem:
            raise DataError(
                f"{key} in meta/info.json of {root} is {info[key]!r}, which {problem}. "
                "A path stays inside its dataset; write the dataset again."
            )


def is_count(value: object, *, low: int = 0, high: int = 2**63 - 1) -> TypeGuard[int | float]:
    """Whether a JSON value is a whole number from ``low`` to ``high``; 30.0 is one, True is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high and value == int(value)


def check_file_name(name: object, *, what: str) -> None:
    """Raise DataError unless ``name`` can be part of a file name and leads nowhere else.

    Args:
        name: A value from a file that somebody else wrote.
        what: What it names, and where it stands, for the error.
    """
    is_plain = isinstance(name, str) and name.strip(". ") and not _UNSAFE.search(name)
    if not is_plain:
        raise DataError(
            f"{what} is {name!r}, but must be a plain name, without slashes or control characters. "
            "Correct the name."
        )


def _wrong(root: Path, key: str, value: object, rule: str) -> DataError:
    text = repr(value)
    return DataError(
        f"{key} in meta/info.json of {root} is {text[:60]}, but must be {rule}. "
        "Write the dataset again."
    )


def _check_features(root: Path, features: object) -> None:
    if not isinstance(features, dict) or not features:
        raise _wrong(root, "features", features, "an object with one entry per feature")
    for name, feature in features.items():
        _check_feature(root, name, feature)


def _check_feature(root: Path, name: str, feature: object) -> None:
    check_file_name(name, what=f"a feature in meta/info.json of {root}")
    described = feature if isinstance(feature, dict) else {}
    dtype, shape = described.get("dtype"), described.get("shape")
    dims = shape if isinstance(shape, list) else [None]
    is_shape = all(isinstance(dim, int) and is_count(dim, low=1, high=MAX_SIZE) for dim in dims)
    if not isinstance(dtype, str) or not is_shape:
        raise ColumnError(
            f"feature {name} in meta/info.json of {root} has dtype {dtype!r} and shape {shape!r}, "
            "but needs a type's name and a list of sizes. Write the dataset again."
        )
    if dtype == "video" and len(dims) != 3:
        raise ColumnError(
            f"video {name} in meta/info.json of {root} has shape {shape}, but needs height, width "
            "and channels. Write the dataset again."
        )


def _template_problem(template: object, fields: Collection[str]) -> str | None:
    """What is wrong with a path template, as the end of a sentence; None if it is fine."""
    if template is None:
        return None
    if not isinstance(template, str):
        return "is no text"
    path = PurePosixPath(template)
    if path.is_absolute() or ".." in path.parts or _UNSAFE.search(template.replace("/", "")):
        return "leads out of the dataset"
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return f"is no path template ({error})"
    for _, field, form, conversion in parts:
        is_known = field is None or (field in fields and not conversion)
        if not is_known or not _NUMBER_FORMAT.fullmatch(form or ""):
            return f"has an unknown part {{{field}}}"
    return None
