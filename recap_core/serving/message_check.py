"""A look at the skeleton of a msgpack message before anything of it is decoded.

A few hostile bytes can announce gigabytes: an array of 2**32 elements inside another one, or 64 MiB
of empty lists, each of which becomes a Python object. So headers are walked first, payloads
skipped, and only a message whose parts all fit into its own bytes and into the limits is decoded.
"""

import struct

from recap_core.errors import DataError

MAX_DEPTH = 16
"""Levels of nesting; an observation has three."""
MAX_ITEMS = 65_536
"""Values of one message, keys included; an observation has a few dozen."""

_INVALID = 0xC1
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
"""Payload bytes of numbers, by first byte."""
_SIZED = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
"""Length field of binaries and strings."""
_CONTAINERS = {0xDC: (">H", 1), 0xDD: (">I", 1), 0xDE: (">H", 2), 0xDF: (">I", 2)}
"""Length field of arrays and maps, and values per element."""
_EXTENSIONS = frozenset((0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8))


def check_structure(data: bytes) -> None:
    """Raise DataError unless ``data`` is one whole, harmless msgpack value.

    Raises:
        DataError: If it is cut short or has bytes left over, holds extension types, or exceeds
            ``MAX_DEPTH`` or ``MAX_ITEMS``.
    """
    open_levels = [1]  # values still to come, per level
    position, num_items = 0, 1
    while open_levels:
        if not open_levels[-1]:
            open_levels.pop()
            continue
        open_levels[-1] -= 1
        position, num_children = _step(data, position)
        if num_children:
            num_items += num_children
            if num_items > MAX_ITEMS:
                raise DataError(
                    f"the message announces more than {MAX_ITEMS} values. Send arrays as NumPy "
                    "arrays, not as lists."
                )
            if len(open_levels) >= MAX_DEPTH:
                raise DataError(f"the message is nested deeper than {MAX_DEPTH} levels.")
            open_levels.append(num_children)
    if position != len(data):
        raise DataError(
            f"{len(data) - position} bytes follow the message's one msgpack value. "
            "Send one value per frame."
        )


def _step(data: bytes, position: int) -> tuple[int, int]:
    """Position after a value's header and payload, and how many values it contains."""
    if position >= len(data):
        raise DataError(f"the message ends after {len(data)} bytes, inside of a value.")
    code = data[position]
    size, num_children = 0, 0
    position += 1
    if code <= 0x7F or code >= 0xE0:
        pass
    elif code <= 0x8F:
        num_children = 2 * (code & 0x0F)
    elif code <= 0x9F:
        num_children = code & 0x0F
    elif code <= 0xBF:
        size = code & 0x1F
    elif code in _SIZED:
        position, size = _length(data, position, _SIZED[code])
    elif code in _CONTAINERS:
        form, per_element = _CONTAINERS[code]
        position, length = _length(data, position, form)
        num_children = length * per_element
    elif code in _EXTENSIONS or code == _INVALID:
        raise DataError(f"byte {code:#x} at {position - 1} starts no type of the openpi protocol.")
    else:
        size = _FIXED.get(code, 0)  # nil, false and true have none
    if position + size + num_children > len(data):
        raise DataError(
            f"a value at byte {position} announces {size + num_children} more bytes, but only "
            f"{len(data) - position} are left: the message was cut short."
        )
    return position + size, num_children


def _length(data: bytes, position: int, form: str) -> tuple[int, int]:
    end = position + struct.calcsize(form)
    if end > len(data):
        raise DataError(f"the message ends after {len(data)} bytes, inside of a length.")
    return end, struct.unpack_from(form, data, position)[0]
