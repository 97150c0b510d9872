"""Checkpoints to resume training from: ``step_<number>`` directories of a work directory."""

import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from recap_core.checkpoints.files import TEMPORARY, read_tree, write_tree
from recap_core.checkpoints.trees import compare_trees, flatten, unflatten
from recap_core.errors import CheckpointError

_PATTERN = re.compile(r"step_(\d{8})")


def save_train_state(work: Path, state: Any, *, step: int, keep: int = 2) -> Path:  # noqa: ANN401 - any pytree
    """Write ``state`` to ``work/step_<step>`` and remove all but the newest ``keep`` checkpoints.

    The directory appears complete or not at all. A checkpoint of the same step is replaced.

    Args:
        work: Work directory; created if it does not exist.
        state: Any pytree of arrays.
        step: Number of finished steps, in [0, 99 999 999].
        keep: Checkpoints that stay, at least 1.
    """
    for leftover in work.glob(f"{TEMPORARY}step_*"):
        shutil.rmtree(leftover)
    path = work / f"step_{step:08d}"
    if path.exists():
        _remove(path)
    write_tree(path, unflatten(_by_path(state)))
    for old in _checkpoints(work)[:-keep]:
        _remove(old)
    return path


def newest_train_state(work: Path) -> Path | None:
    """The newest complete checkpoint in ``work``; None if there is none."""
    found = _checkpoints(work)
    return found[-1] if found else None


def restore_train_state[State](path: Path, like: State) -> State:
    """Read a checkpoint into the structure of ``like``, as JAX arrays on the default device.

    Args:
        path: What :func:`save_train_state` returned.
        like: A state of the same training run, or its ``jax.eval_shape``.

    Raises:
        CheckpointError: If leaves are missing or extra, or shapes or dtypes differ.
    """
    expected = _by_path(like)
    found = flatten(read_tree(path))
    report = compare_trees(unflatten(expected), unflatten(found))
    if not report.is_match:
        raise CheckpointError(
            f"{path} belongs to another training run: {report.describe()}. "
            "Remove the work directory to start over."
        )
    for name, leaf in expected.items():
        if found[name].dtype != leaf.dtype:
            raise CheckpointError(
                f"{name} in {path} is {found[name].dtype}, expected {leaf.dtype}. "
                "Remove the work directory to start over."
            )
    # Copies: training donates its state, and must not donate memory that NumPy owns.
    leaves = [jnp.array(found[name], copy=True) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _remove(path: Path) -> None:
    # Renamed first: what a kill leaves of it must not look like a checkpoint.
    doomed = path.rename(path.with_name(f"{TEMPORARY}{path.name}-removed"))
    shutil.rmtree(doomed)


def _checkpoints(work: Path) -> list[Path]:
    if not work.is_dir():
        return []
    return sorted(path for path in work.iterdir() if _PATTERN.fullmatch(path.name))


def _by_path(state: Any) -> dict[str, Any]:  # noqa: ANN401 - any pytree
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(keys, simple=True, separator="/"): leaf for keys, leaf in flat}
