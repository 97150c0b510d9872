"""One job per accelerator: stages of flows and of commands wait for each other.

The lock is ``flock`` on a file per device, in a directory of the host. It ends with its process,
however that ends. Processes on a CPU share it without a lock.
"""

import logging
import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from recap_core.config.environment import device_locks_dir, devices
from recap_core.errors import ArtifactError
from recap_core.lineage.locks import Claim, read_owner, try_claim
from recap_core.progress import Progress, Silent

_log = logging.getLogger(__name__)

WAITING = "waiting for "
"""How the label of the bar begins that is shown during a wait."""
_LOOK_S = 0.5


@contextmanager
def device_lock(progress: Progress | None = None) -> Generator[None]:
    """Have the process's accelerators to itself while the body runs; wait for them if necessary.

    Args:
        progress: Who sees that it waits, and for whom.
    """
    with ExitStack() as held:
        for name in devices():  # in one order, so that two never wait for each other
            path = device_locks_dir() / name.replace(os.sep, "-")
            claim = _claimed(path, name, progress or Silent())
            held.callback(claim.release)
        yield


def _claimed(path: Path, device: str, progress: Progress) -> Claim:
    claim = _try_claim(path, device)
    if claim is None:
        holder = read_owner(path) or "another process"
        _log.info("%s is in use by %s; waiting", device, holder)
        began = time.monotonic()
        with progress.bar(f"{WAITING}{device}", 1) as bar:
            while (claim := _try_claim(path, device)) is None:
                bar.update(0, f"in use by {read_owner(path) or 'another process'}")
                time.sleep(_LOOK_S)
            bar.update(1)
        _log.info("%s is free after %.0f s", device, time.monotonic() - began)
    claim.sign()
    return claim


def _try_claim(path: Path, device: str) -> Claim | None:
    try:
        return try_claim(path)
    except (OSError, ArtifactError) as error:
        raise ArtifactError(
            f"device {device} cannot be locked in {path.parent} ({error}). Set RECAP_DEVICE_LOCKS "
            "to a directory on this host that you may write to"
        ) from error
