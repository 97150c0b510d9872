"""Arrays over several devices and hosts: data parallel, and fully sharded (FSDP).

Devices form a mesh (data x fsdp). A batch is split over both axes. A large leaf of the training
state is split over ``fsdp`` by openpi's rule (OPENPI_CONTRACT §8) and repeated over ``data``; XLA
gathers it where it is used. No option changes a number by more than float rounding.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from recap_core.errors import ConfigError

Shardings = Any
"""A tree with a ``NamedSharding`` in place of every leaf."""

DATA_AXIS, FSDP_AXIS = "data", "fsdp"
MIN_SHARDED_BYTES = 4 << 20
"""Smaller leaves are repeated on every device."""


def device_mesh(fsdp_devices: int = 1, *, devices: Sequence[Any] | None = None) -> Mesh:
    """Mesh of ``len(devices) / fsdp_devices`` x ``fsdp_devices``.

    Args:
        fsdp_devices: Devices that share one copy of the training state, at least 1.
        devices: ``jax.Device`` in order; None: all of all processes.

    Raises:
        ConfigError: If the devices cannot be divided so.
    """
    found = list(jax.devices() if devices is None else devices)
    if len(found) % fsdp_devices:
        raise ConfigError(
            f"fsdp_devices is {fsdp_devices}, which does not divide the {len(found)} devices. "
            f"Set it to one of {[n for n in range(1, len(found) + 1) if not len(found) % n]}."
        )
    grid = np.array(found, dtype=object).reshape(-1, fsdp_devices)
    return Mesh(grid, (DATA_AXIS, FSDP_AXIS))


def fsdp_axis(
    shape: tuple[int, ...],
    itemsize: int,
    *,
    num_shards: int,
    min_bytes: int = MIN_SHARDED_BYTES,
) -> int | None:
    """Which axis of a leaf is split over ``num_shards`` devices; None: it is repeated.

    Leaves with fewer than two axes or ``min_bytes`` bytes are repeated. Of the others, the longest
    axis that ``num_shards`` divides is split; of equally long ones, the last.

    Args:
        shape: Of the leaf.
        itemsize: Bytes of one of its numbers.
        num_shards: Devices along the FSDP axis.
        min_bytes: Size from which leaves are split.
    """
    if num_shards == 1 or len(shape) < 2 or math.prod(shape) * itemsize < min_bytes:
        return None
    longest_first = sorted(range(len(shape)), key=lambda axis: (shape[axis], axis), reverse=True)
    return next((axis for axis in longest_first if shape[axis] % num_shards == 0), None)


def fsdp_shardings(
    tree: Any,  # noqa: ANN401 - any pytree
    mesh: Mesh,
    *,
    min_bytes: int = MIN_SHARDED_BYTES,
) -> Shardings:
    """Sharding of every leaf of ``tree`` (arrays or ``jax.eval_shape`` results), by the rule."""
    num_shards = mesh.shape[FSDP_AXIS]

    def sharding(leaf: Any) -> NamedSharding:  # noqa: ANN401 - an array or its shape
        axis = fsdp_axis(
            leaf.shape, np.dtype(leaf.dtype).itemsize, num_shards=num_shards, min_bytes=min_bytes
        )
        if axis is None:
            return replicated(mesh)
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, FSDP_AXIS))

    return jax.tree.map(sharding, tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """First axis over all devices."""
    return NamedSharding(mesh, PartitionSpec((DATA_AXIS, FSDP_AXIS)))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_over_devices[Tree](tree: Tree, sharding: NamedSharding | None) -> Tree:
    """Constrain every array of ``tree`` to ``sharding``, inside a compiled function; None: free."""
    if sharding is None or sharding.mesh.size == 1:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), tree)


def place_batch[Tree](batch: Tree, mesh: Mesh) -> Tree:
    """A batch on the devices of the mesh, from the rows that each process made.

    Every process gives its rows; those of all processes, in their order, are the batch.
    """
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch
    )


def place[Tree](tree: Tree, shardings: Shardings) -> Tree:
    """Copies of the leaves of ``tree`` on the devices of ``shardings``, which may be donated.

    Leaf by leaf, each device receiving its own part only: nothing is whole on one device that is
    split, and a NumPy leaf that nobody else holds is freed as soon as it is placed. Every process
    gives the same ``tree``.
    """
    leaves, structure = jax.tree.flatten(tree)
    targets = structure.flatten_up_to(shardings)
    del tree
    return jax.tree.unflatten(structure, _placed(leaves, targets))


def _placed(leaves: list[Any], targets: list[Sharding]) -> Iterator[jax.Array]:
    for i, target in enumerate(targets):
        leaf, leaves[i] = leaves[i], None
        if isinstance(leaf, jax.Array):
            placed = jax.device_put(leaf, target)
        else:
            host = np.asarray(leaf)
            placed = jax.make_array_from_callback(host.shape, target, host.__getitem__)
        # A copy: what is donated must belong neither to NumPy nor to the caller.
        yield jnp.copy(placed)


def on_host(leaf: jax.Array) -> Any:  # noqa: ANN401 - np.ndarray, or None
    """A whole array as NumPy, in process 0; None in others. All processes must call it."""
    if not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        mesh = leaf.sharding.mesh  # pyright: ignore[reportAttributeAccessIssue] - a NamedSharding
        leaf = jax.jit(lambda x: x, out_shardings=replicated(mesh))(leaf)
    return np.asarray(leaf) if jax.process_index() == 0 else None


def gathered(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of whole arrays as NumPy, in the first process; None in place of leaves in others."""
    return jax.tree.map(on_host, tree)


def is_first_process() -> bool:
    """Whether this process writes what all share: metrics, results."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Return once every process has called this; at once where there is only one."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def agree(flag: bool) -> bool:  # noqa: FBT001 - the flag is the subject
    """Whether ``flag`` is set in any process. All processes must call it."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def connect_hosts(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Join the processes of a training that spans several hosts; None joins nobody.

    Must come before anything is computed. On CPUs the processes talk through Gloo.

    Args:
        coordinator: ``host:port`` of process 0, the same in every process.
        num_processes: How many take part.
        process_id: Which one this is, from 0.
    """
    if coordinator is None or jax.distributed.is_initialized():
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, num_processes, process_id)
