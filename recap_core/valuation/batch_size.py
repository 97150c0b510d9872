"""How many frames a device computes at once."""

import logging
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

_log = logging.getLogger(__name__)

ON_CPU, ON_CPU_WITH_IMAGES = 256, 32
"""More gain nothing: a CPU is busy with few frames, and images take memory."""
_USABLE = 0.9
"""Share of a device's free memory that may be planned for; the rest is for fragmentation."""


def largest_batch(
    predict: Any,  # noqa: ANN401 - a jitted function
    arguments: tuple[Any, Callable[[int], Any]],
    *,
    mesh: Mesh,
    most: int,
    free_bytes: int | None = None,
) -> int:
    """The largest power of two of frames per device whose prediction fits into its memory.

    Starting from ``most``, halved until XLA's plan fits and a trial does not run out of memory.
    On a CPU, whose memory is not the limit, a constant.

    Args:
        predict: Compiled function of parameters and inputs, rows over the mesh.
        arguments: Parameters on the devices; inputs of any number of rows, on the devices.
        mesh: The devices.
        most: A power of two.
        free_bytes: Of one device; None: as the device says.
    """
    params, inputs_of = arguments
    device = mesh.devices.flat[0]
    free = free_bytes if free_bytes is not None else _free_bytes(device)
    if free is None:
        return min(most, _on_cpu(inputs_of(mesh.size)))
    batch = most
    while batch > 1 and not _fits(predict, params, inputs_of, batch * mesh.size, free):
        batch //= 2
    _log.info("%d frames at once on each of %d %s", batch, mesh.size, device.device_kind)
    return batch


def _free_bytes(device: Any) -> int | None:  # noqa: ANN401 - jax.Device
    """Of the device's memory; None if it does not say, as a CPU."""
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def _on_cpu(inputs: Any) -> int:  # noqa: ANN401 - any pytree
    has_images = any(leaf.ndim > 2 for leaf in jax.tree.leaves(inputs))
    return ON_CPU_WITH_IMAGES if has_images else ON_CPU


def _fits(
    predict: Any,  # noqa: ANN401 - a jitted function
    params: Any,  # noqa: ANN401 - any pytree
    inputs_of: Callable[[int], Any],
    rows: int,
    free_bytes: int,
) -> bool:
    """Whether ``rows`` rows are planned to fit, and do."""
    try:
        inputs = inputs_of(rows)
        compiled = predict.lower(params, inputs).compile()
        plan = compiled.memory_analysis()
        # The next batch's inputs wait on the device while this one's are read.
        own = sum(leaf.nbytes for leaf in jax.tree.leaves(inputs)) // _num_devices(inputs)
        needed = plan.temp_size_in_bytes + plan.output_size_in_bytes + 2 * own
        if needed > _USABLE * free_bytes:
            return False
        jax.block_until_ready(compiled(params, inputs))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return False
    return True


def _num_devices(inputs: Any) -> int:  # noqa: ANN401 - any pytree
    return len(jax.tree.leaves(inputs)[0].sharding.device_set)
