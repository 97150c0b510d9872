"""Trees of arrays on disk, in Orbax's PyTree layout with the settings that openpi reads."""

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from recap_core.checkpoints.trees import Tree
from recap_core.errors import CheckpointError

TEMPORARY = ".tmp-"
"""Prefix of directories that are still being written."""


def write_tree(path: Path, tree: Tree) -> None:
    """Write ``tree`` to the new directory ``path``, which appears complete or not at all.

    Leaves are written as NumPy arrays, so that a reader needs none of the writer's devices.

    Raises:
        CheckpointError: If ``path`` exists.
    """
    path = path.absolute()
    if path.exists():
        raise CheckpointError(f"{path} exists; a checkpoint is never overwritten. Remove it first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{path.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(temporary, jax.tree.map(np.asarray, tree))
        _sync(temporary)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_directory(path.parent)


def read_tree(path: Path) -> dict[str, Any]:
    """Read a whole tree as NumPy arrays, on any number and kind of devices.

    Raises:
        CheckpointError: If ``path`` holds no checkpoint, or one that cannot be read.
    """
    path = path.absolute()
    if not (path / "_METADATA").is_file():
        raise CheckpointError(
            f"{path} is no Orbax checkpoint: it has no _METADATA file. "
            "Name the directory that holds one (in openpi's layout, <step>/params)."
        )
    try:
        with _checkpointer() as checkpointer:
            # Explicit arguments: a bare restore asks for the devices of the writer.
            structure = checkpointer.metadata(path).item_metadata.tree
            args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), structure)
            return checkpointer.restore(
                path, args=ocp.args.PyTreeRestore(item=structure, restore_args=args)
            )
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error}") from error


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False))


def _sync(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            _sync_file(Path(folder) / name)
        _sync_directory(Path(folder))


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
