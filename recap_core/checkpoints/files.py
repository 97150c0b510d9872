"""Trees of arrays on disk, in Orbax's PyTree layout with the settings that openpi reads."""

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.typing import DTypeLike

from recap_core.checkpoints.trees import Tree
from recap_core.errors import CheckpointError
from recap_core.lineage.files import sync, sync_all, walk

TEMPORARY = ".tmp-"
"""Prefix of directories that are still being written."""
_GIB = 1 << 30


class Target(NamedTuple):
    """What a leaf becomes when it is read."""

    dtype: DTypeLike | None = None
    """None: as it is stored."""
    sharding: jax.sharding.Sharding | None = None
    """A JAX array on these devices; None: a NumPy array."""


AS_STORED = Target()


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
        with _checkpointer(own=True) as checkpointer:
            checkpointer.save(temporary, jax.tree.map(np.asarray, tree))
        written = walk(temporary)
        sync_all([file.path for file in written.files])
        for directory in written.directories:
            sync(directory)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(path.parent)


def read_structure(path: Path) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of every leaf by its ``/``-joined path; no array is read.

    Raises:
        CheckpointError: If ``path`` holds no checkpoint, or one that cannot be read.
    """
    return {"/".join(keys): leaf for keys, leaf in _structure(path).items()}


def read_tree(path: Path, targets: Mapping[str, Target] | None = None) -> dict[str, Any]:
    """Read a tree, on any number and kind of devices.

    Every leaf is cast and placed while it is read, and few are read at once: beside the result,
    the host holds about the largest leaf a few times.

    Args:
        path: What :func:`write_tree` or openpi wrote.
        targets: What to read, and as what, by ``/``-joined path; None: everything, as NumPy.

    Returns:
        A tree with the keys that the file has, which may hold ``/`` themselves.

    Raises:
        CheckpointError: If ``path`` holds no checkpoint, or one that cannot be read.
    """
    path = path.absolute()
    structure = _structure(path)
    if targets is None:
        targets = dict.fromkeys(("/".join(keys) for keys in structure), AS_STORED)
    keys_of = {"/".join(keys): keys for keys in structure}
    wanted = {keys_of[name]: structure[keys_of[name]] for name in targets}
    restore_args = {keys_of[name]: _restore_args(target) for name, target in targets.items()}
    # Explicit arguments: a bare restore asks for the devices of the writer.
    args = ocp.args.PyTreeRestore(
        item=_nest(wanted),
        restore_args=_nest(restore_args),
        partial_restore=len(wanted) < len(structure),
    )
    with _naming(path), _checkpointer(_read_limit_gib(wanted.values())) as checkpointer:
        return checkpointer.restore(path, args=args)


def _structure(path: Path) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """Shape and dtype of every leaf by its keys, of which one may hold a ``/``."""
    path = path.absolute()
    if not (path / "_METADATA").is_file():
        raise CheckpointError(
            f"{path} is no Orbax checkpoint: it has no _METADATA file. "
            "Name the directory that holds one (in openpi's layout, <step>/params)."
        )
    with _naming(path), _checkpointer() as checkpointer:
        metadata = checkpointer.metadata(path).item_metadata
        if metadata is None:
            raise OSError("no leaf is listed")
        return {
            keys: jax.ShapeDtypeStruct(leaf.shape, np.dtype(leaf.dtype))
            for keys, leaf in _leaves(metadata.tree)
        }


def _leaves(tree: Tree, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, node in tree.items():
        if isinstance(node, Mapping):
            yield from _leaves(node, (*above, key))
        else:
            yield (*above, key), node


def _nest(leaves: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*above, last), leaf in leaves.items():
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = leaf
    return tree


class _naming:  # noqa: N801 - used like a function
    """Turns what Orbax raises on damaged files into one error that names the checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise CheckpointError instead of a library's exception."""
        if isinstance(error, ValueError | KeyError | TypeError | AttributeError | OSError):
            raise CheckpointError(
                f"the checkpoint {self._path} cannot be read ({_short(error)}): a file of it is "
                "missing or damaged. Copy the whole directory again."
            ) from error


def _short(error: BaseException, *, limit: int = 300) -> str:
    """The first line of a library's message, which may be followed by a page of settings."""
    text = str(error).split(" [tensorstore_spec")[0].split("\n")[0]
    return text if len(text) <= limit else text[:limit] + "..."


def _restore_args(target: Target) -> ocp.RestoreArgs:
    dtype = None if target.dtype is None else jnp.dtype(target.dtype)
    if target.sharding is None:
        return ocp.RestoreArgs(restore_type=np.ndarray, dtype=dtype)
    return ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=target.sharding, dtype=dtype)


def _read_limit_gib(leaves: Iterable[jax.ShapeDtypeStruct]) -> int:
    """Bytes in flight while reading: enough for the largest leaf, not for many."""
    largest = max((leaf.size * leaf.dtype.itemsize for leaf in leaves), default=0)
    return int(largest // _GIB) + 1


def _checkpointer(restore_gib: int | None = None, *, own: bool = False) -> ocp.Checkpointer:
    """Orbax's PyTree layout; ``own``: other processes of a training take no part in it."""
    processes = ocp.options.MultiprocessingOptions()
    if own:
        me = jax.process_index()
        processes = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process-{me}"
        )
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=True,
        use_zarr3=False,
        restore_concurrent_gb=restore_gib,
        multiprocessing_options=processes,
    )
    return ocp.Checkpointer(handler, multiprocessing_options=processes)
