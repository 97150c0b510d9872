"""Which Arrow types the features of a dataset may have in its data files."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recap_core.data.columns import Feature
from recap_core.errors import ColumnError


def value_type(name: str, dtype: str) -> pa.DataType:
    """Arrow type of one number or text of a feature.

    Raises:
        ColumnError: If there is no such type, as for images that are not videos.
    """
    try:
        return pa.type_for_alias(dtype)
    except ValueError:
        raise ColumnError(
            f"feature {name} has dtype {dtype!r}, which is neither a number, text nor a video. "
            "Leave it out, or store images as video."
        ) from None


def column_problem(name: str, column: pa.DataType, feature: Feature) -> str | None:
    """How a column's type differs from what its feature says; None if it does not.

    A scalar may be stored as a list of one; a vector as a list of fixed or open length (rows of
    another length are found when they are read).
    """
    try:
        value = value_type(name, feature["dtype"])
    except ColumnError as error:
        return str(error)
    shape = list(feature["shape"])
    inner, size = column, None
    if is_list(column):
        inner, size = column.value_type, getattr(column, "list_size", None)
    is_right = inner == value or (pa.types.is_string(value) and pa.types.is_large_string(inner))
    if shape not in ([1], []):
        is_right &= len(shape) == 1 and is_list(column) and size in (None, shape[0])
    elif is_list(column):
        is_right &= size in (None, 1)
    if is_right:
        return None
    return f"is {column}, but info.json says {feature['dtype']} of shape {shape}"


def is_list(column: pa.DataType) -> bool:
    """Whether cells hold several values: as lists of any length, long ones, or of one length."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(column) for is_kind in kinds)


def require_columns(
    schema: pa.Schema, names: Iterable[str], features: Mapping[str, Feature], *, path: Path
) -> None:
    """Raise ColumnError unless a data file has these columns, each of the type of its feature."""
    for name in names:
        if schema.names.count(name) != 1:
            raise ColumnError(f"{path} has no column {name}, but info.json does. Write it again.")
        problem = column_problem(name, schema.field(name).type, features[name])
        if problem:
            raise ColumnError(f"column {name} of {path} {problem}. Write the dataset again.")


def scalar_cells(column: pa.ChunkedArray, *, name: str) -> pa.ChunkedArray:
    """A column of numbers or words, also where they are stored as lists of one (SPEC §3.1).

    Raises:
        ColumnError: If lists are of another length.
    """
    if not is_list(column.type):
        return column
    sizes = pc.call_function("list_value_length", [column]).unique().to_pylist()
    if sizes not in ([], [1]):
        raise ColumnError(f"{name} holds lists of {sizes} values, not of 1. Write it again.")
    return pc.call_function("list_flatten", [column])


def listed_cells(values: pa.Array, column: pa.DataType) -> pa.Array:
    """Values as a column of this type stores them: alone, or each in a list of one."""
    if not is_list(column):
        return values.cast(column)
    values = values.cast(column.value_type)
    if pa.types.is_fixed_size_list(column):
        return pa.FixedSizeListArray.from_arrays(values, type=column)
    kind = pa.LargeListArray if pa.types.is_large_list(column) else pa.ListArray
    offsets = pa.array(range(len(values) + 1), pa.int64()).cast(
        pa.int64() if pa.types.is_large_list(column) else pa.int32()
    )
    return kind.from_arrays(offsets, values, type=column)


def to_array(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column as a new array, as ``column.to_numpy()``: empty cells of real numbers are NaN.

    PyArrow's own method imports pandas where that is installed, which takes a second; for plain
    numbers nothing of it is needed.
    """
    is_real = pa.types.is_floating(column.type)
    if is_real and column.null_count:
        column = pc.call_function("coalesce", [column, pa.scalar(math.nan, column.type)])
    if not (is_real or pa.types.is_integer(column.type)) or column.null_count or not len(column):
        return column.to_numpy() if isinstance(column, pa.ChunkedArray) else np.asarray(column)
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(whole).copy()
