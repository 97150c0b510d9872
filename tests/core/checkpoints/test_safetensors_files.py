"""Safetensors files against the library that defines them."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recap_core.checkpoints.safetensors_files import Described, read_tensors, write_tensors
from recap_core.errors import CheckpointError


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    described = {
        name: Described(array.shape, array.dtype, lambda array=array: array)
        for name, array in arrays.items()
    }
    write_tensors(path, described, metadata={"format": "pt"})


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    """All shapes and types, scalars and empty tensors included."""
    arrays = {
        "a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.float16(2.5) * np.ones((2, 1, 2), np.float16),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
    }
    save_file(arrays, tmp_path / "x.safetensors")

    found = read_tensors(tmp_path / "x.safetensors")

    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name].read(), array)


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    """Transposed arrays in the order of their axes."""
    arrays = {"w": np.arange(6.0).reshape(2, 3).T, "one": np.ones(1, np.float32)}

    _write(tmp_path / "x.safetensors", arrays)

    for name, array in load_file(tmp_path / "x.safetensors").items():
        np.testing.assert_array_equal(array, arrays[name])


def test_bfloat16_survives_a_round_trip(tmp_path: Path) -> None:
    """The library's NumPy reader has no such type; PyTorch's has."""
    import torch
    from safetensors.torch import load_file as load_torch

    array = np.linspace(-3, 3, 7, dtype=np.float32).astype(jnp.bfloat16)
    _write(tmp_path / "x.safetensors", {"w": array})

    np.testing.assert_array_equal(read_tensors(tmp_path / "x.safetensors")["w"].read(), array)
    there = load_torch(tmp_path / "x.safetensors")["w"]
    assert there.dtype == torch.bfloat16
    np.testing.assert_array_equal(there.float().numpy(), array.astype(np.float32))


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    """The old one stays."""
    _write(tmp_path / "x", {"a": np.ones(1)})

    with pytest.raises(FileExistsError):
        _write(tmp_path / "x", {"a": np.zeros(1)})


def _header(content: object, data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x10\0\0",
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{]",
        _header([1]),
        _header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        _header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
        _header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"),
        _header({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, b"1234"),
        _header({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        _header({"a": {"shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    """Cut short, lying about sizes, or no such file at all."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(CheckpointError, match=r"no\.safetensors cannot be read"):
        read_tensors(tmp_path / "no.safetensors")
