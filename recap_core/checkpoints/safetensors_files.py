"""Safetensors files, one tensor at a time, bfloat16 included.

    8 bytes           length n of the header, little-endian
    n bytes           JSON: name -> dtype, shape, first and last byte after the header
    the rest          the tensors' bytes, row by row, little-endian, without gaps

The library's NumPy reader knows no bfloat16, and its writer wants all tensors in memory.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from recap_core.errors import CheckpointError

MAX_HEADER_BYTES = 100 << 20
"""The library's own limit."""
_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Tensor(NamedTuple):
    """One tensor of a file, not read yet."""

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    """First byte in the file."""

    def read(self) -> np.ndarray:
        """The tensor, mapped from the file: only the parts that are used are read."""
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, self.dtype)
        raw = np.memmap(
            self.file, np.uint8, "r", self.offset, math.prod(self.shape) * self.dtype.itemsize
        )
        return raw.view(self.dtype).reshape(self.shape)


class Described(NamedTuple):
    """A tensor that is to be written."""

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray]
    """Called when its turn comes, so that few tensors exist at once."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name; only the header is read.

    Raises:
        CheckpointError: If the file is missing, cut short, or no safetensors file.
    """
    try:
        header, start, size = _read_header(path)
        return {
            str(name): _tensor(path, entry, start=start, size=size)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({error}). Copy or download it again."
        ) from error


def write_tensors(
    path: Path, tensors: Mapping[str, Described], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to the new file ``path``, one after the other.

    Raises:
        FileExistsError: If it exists.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        entry = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = entry | {"data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            array = np.ascontiguousarray(tensor.make(), tensor.dtype)
            file.write(array.reshape(-1).view(np.uint8).data)


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header, where the tensors start, and the file's size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(f"its header should have {length} bytes, the file has {size}")
        return json.loads(file.read(length)), 8 + length, size


def _tensor(path: Path, entry: Any, *, start: int, size: int) -> Tensor:  # noqa: ANN401 - any JSON
    shape = tuple(int(dim) for dim in entry["shape"])
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {entry['dtype']!r} is none of {', '.join(_DTYPES)}")
    dtype = _DTYPES[entry["dtype"]]
    first, last = (int(at) for at in entry["data_offsets"])
    is_inside = 0 <= first <= last <= size - start
    if (
        not is_inside
        or last - first != math.prod(shape) * dtype.itemsize
        or min(shape, default=0) < 0
    ):
        raise ValueError(f"bytes {first} to {last} do not fit shape {shape} and {size} bytes")
    return Tensor(path, shape, dtype, start + first)
