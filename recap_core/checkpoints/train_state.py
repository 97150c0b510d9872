"""Checkpoints to resume training from: ``step_<number>`` directories of a work directory.

Leaves are written from the devices that hold them, by all processes of a training together, and
read by each device in parts: onto any number of devices, never whole onto one of several.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from recap_core.checkpoints.files import TEMPORARY
from recap_core.checkpoints.trees import compare_trees, flatten, unflatten
from recap_core.errors import CheckpointError
from recap_core.sharding import is_first_process, wait_for_all

_PATTERN = re.compile(r"step_(\d{8})")


def save_train_state(work: Path, state: Any, *, step: int, keep: int | None = 2) -> Path:  # noqa: ANN401 - any pytree
    """Write ``state`` to ``work/step_<step>`` and remove all but the newest ``keep`` checkpoints.

    The directory appears complete or not at all. A checkpoint of the same step is replaced. Every
    process of a training must call this; ``work`` must be on a file system that all of them see.

    Args:
        work: Work directory; created if it does not exist.
        state: Any pytree of arrays.
        step: Number of finished steps, in [0, 99 999 999].
        keep: Checkpoints that stay, at least 1; None: all.
    """
    path = (work / f"step_{step:08d}").absolute()
    # The same name in every process.
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    if is_first_process():
        work.mkdir(parents=True, exist_ok=True)
        for leftover in work.glob(f"{TEMPORARY}step_*"):
            shutil.rmtree(leftover)
        if path.exists():
            remove_train_state(path)
    wait_for_all(f"clear {step}")
    with _checkpointer() as checkpointer:
        checkpointer.save(temporary, unflatten(_by_path(state)))
    if is_first_process():
        _sync(temporary)
        temporary.rename(path)
        _sync_entry(work)
        for old in [] if keep is None else train_states(work)[:-keep]:
            remove_train_state(old)
    wait_for_all(f"saved {step}")
    return path


def newest_train_state(work: Path) -> Path | None:
    """The newest complete checkpoint in ``work``; None if there is none."""
    found = train_states(work)
    return found[-1] if found else None


def train_states(work: Path) -> list[Path]:
    """Every complete checkpoint in ``work``, oldest first."""
    if not work.is_dir():
        return []
    return sorted(path for path in work.iterdir() if _PATTERN.fullmatch(path.name))


def train_state_step(path: Path) -> int:
    """Finished steps of a checkpoint, by its name."""
    return int(path.name.removeprefix("step_"))


def remove_train_state(path: Path) -> None:
    """Remove a checkpoint; a kill leaves all of it, or nothing that looks like one."""
    doomed = path.rename(path.with_name(f"{TEMPORARY}{path.name}-removed"))
    shutil.rmtree(doomed)


def restore_train_state[State](path: Path, like: State) -> State:
    """Read a checkpoint into the structure of ``like``, as JAX arrays that may be donated.

    Args:
        path: What :func:`save_train_state` returned.
        like: A state of the same training run, or its shapes. Where its leaves have a sharding,
            the result has it; else it is on the default device.

    Raises:
        CheckpointError: If leaves are missing or extra, or shapes or dtypes differ, or it cannot
            be read.
    """
    expected = _by_path(like)
    path = path.absolute()
    try:
        with _checkpointer() as checkpointer:
            structure = checkpointer.metadata(path).item_metadata.tree
            _require_match(path, expected, flatten(structure))
            args = unflatten({name: _restore_args(leaf) for name, leaf in expected.items()})
            found = flatten(
                checkpointer.restore(
                    path, args=ocp.args.PyTreeRestore(item=structure, restore_args=args)
                )
            )
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error}") from error
    # Copies: training donates its state, and must not donate memory that NumPy owns.
    leaves = [jnp.copy(found.pop(name)) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _require_match(path: Path, expected: dict[str, Any], found: dict[str, Any]) -> None:
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


def _restore_args(leaf: Any) -> ocp.ArrayRestoreArgs:  # noqa: ANN401 - an array or its shape
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return ocp.ArrayRestoreArgs(sharding=sharding, global_shape=leaf.shape, dtype=leaf.dtype)


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False))


def _by_path(state: Any) -> dict[str, Any]:  # noqa: ANN401 - any pytree
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(keys, simple=True, separator="/"): leaf for keys, leaf in flat}


def _sync(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for entry in (*(Path(folder) / name for name in names), Path(folder)):
            _sync_entry(entry)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
