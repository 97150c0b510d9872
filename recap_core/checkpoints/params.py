"""Model parameters in openpi's layout: a ``params`` directory whose one top key is ``params``."""

from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from recap_core.checkpoints.architecture import explain_mismatch
from recap_core.checkpoints.files import AS_STORED, Target, read_structure, read_tree, write_tree
from recap_core.checkpoints.trees import Tree, compare_trees, flatten, unflatten
from recap_core.errors import CheckpointError
from recap_core.models.parameters import Params
from recap_core.progress import Bar, Progress, Silent

_TOP = "params"
NNX_LEAF = "value"
"""Last part of every path in what openpi's training writes."""
_BLOCK = 1 << 24
"""Numbers that are checked at once."""
_BATCH_BYTES = 1 << 28
"""Of leaves that are read at once to be checked."""

type Shardings = jax.sharding.Sharding | Tree
"""One sharding for all leaves, or a tree of shardings with the structure of the parameters."""


def save_params(path: Path, params: Tree, *, nnx_values: bool = False) -> None:
    """Write ``params`` to the new directory ``path``, so that openpi reads it.

    Args:
        path: New directory; appears complete or not at all.
        params: Arrays of NumPy or JAX.
        nnx_values: Put every leaf one level deeper under ``value``, as openpi's training does;
            its loader reads both.

    Raises:
        CheckpointError: If ``path`` exists, or a number is not finite.
    """
    flat = flatten(params)
    check_finite(flat.items(), where=f"the parameters for {path}")
    if nnx_values:
        flat = {f"{name}/{NNX_LEAF}": leaf for name, leaf in flat.items()}
    write_tree(path, {_TOP: unflatten(flat)})


def read_shapes(path: Path) -> dict[str, Any]:
    """Shapes and dtypes of the parameters in ``path``, without ``value`` level; nothing is read.

    Raises:
        CheckpointError: If ``path`` holds no parameters.
    """
    return unflatten({name: leaf for name, (_, leaf) in _stored(path).items()})


def has_nnx_values(path: Path) -> bool:
    """Whether every leaf in ``path`` lies one level deeper, under ``value``.

    Raises:
        CheckpointError: If ``path`` holds no parameters.
    """
    return all(f"{_TOP}/{name}" != stored for name, (stored, _) in _stored(path).items())


def load_params(
    path: Path,
    like: Tree | None = None,
    *,
    strict: bool = True,
    dtype: DTypeLike | None = None,
    sharding: Shardings | None = None,
) -> Params:
    """Read the parameters in ``path``.

    Both of openpi's layouts are read: leaves as they are, and every leaf one level deeper under
    ``value``. The leaves are compared with ``like`` before the first array is read.

    Args:
        path: Directory ``params`` of a checkpoint.
        like: Tree that the model expects (arrays or ``jax.eval_shape`` results); leaves are cast
            to its dtypes.
        strict: Whether the leaves must be exactly those of ``like``. If not, those that ``like``
            lacks are not read and those that the file lacks are left out.
        dtype: Dtype of every floating-point leaf, such as ``bfloat16``; wins over ``like``.
        sharding: Where the leaves go, as JAX arrays; each is placed while it is read, so the host
            never holds them all. None: NumPy arrays.

    Raises:
        CheckpointError: If ``path`` holds no parameters, if a shape differs from ``like``, or,
            where ``strict``, a leaf is missing or extra; the message names paths and counts, both
            models, and what to do.
    """
    stored = _stored(path)
    found = {name: leaf for name, (_, leaf) in stored.items()}
    wanted = found
    if like is not None:
        report = compare_trees(like, unflatten(found))
        if report.misshapen or (strict and not report.is_match):
            reason = explain_mismatch(like, unflatten(found), report)
            raise CheckpointError(f"{path} does not fit the model: {reason}")
        wanted = {name: leaf for name, leaf in flatten(like).items() if name in found}
    places = _places(sharding, wanted)
    targets = {
        stored[name][0]: Target(_dtype(leaf.dtype, dtype), places.get(name))
        for name, leaf in wanted.items()
    }
    read = flatten(read_tree(path, targets))
    return unflatten({name: read[stored[name][0]] for name in wanted})


