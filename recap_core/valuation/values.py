"""Stored values: V(o_t) of every frame of a dataset, by global index."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from recap_core.errors import DataError

_FILE = "values.npy"


def write_values(directory: Path, values: Float32[np.ndarray, " n"]) -> None:
    """Write ``values.npy`` into the existing ``directory``.

    Raises:
        DataError: If a value is not in [-1, 0].
    """
    bad = np.flatnonzero(~((values >= -1) & (values <= 0)))
    if len(bad):
        raise DataError(
            f"V of frame {bad[0]} is {values[bad[0]]:.4g}, outside [-1, 0] ({len(bad)} of "
            f"{len(values)} frames are). Train the value model again."
        )
    np.save(directory / _FILE, values)


def holds_values(directory: Path) -> bool:
    """Whether there is something for :func:`read_values` to read."""
    return (directory / _FILE).is_file()


def read_values(directory: Path) -> Float32[np.ndarray, " n"]:
    """V of every frame, in [-1, 0].

    Raises:
        DataError: If there are no values.
    """
    path = directory / _FILE
    if not path.is_file():
        raise DataError(f"{directory} holds no {_FILE}. Infer the values of the dataset first.")
    return np.load(path, allow_pickle=False)
