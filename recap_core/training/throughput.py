"""How fast training goes, and what it takes: rates, utilisation, memory."""

import resource
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import jax
from jax.sharding import Mesh

from recap_core.training.flops import peak_flops


class Throughput:
    """Rates between two lines of metrics.

    The first step of a process compiles; time counts from its end.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        mesh: Mesh,
        flops_per_sample: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing has been done yet.

        Args:
            batch_size: Samples per step, of all processes.
            mesh: Devices that work.
            flops_per_sample: Floating-point operations that training on a sample needs.
            clock: Seconds, rising.
        """
        self._batch_size = batch_size
        self._devices = list(mesh.devices.flat)
        self._flops_per_sample = flops_per_sample
        self._clock = clock
        self._since: float | None = None
        self._num_steps = 0
        self._waited_s = 0.0

    def count(self, waited_s: float) -> None:
        """A step is under way, after ``waited_s`` seconds of waiting for its batch."""
        if self._since is None:
            self._since = self._clock()
            return
        self._num_steps += 1
        self._waited_s += waited_s

    @contextmanager
    def paused(self) -> Generator[None]:
        """Time that does not count: all steps that were counted are finished."""
        began = self._clock()
        yield
        if self._since is not None:
            self._since += self._clock() - began

    def metrics(self) -> dict[str, float]:
        """What happened since the last call; all steps that were counted are finished.

        ``steps_per_s``, ``samples_per_s``, ``data_wait`` (share of the time spent waiting for
        batches), ``mfu`` (model FLOPs over the peak of the devices, where that is known),
        ``host_gb`` (peak of this process so far), ``device_gb`` (peak of the fullest device so
        far, where the device says).
        """
        found = _memory(self._devices)
        if self._since is None or not self._num_steps:
            return found
        now = self._clock()
        seconds = max(now - self._since, 1e-9)
        steps_per_s = self._num_steps / seconds
        rates = {
            "steps_per_s": steps_per_s,
            "samples_per_s": steps_per_s * self._batch_size,
            "data_wait": min(self._waited_s / seconds, 1.0),
        }
        peak = peak_flops(self._devices[0].device_kind)
        if peak is not None and self._flops_per_sample is not None:
            needed = rates["samples_per_s"] * self._flops_per_sample
            rates["mfu"] = needed / (peak * len(self._devices))
        self._since, self._num_steps, self._waited_s = now, 0, 0.0
        return rates | found


def _memory(devices: list[Any]) -> dict[str, float]:
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"host_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    own = [device for device in devices if device.process_index == jax.process_index()]
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in own]
    known = [peak for peak in peaks if peak is not None]
    if known:
        found["device_gb"] = max(known) / 1e9
    return found