def check_finite(leaves: Iterable[tuple[str, Any]], *, where: str) -> None:
    """Raise CheckpointError if a number is NaN or infinite; names the leaves.

    Args:
        leaves: Path and array, one after the other.
        where: What they are, for the message.
    """
    bad = {name: count for name, leaf in leaves if (count := _num_not_finite(leaf))}
    if bad:
        first = ", ".join(f"{count} in {name}" for name, count in list(bad.items())[:3])
        raise CheckpointError(
            f"{where} are not finite: {len(bad)} leaves hold NaN or infinity ({first}). Such a "
            "policy is never published; go back to an earlier checkpoint."
        )


def check_stored_finite(path: Path, *, progress: Progress | None = None) -> int:
    """Check the parameters in ``path`` a few at a time; returns how many numbers there are.

    Raises:
        CheckpointError: If one is NaN or infinite, or a leaf cannot be read.
    """
    stored = _stored(path)

    def leaves(bar: Bar) -> Generator[tuple[str, Any]]:
        done = 0
        for names in _batches({name: leaf for name, (_, leaf) in stored.items()}):
            read = flatten(read_tree(path, {stored[name][0]: AS_STORED for name in names}))
            for name in names:
                yield name, read.pop(stored[name][0])
            done += len(names)
            bar.update(done)

    with (progress or Silent()).bar("check parameters", len(stored)) as bar:
        check_finite(leaves(bar), where=f"the parameters in {path}")
    return sum(leaf.size for _, leaf in stored.values())


def _batches(leaves: Mapping[str, jax.ShapeDtypeStruct]) -> Generator[list[str]]:
    """Leaves in their order, in groups of at most that many bytes, or of one."""
    group: list[str] = []
    num_bytes = 0
    for name, leaf in leaves.items():
        size = leaf.size * leaf.dtype.itemsize
        if group and num_bytes + size > _BATCH_BYTES:
            yield group
            group, num_bytes = [], 0
        group.append(name)
        num_bytes += size
    if group:
        yield group


def check_fits(path: Path, like: Tree) -> None:
    """Raise CheckpointError unless ``path`` holds exactly the leaves of ``like``; no array is read.

    The message names paths and counts, both models, and what to do.
    """
    found = read_shapes(path)
    report = compare_trees(like, found)
    if not report.is_match:
        reason = explain_mismatch(like, found, report)
        raise CheckpointError(f"{path} does not fit the model: {reason}")


def cast_floats(params: Tree, dtype: DTypeLike) -> Params:
    """``params`` with every floating-point leaf in ``dtype``."""

    def cast(leaf: np.ndarray) -> np.ndarray:
        wanted = _dtype(leaf.dtype, dtype)
        return leaf if leaf.dtype == wanted else np.asarray(leaf).astype(wanted)

    return dict(jax.tree.map(cast, params))


def _stored(path: Path) -> dict[str, tuple[str, jax.ShapeDtypeStruct]]:
    """Path in the file, and shape, of every leaf by its path in the model."""
    structure = read_structure(path)
    tops = sorted({name.partition("/")[0] for name in structure})
    if tops != [_TOP]:
        raise CheckpointError(
            f"{path} has the top keys {tops}, expected only {_TOP!r}: "
            "these are no model parameters in openpi's layout"
        )
    suffix = f"/{NNX_LEAF}"
    if not all(name.endswith(suffix) for name in structure):
        suffix = ""
    return {
        name.removeprefix(f"{_TOP}/").removesuffix(suffix): (name, leaf)
        for name, leaf in structure.items()
    }


def _places(sharding: Shardings | None, wanted: dict[str, Any]) -> dict[str, jax.sharding.Sharding]:
    if sharding is None:
        return {}
    if isinstance(sharding, jax.sharding.Sharding):
        return dict.fromkeys(wanted, sharding)
    return flatten(sharding)


def _dtype(own: DTypeLike, floating: DTypeLike | None) -> DTypeLike:
    """``floating`` for floating-point leaves, if given; else the leaf's own."""
    return own if floating is None or not jnp.issubdtype(own, jnp.floating) else floating


def _num_not_finite(leaf: Any) -> int:  # noqa: ANN401 - an array of either library
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return 0
    flat = np.asarray(leaf).reshape(-1)
    return sum(
        int(np.count_nonzero(~np.isfinite(flat[start : start + _BLOCK])))
        for start in range(0, len(flat), _BLOCK)
    )
