"""The codec against bytes that openpi's own packer made, and against bytes nobody should send."""

import contextlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from recap_core.errors import DataError
from recap_core.serving.protocol import pack, unpack

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi" / "protocol"
DESCRIPTION = json.loads((GOLDEN / "description.json").read_text())


def check(value: Any, described: dict[str, Any]) -> None:  # noqa: ANN401 - any message
    """Compare a decoded value with the reference's description of what it decodes to."""
    if "dict" in described:
        assert list(value) == list(described["dict"])
        for key, part in described["dict"].items():
            check(value[key], part)
    elif "list" in described:
        assert len(value) == len(described["list"])
        for item, part in zip(value, described["list"], strict=True):
            check(item, part)
    elif described.get("ndarray"):
        assert isinstance(value, np.ndarray)
        assert (value.dtype.str, list(value.shape)) == (described["dtype"], described["shape"])
        if described["values"] is not None:
            assert [str(x) for x in value.ravel().tolist()] == described["values"]
        if described["sum_float64"] is not None:
            finite = value[np.isfinite(value)] if value.dtype.kind == "f" else value
            assert float(finite.astype(np.float64).sum()) == described["sum_float64"]
    elif described.get("npgeneric"):
        assert isinstance(value, np.generic)
        assert (value.dtype.str, str(value)) == (described["dtype"], described["value"])
    else:
        assert (type(value).__name__, str(value)) == (described["py"], described["value"])


@pytest.mark.parametrize("name", DESCRIPTION)
def test_reference_bytes_decode_to_what_the_reference_decodes(name: str) -> None:
    """Dtype, shape and values of every golden message."""
    check(unpack((GOLDEN / name).read_bytes()), DESCRIPTION[name]["decoded_by_reference"])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.msgpack")), ids=lambda path: path.stem)
def test_packing_gives_the_reference_bytes(path: Path) -> None:
    """Decoded and packed again, every golden message has the bytes it came with."""
    data = path.read_bytes()

    assert pack(unpack(data)) == data


def test_views_of_any_layout_travel_in_c_order() -> None:
    """A transposed and a strided array arrive as what they look like."""
    grid = np.arange(12, dtype=np.int16).reshape(3, 4)

    found = unpack(pack({"t": grid.T, "s": grid[:, ::2]}))

    np.testing.assert_array_equal(found["t"], grid.T)
    np.testing.assert_array_equal(found["s"], [[0, 2], [4, 6], [8, 10]])
    with pytest.raises(ValueError, match="read-only"):
        found["t"][0] = 1


@pytest.mark.parametrize(
    "value",
    [
        np.array([None], object),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, np.complex64),
        np.complex128(1),
        {1, 2},
        2**70,
    ],
    ids=["object", "record", "complex", "complex scalar", "set", "huge int"],
)
def test_what_the_protocol_cannot_carry_is_refused(value: object) -> None:
    """Before a byte is sent."""
    with pytest.raises(DataError, match="cannot be packed"):
        pack({"x": value})


def array(**changes: Any) -> bytes:  # noqa: ANN401 - any part may be wrong
    """A message with one array of two float32, of which some part is wrong."""
    parts = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    parts |= {key.encode(): value for key, value in changes.items()}
    return msgpack.packb({"x": parts}) or b""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array(shape=[3]), "takes 12 bytes, but 8 came"),
        (array(shape=[1]), "takes 4 bytes, but 8 came"),
        (array(shape=[2**40, 2**40]), "but 8 came"),
        (array(shape=[-2]), "whole numbers"),
        (array(shape=[2.0]), "whole numbers"),
        (array(shape=[True, 2]), "whole numbers"),
        (array(shape=2), "whole numbers"),
        (array(shape=[1] * 33), "up to 32"),
        (array(data="text"), "data is str"),
        (array(data=None), "data is NoneType"),
        (array(dtype="|O"), "dtype is '|O'"),
        (array(dtype="<c8"), "dtype is '<c8'"),
        (array(dtype="f4,f4"), "dtype is"),
        (array(dtype="|V8"), "dtype is"),
        (array(dtype="<f3"), "NumPy does not know"),
        (array(dtype="x" * 500), "dtype is"),
        (array(dtype=7), "dtype is"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 300, b"dtype": "|i1"}), "cannot be made"),
        (msgpack.packb({b"__npgeneric__": True, b"data": "a", b"dtype": "<f4"}), "came as str"),
        (msgpack.packb({1: 2}), "is no msgpack"),
        (b"\xa2\xff\xfe", "is no msgpack"),
        (b"", "ends after 0 bytes"),
        (b"\xc1", "starts no type"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "starts no type"),
        (b"\x90\x90", "1 bytes follow"),
        (b"\x91" * 17 + b"\x90", "nested deeper than 16"),
        (b"\xdd\xff\xff\xff\xff", "cut short"),
        (b"\xdf\xff\xff\xff\xff" + bytes(99), "cut short"),
        (b"\xc6\xff\xff\xff\xff" + bytes(99), "cut short"),
        (b"\xdd\x00\x01", "inside of a length"),
        (b"\xdd" + struct.pack(">I", 70_000) + b"\xc0" * 70_000, "more than 65536 values"),
    ],
)
def test_a_malformed_message_is_refused(data: bytes, message: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(DataError, match=message):
        unpack(data)


LYING = """
import struct, tracemalloc
from recap_core.errors import DataError
from recap_core.serving.protocol import unpack

data = bytearray(8 << 20)
for level in range(16):
    data[5 * level : 5 * level + 5] = b"\\xdd" + struct.pack(">I", (8 << 20) - 5 * level - 5)
message = bytes(data)
tracemalloc.start()
try:
    unpack(message)
except DataError as error:
    print(error)
print(tracemalloc.get_traced_memory()[1])
"""


def test_a_lying_message_costs_no_memory() -> None:
    """16 nested arrays, each announcing all that is left of 8 MB: refused in under 1 MB.

    In a process of its own, as threads of other tests take memory whenever they like.
    """
    command = [sys.executable, "-c", LYING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours

    refusal, peak = done.stdout.splitlines()
    assert "65536 values" in refusal
    assert int(peak) < 1 << 20


ARRAYS = npst.arrays(
    npst.scalar_dtypes().filter(lambda d: d.kind in "biufSU" and d.itemsize > 0),
    npst.array_shapes(min_dims=0, min_side=0),
)
MESSAGES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary() | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(MESSAGES)
def test_whatever_is_packed_comes_back(message: object) -> None:
    """Packing the decoded message gives the same bytes."""
    data = pack(message)

    assert pack(unpack(data)) == data


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_are_refused(data: bytes) -> None:
    """Never another exception."""
    with contextlib.suppress(DataError):
        unpack(data)


@given(st.data())
def test_a_damaged_message_decodes_or_is_refused(data: st.DataObject) -> None:
    """One byte of an observation changed, or its end cut off: never another exception."""
    whole = bytearray((GOLDEN / "obs_aloha.msgpack").read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    with contextlib.suppress(DataError):
        unpack(bytes(whole[: data.draw(st.sampled_from([cut, len(whole)]))]))
