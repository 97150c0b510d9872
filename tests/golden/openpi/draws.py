"""Inputs of the reference numbers that are drawn instead of stored (see README.md).

Every array has a generator of its own, seeded by a seed and the CRC-32 of the array's name, so that
arrays do not depend on which others are drawn. The reference ran on the very arrays made here.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def generator(seed: int, name: str) -> np.random.Generator:
    """PCG64 of ``seed`` and ``name``."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))


def normals(seed: int, name: str, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
    """Normal draws with standard deviation ``scale``, float32."""
    draws = generator(seed, name).standard_normal(tuple(shape), dtype=np.float32)
    return draws * np.float32(scale)


def uniforms(seed: int, name: str, shape: Sequence[int], low: float, high: float) -> np.ndarray:
    """Uniform draws from [low, high), float32."""
    draws = generator(seed, name).random(tuple(shape), dtype=np.float32)
    return np.float32(low) + draws * np.float32(high - low)


def integers(seed: int, name: str, shape: Sequence[int], low: int, high: int) -> np.ndarray:
    """Integers in [low, high), int32."""
    return generator(seed, name).integers(low, high, tuple(shape), dtype=np.int32)


def picture(seed: int, name: str, height: int, width: int) -> np.ndarray:
    """A uint8 image of ``(height, width, 3)``: random patches of 8 pixels under fine noise."""
    rng = generator(seed, name)
    coarse = rng.integers(0, 200, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    patches = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)[:height, :width]
    return patches + rng.integers(0, 56, (height, width, 3), dtype=np.uint8)


def scale_of(path: str) -> float:
    """Standard deviation of the leaf ``path``: no path through the model is silent or saturates."""
    last = path.rpartition("/")[2]
    if "lora" in path:
        return 0.2
    if last in ("bias", "scale"):
        return 0.1
    if last in ("pos_embedding", "input_embedding"):
        return 0.2
    return 0.15


def leaves(seed: int, shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """A parameter leaf for every path and shape: normal, standard deviation ``scale_of(path)``."""
    return {path: normals(seed, path, shape, scale_of(path)) for path, shape in shapes.items()}


def params_like(seed: int, shapes: Mapping[str, Sequence[int]], base: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a flat tree
    """Leaves of ``base`` where path and shape agree, drawn ones elsewhere."""
    drawn = leaves(seed, shapes)
    return {
        path: base[path] if path in base and base[path].shape == tuple(shape) else drawn[path]
        for path, shape in shapes.items()
    }
