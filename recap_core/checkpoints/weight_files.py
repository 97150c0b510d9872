"""Arrays in the files that published weights come in: Orbax, npz and safetensors.

Names, shapes and dtypes are read first; arrays only when they are asked for. Nothing is unpickled.
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from recap_core.checkpoints.files import AS_STORED, read_structure, read_tree
from recap_core.checkpoints.safetensors_files import read_tensors
from recap_core.checkpoints.trees import flatten
from recap_core.errors import CheckpointError

SAFETENSORS = "model.safetensors"
INDEX = f"{SAFETENSORS}.index.json"
_BFLOAT16 = np.dtype(jnp.bfloat16)


class Stored(NamedTuple):
    """Shape and dtype of an array that was not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype


class Weights(NamedTuple):
    """The arrays of one checkpoint."""

    arrays: dict[str, Stored]
    read: Callable[[Sequence[str]], Mapping[str, np.ndarray]]
    """Arrays by name; raises CheckpointError where a file is damaged."""


def open_orbax(directory: Path) -> Weights:
    """The leaves of an Orbax checkpoint by ``/``-joined path.

    Raises:
        CheckpointError: If there is none, or it cannot be read.
    """
    arrays = {
        name: Stored(tuple(leaf.shape), leaf.dtype)
        for name, leaf in read_structure(directory).items()
    }

    def read(names: Sequence[str]) -> Mapping[str, np.ndarray]:
        return flatten(read_tree(directory, dict.fromkeys(names, AS_STORED)))

    return Weights(arrays, read)


def open_npz(file: Path) -> Weights:
    """The arrays of an ``.npz`` by name.

    Two-byte records are bfloat16, which NumPy cannot name in such a file.

    Raises:
        CheckpointError: If it is missing, cut short, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            arrays = {}
            for member in archive.namelist():
                with archive.open(member) as stream:
                    arrays[member.removesuffix(".npy")] = _npy_header(stream, member)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(
            f"{file} cannot be read as npz ({error}). Copy or download it again."
        ) from error

    def read(names: Sequence[str]) -> Mapping[str, np.ndarray]:
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name].view(arrays[name].dtype) for name in names}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
            raise CheckpointError(
                f"{file} cannot be read ({error}). Copy or download it again."
            ) from error

    return Weights(arrays, read)


def safetensors_files(path: Path) -> list[Path]:
    """The safetensors files of a model: ``path`` itself, one in it, or those its index names.

    Raises:
        CheckpointError: If there are none, or the index names a file that is not beside it.
    """
    if path.is_file():
        return [path]
    if (path / SAFETENSORS).is_file():
        return [path / SAFETENSORS]
    index = path / INDEX
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read ({error}). Download it again.") from error
    missing = [name for name in names if not (path / name).is_file()]
    if outside or missing or not names:
        raise CheckpointError(
            f"{index} names {(outside or missing or ['nothing'])[0]}, which is not beside it. "
            "Download the whole model again."
        )
    return [path / name for name in names]


def open_safetensors(path: Path) -> Weights:
    """The tensors of a model by name; they are mapped from the files when read.

    Raises:
        CheckpointError: If a file is missing, cut short, or two files hold the same tensor.
    """
    tensors = {}
    for file in safetensors_files(path):
        found = read_tensors(file)
        if twice := sorted(tensors.keys() & found.keys()):
            raise CheckpointError(
                f"{twice[0]} is in {file} and in another part of the same model. "
                "Download the whole model again."
            )
        tensors |= found

    def read(names: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {name: tensors[name].read() for name in names}

    arrays = {name: Stored(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    return Weights(arrays, read)


def _npy_header(stream: zipfile.ZipExtFile, member: str) -> Stored:
    read_magic, header_1_0, header_2_0 = (
        np.lib.format.read_magic,
        np.lib.format.read_array_header_1_0,
        np.lib.format.read_array_header_2_0,
    )
    version = read_magic(stream)
    shape, _, dtype = header_1_0(stream) if version == (1, 0) else header_2_0(stream)
    if dtype.hasobject:
        raise ValueError(f"{member} holds pickled objects, which are never loaded")
    is_bfloat16 = dtype.kind == "V" and dtype.itemsize == 2
    return Stored(tuple(shape), _BFLOAT16 if is_bfloat16 else dtype)
