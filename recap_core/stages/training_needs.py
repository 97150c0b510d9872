"""What every training needs of a machine, and how its checks say so."""

import shutil
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import NamedTuple

from recap_core.config.training import TrainRuntime
from recap_core.data.checks.finding import SEVERITIES, Finding, Place, Severity
from recap_core.training.memory import MemoryEstimate

GB = 1e9
_KEPT_TRAIN_STATES = 3
"""Two that training keeps, and the one that is being written."""


class Machine(NamedTuple):
    """Where the training would run."""

    num_devices: int
    device_bytes: int | None
    """Memory of one device; None if it is not known, as on a CPU."""
    host_bytes: int
    home: Path
    """Store whose disk takes checkpoints and decoded images."""
    weights_dir: Path | None
    """Directory of published tokenizers."""

    @property
    def free_bytes(self) -> int:
        """Free on the disk that holds ``home`` or would."""
        existing = next(p for p in (self.home, *self.home.parents) if p.exists())
        return shutil.disk_usage(existing).free


def finding(  # noqa: PLR0913, PLR0917 - the fields of a finding
    severity: Severity, check: str, where: str, value: str, rule: str, fix: str
) -> Finding:
    """A finding about a feature, a setting or a part of the machine."""
    return Finding(
        severity=severity, check=check, where=Place(feature=where), value=value, rule=rule, fix=fix
    )


def errors_first(findings: Iterable[Finding]) -> list[Finding]:
    """The same findings, errors before warnings before notes."""
    return sorted(findings, key=lambda found: SEVERITIES.index(found.severity))


def check_memory(  # noqa: PLR0913 - options are keyword-only
    batch_size: int,
    runtime: TrainRuntime,
    machine: Machine,
    *,
    estimate: Callable[[], MemoryEstimate],
    where: str,
    smaller: Callable[[], str],
    smaller_host: str,
) -> Generator[Finding]:
    """Devices divide the batch, and what they and the host must hold fits.

    Args:
        batch_size: Of a step, on all devices.
        runtime: How it would be trained.
        machine: Where.
        estimate: What each device and the host must hold; asked for if the batch can be divided.
        where: What the estimate is of.
        smaller: What to do if a device is too small.
        smaller_host: What to do if the host is.
    """
    num_devices = machine.num_devices
    if num_devices % runtime.fsdp_devices or batch_size % (num_devices * runtime.micro_batches):
        yield finding(
            "error", "devices", "batches",
            f"batch_size {batch_size}, {num_devices} devices, {runtime.micro_batches} "
            f"micro-batches, fsdp_devices {runtime.fsdp_devices}",
            "fsdp_devices divides the devices; devices x micro_batches divide the batch",
            "change one of them",
        )  # fmt: skip
        return
    needed, limit = estimate(), machine.device_bytes
    known = "is not known; say --device-gb" if limit is None else f"is {limit / GB:.1f} GB"
    fits = limit is None or needed.device <= limit
    yield finding(
        "note" if fits else "error", "memory", where, needed.describe(), f"its memory {known}",
        "" if fits else smaller(),
    )  # fmt: skip
    if needed.host > machine.host_bytes:
        yield finding(
            "error", "host memory", "the host", f"{needed.host / GB:.1f} GB of host memory",
            f"this machine has {machine.host_bytes / GB:.1f} GB", smaller_host,
        )  # fmt: skip


def train_state_bytes(estimate: MemoryEstimate) -> int:
    """Disk that the checkpoints of a training take, of an estimate for one device."""
    state = estimate.params + estimate.frozen_params + estimate.optimizer + estimate.ema
    return _KEPT_TRAIN_STATES * state


def disk_too_small(machine: Machine, value: str) -> Finding:
    """The checkpoints do not fit; ``value`` says how much is wanted, and free."""
    return finding(
        "error", "disk", str(machine.home), value,
        f"{machine.home} must hold the checkpoints of a training",
        "free some disk space, or set RECAP_HOME to a larger disk",
    )  # fmt: skip
