"""openpi's wire protocol: msgpack with NumPy arrays, and the constants that both ends share.

    server -> client   metadata: one map, first frame of a connection
    client -> server   observation: one map
    server -> client   {"actions": (h, a), "policy_timing": {...}, "server_timing": {...}}
    server -> client   text frame: an error; then close 1011

An array is a map with the *bytes* keys ``__ndarray__``, ``data`` (C order), ``dtype`` (such as
``<f4``) and ``shape``; a NumPy scalar one with ``__npgeneric__``, ``data`` and ``dtype``. No
object, void or complex types, so nothing is ever executed.
"""

import math
import re
from typing import Any

import msgpack
import numpy as np

from recap_core.errors import DataError
from recap_core.serving.message_check import check_structure

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
"""openpi's default; RECAP's pages use 8111."""
MAX_MESSAGE_BYTES = 64 * 2**20
"""Largest message that is accepted, unless told otherwise."""
CLOSE_INTERNAL_ERROR = 1011
CLOSE_REASON = "Internal server error. Traceback included in previous frame."
"""openpi's close reason after an error frame."""
HEALTH_PATH, METRICS_PATH, STATS_PATH = "/healthz", "/metrics", "/stats"
API_KEY_HEADER, API_KEY_SCHEME = "Authorization", "Api-Key"

_REFUSED_KINDS = "VOc"
_DTYPE = re.compile(r"[<>|=]?[biufSUmM][0-9]{1,9}(\[[0-9]{0,6}[A-Za-z]{1,2}\])?")
_MAX_DIMS = 32
_SCALARS = {
    "b": (bool,),
    "i": (bool, int),
    "u": (bool, int),
    "f": (bool, int, float),
    "U": (str,),
    "S": (bytes,),
}
"""Python types that stand for a NumPy scalar, by dtype kind."""


def pack(message: Any) -> bytes:  # noqa: ANN401 - whatever msgpack knows, and NumPy
    """Bytes of a message, as openpi's packer makes them.

    Raises:
        DataError: If it holds something that the protocol cannot carry.
    """
    try:
        return msgpack.packb(message, default=_plain)  # pyright: ignore[reportReturnType] # never None
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"a message cannot be packed: {error}.") from error


def unpack(data: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    """The message in ``data``; arrays are read-only views into it.

    Raises:
        DataError: If ``data`` is not one msgpack value, exceeds the limits of
            :mod:`~recap_core.serving.message_check`, or an array's parts do not agree.
    """
    check_structure(data)
    try:
        tree = msgpack.unpackb(data)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise DataError(f"the message is no msgpack: {error}.") from error
    return _with_arrays(tree)


def _plain(value: object) -> object:
    """The map that stands for an array or a NumPy scalar."""
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"cannot carry a {type(value).__name__}")
    if value.dtype.kind in _REFUSED_KINDS:
        raise ValueError(f"cannot carry dtype {value.dtype}")
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return {
        b"__ndarray__": True,
        b"data": value.tobytes(),
        b"dtype": value.dtype.str,
        b"shape": value.shape,
    }


def _with_arrays(value: object) -> object:
    if isinstance(value, list):
        return [_with_arrays(item) for item in value]
    if not isinstance(value, dict):
        return value
    if b"__ndarray__" in value:
        return _array(value)
    if b"__npgeneric__" in value:
        return _scalar(value)
    return {key: _with_arrays(item) for key, item in value.items()}


def _array(parts: dict[Any, Any]) -> np.ndarray:
    dtype, data, shape = _dtype(parts), parts.get(b"data"), _shape(parts)
    if not isinstance(data, bytes):
        raise DataError(f"an array's data is {type(data).__name__}, expected binary.")
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes != len(data):
        raise DataError(
            f"an array of shape {shape} and dtype {dtype.str} takes {num_bytes} bytes, but "
            f"{len(data)} came."
        )
    try:
        return np.ndarray(buffer=data, dtype=dtype, shape=shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"an array of shape {shape} cannot be made: {error}.") from error


def _shape(parts: dict[Any, Any]) -> tuple[int, ...]:
    shape = parts.get(b"shape")
    if isinstance(shape, list) and len(shape) <= _MAX_DIMS:
        dims = tuple(n for n in shape if type(n) is int and n >= 0)
        if len(dims) == len(shape):
            return dims
    raise DataError(
        f"an array's shape is {str(shape)[:80]}; expected up to {_MAX_DIMS} whole numbers."
    )


def _scalar(parts: dict[Any, Any]) -> np.generic:
    dtype, data = _dtype(parts), parts.get(b"data")
    if not isinstance(data, _SCALARS.get(dtype.kind, ())):
        raise DataError(f"a scalar of dtype {dtype.str} came as {type(data).__name__}.")
    try:
        return dtype.type(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"a scalar of dtype {dtype.str} cannot be made: {error}.") from error


def _dtype(parts: dict[Any, Any]) -> np.dtype:
    name = parts.get(b"dtype")
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise DataError(
            f"an array's dtype is {str(name)[:40]!r}; expected a NumPy one such as '<f4'. Objects, "
            "records and complex numbers are refused."
        )
    try:
        return np.dtype(name)
    except (TypeError, ValueError) as error:
        raise DataError(f"an array's dtype is {name!r}, which NumPy does not know.") from error
