"""Model parameters in openpi's layout: a ``params`` directory whose one top key is ``params``."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from recap_core.checkpoints.files import read_tree, write_tree
from recap_core.checkpoints.trees import Tree, compare_trees, flatten, unflatten
from recap_core.errors import CheckpointError
from recap_core.models.parameters import Params

_TOP = "params"
_NNX_LEAF = "value"
LORA_PATHS = ".*lora.*"
"""Leaves that a base checkpoint need not have."""


def save_params(path: Path, params: Tree) -> None:
    """Write ``params`` to the new directory ``path``, so that openpi reads it.

    Raises:
        CheckpointError: If ``path`` exists.
    """
    write_tree(path, {_TOP: params})


def load_params(
    path: Path,
    like: Tree | None = None,
    *,
    strict: bool = True,
    dtype: DTypeLike | None = None,
) -> Params:
    """Read the parameters in ``path`` as NumPy arrays.

    Both of openpi's layouts are read: leaves as they are, and every leaf one level deeper under
    ``value``.

    Args:
        path: Directory ``params`` of a checkpoint.
        like: Tree that the model expects (arrays or ``jax.eval_shape`` results); leaves are cast
            to its dtypes.
        strict: Whether the leaves must be exactly those of ``like``. If not, those that ``like``
            lacks are dropped and those that the file lacks are left out.
        dtype: Dtype of every floating-point leaf, such as ``bfloat16``; wins over ``like``.

    Raises:
        CheckpointError: If ``path`` holds no parameters, if a shape differs from ``like``, or,
            where ``strict``, a leaf is missing or extra; the message names paths and counts.
    """
    tree = read_tree(path)
    if set(tree) != {_TOP}:
        raise CheckpointError(
            f"{path} has the top keys {sorted(tree)}, expected only {_TOP!r}: "
            "these are no model parameters in openpi's layout"
        )
    params = _without_nnx_level(tree[_TOP])
    if like is not None:
        params = _fitted(params, like, path=path, strict=strict)
    if dtype is not None:
        params = cast_floats(params, dtype)
    return params


def merge_params(
    fresh: Params, loaded: Params, *, may_be_missing: str = LORA_PATHS, source: str = "checkpoint"
) -> Params:
    """Start a model from loaded parameters, as openpi does.

    Every leaf comes from ``loaded`` (cast to the dtype of ``fresh``), except that a path which
    matches ``may_be_missing`` keeps its fresh value where ``loaded`` lacks it.

    Args:
        fresh: Freshly initialised parameters of the model.
        loaded: Parameters of a checkpoint.
        may_be_missing: Regular expression of whole paths.
        source: What ``loaded`` is, for messages.

    Raises:
        CheckpointError: If another leaf is missing, a shape differs, or a leaf is extra (a LoRA
            checkpoint for a model without adapters would otherwise act wrongly in silence).
    """
    new = {
        path: leaf for path, leaf in flatten(fresh).items() if re.fullmatch(may_be_missing, path)
    }
    flat = new | flatten(loaded)
    report = compare_trees(fresh, unflatten(flat))
    if not report.is_match:
        raise CheckpointError(f"{source} does not fit the model: {report.describe()}")
    return unflatten({path: _cast(flat[path], leaf.dtype) for path, leaf in flatten(fresh).items()})


def cast_floats(params: Tree, dtype: DTypeLike) -> Params:
    """``params`` with every floating-point leaf in ``dtype``."""

    def cast(leaf: np.ndarray) -> np.ndarray:
        return _cast(leaf, dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return dict(jax.tree.map(cast, params))


def _without_nnx_level(params: Tree) -> Params:
    flat = flatten(params)
    if not all(path.endswith(f"/{_NNX_LEAF}") for path in flat):
        return dict(params)
    return unflatten({path.removesuffix(f"/{_NNX_LEAF}"): leaf for path, leaf in flat.items()})


def _fitted(params: Params, like: Tree, *, path: Path, strict: bool) -> Params:
    report = compare_trees(like, params)
    if report.misshapen or (strict and not report.is_match):
        raise CheckpointError(
            f"{path} does not fit the model: {report.describe()}. "
            "Use the configuration that the checkpoint was trained with."
        )
    found = flatten(params)
    return unflatten(
        {
            name: _cast(found[name], leaf.dtype)
            for name, leaf in flatten(like).items()
            if name in found
        }
    )


def _cast(leaf: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    return leaf if leaf.dtype == dtype else np.asarray(leaf).astype(dtype)
