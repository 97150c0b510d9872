# pyright: standard
# (not strict as the rest of the package: pyarrow ships no types)
"""Digests of the logical content of parquet columns, whatever wrote the file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    import pyarrow as pa


def parquet_column_digests(path: Path) -> dict[str, str]:
    """xxh3-128 of the logical content of every top-level column of a parquet file.

    Row groups, compression, encodings, dictionary or large variants of a type, metadata and writer
    version do not count; logical type, order, nulls and the bits of floats do.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        columns = {field.name: _ColumnHasher(field.type) for field in schema}
        for batch in file.iter_batches():
            for name, array in zip(batch.schema.names, batch.columns, strict=True):
                columns[name].update(array)
    return {name: column.digest() for name, column in columns.items()}


class _ColumnHasher:
    """Hash of a column that arrives in pieces of any length.

    Validity, lengths and values each have their own stream, so piece boundaries leave no trace.
    """

    def __init__(self, kind: "pa.DataType") -> None:
        from pyarrow import types

        while types.is_dictionary(kind):
            kind = kind.value_type
        self._kind = kind
        self._validity = xxhash.xxh3_128()
        self._lengths = xxhash.xxh3_128()
        self._values = xxhash.xxh3_128()
        self._children: list[_ColumnHasher] = []
        if types.is_struct(kind):
            self._children = [_ColumnHasher(field.type) for field in kind]
        elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            self._children = [_ColumnHasher(kind.value_type)]

    def update(self, array: Any) -> None:  # noqa: ANN401 - pyarrow ships no types
        """Add a piece, a ``pyarrow.Array`` of the column's type."""
        from pyarrow import compute, types

        if types.is_dictionary(array.type):
            array = array.dictionary_decode()
        self._validity.update(array.is_valid().to_numpy(zero_copy_only=False).tobytes())
        array = array.drop_null()
        kind = self._kind
        if types.is_struct(kind):
            for child, part in zip(self._children, array.flatten(), strict=True):
                child.update(part)
        elif self._children:
            self._lengths.update(_lengths(compute.call_function("list_value_length", [array])))
            self._children[0].update(array.flatten())
        elif types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind):
            self._lengths.update(_lengths(compute.call_function("binary_length", [array])))
            self._values.update(b"".join(array.cast("large_binary").to_pylist()))
        elif types.is_primitive(kind):
            self._values.update(array.to_numpy(zero_copy_only=False).tobytes())
        else:
            for value in array.to_pylist():
                self._values.update(repr(value).encode() + b"\0")

    def digest(self) -> str:
        """The hash so far."""
        name = str(self._kind).removeprefix("large_") if not self._children else ""
        parts = [name, self._validity.hexdigest(), self._lengths.hexdigest()]
        parts += [self._values.hexdigest(), *(child.digest() for child in self._children)]
        return xxhash.xxh3_128("/".join(parts).encode()).hexdigest()


def _lengths(lengths: Any) -> bytes:  # noqa: ANN401 - pyarrow ships no types
    return lengths.cast("int64").to_numpy(zero_copy_only=False).tobytes()
