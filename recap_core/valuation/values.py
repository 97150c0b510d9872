"""Stored values: V(o_t) of a dataset's frames, by global index."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from recap_core.errors import DataError

_FILE = "values.npy"


def write_values(
    directory: Path,
    values: Float32[np.ndarray, " n"],
    *,
    is_wanted: Bool[np.ndarray, " n"] | None = None,
) -> None:
    """Write ``values.npy`` into the existing ``directory``.

    Args:
        directory: Of the artifact.
        values: V of every frame; NaN exactly where it was not asked for.
        is_wanted: Frames that were asked for; None: all.

    Raises:
        DataError: If a value that was asked for is not in [-1, 0], or another one is not NaN.
    """
    wanted = np.ones(len(values), bool) if is_wanted is None else is_wanted
    bad = np.flatnonzero(wanted & ~((values >= -1) & (values <= 0)))
    if len(bad):
        raise DataError(
            f"V of frame {bad[0]} is {values[bad[0]]:.4g}, outside [-1, 0] ({len(bad)} of "
            f"{len(values)} frames are). Train the value model again."
        )
    extra = np.flatnonzero(~wanted & ~np.isnan(values))
    if len(extra):
        raise DataError(
            f"V of frame {extra[0]} is {values[extra[0]]:.4g}, but was not asked for "
            f"({len(extra)} of {len(values)} frames were not). Infer the values again."
        )
    np.save(directory / _FILE, values)


def holds_values(directory: Path) -> bool:
    """Whether there is something for :func:`read_values` to read."""
    return (directory / _FILE).is_file()


def read_values(directory: Path) -> Float32[np.ndarray, " n"]:
    """V of every frame, in [-1, 0]; NaN on frames that were not asked for.

    Raises:
        DataError: If there are no values.
    """
    path = directory / _FILE
    if not path.is_file():
        raise DataError(f"{directory} holds no {_FILE}. Infer the values of the dataset first.")
    return np.load(path, allow_pickle=False)
