"""Exclusive claims on stage keys, and who holds them.

A claim is ``flock`` on a lock file that its owner keeps open. The kernel drops it when the owner
dies, so a lock can never outlive its process and nobody has to break one by guessing. The file's
content only names the owner, for messages and for the sweep of unfinished work.

Two threads of a process exclude each other too, because each opens the file for itself. Children
forked during a build share the claim: if their parent is killed, it lasts until they end, which is
right, as they may still write into the build.

Network file systems: NFS on Linux (since 2.6.12) and CIFS carry ``flock`` to the server, so a store
can be shared by hosts. Lustre needs the mount option ``flock``. Where locks are refused, a claim
raises; where they are kept local to one host (NFS with ``local_lock``), two hosts may build the
same key at once: both results are valid, and the one renamed last is found from then on.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from recap_core.errors import ArtifactError, StageLockedError

_log = logging.getLogger(__name__)


class Owner(BaseModel):
    """A process that holds, or held, a claim."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    host: str
    pid: int
    process_start: str | None
    """Boot id and start tick of the process, so that a reused pid is not mistaken for it; None
    where the system does not tell."""
    since: AwareDatetime
    inputs: tuple[str, ...] = ()
    """Ids of the artifacts it works on, which nobody may remove meanwhile."""

    @classmethod
    def current(cls, inputs: tuple[str, ...] = ()) -> "Owner":
        """This process, now."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            pid=pid,
            process_start=process_start(pid),
            since=datetime.now(UTC),
            inputs=inputs,
        )

    def is_dead(self) -> bool:
        """True only if the process ran on this host and is certainly gone."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it exists, and belongs to another user
        return process_start(self.pid) != self.process_start

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, since {self.since:%Y-%m-%d %H:%M:%S %Z}"


def process_start(pid: int) -> str | None:
    """Boot id and start tick of a process; None if it has ended or the system does not tell."""
    try:
        # The command name, in parentheses, may hold blanks; the start tick is field 22 of all.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # "Z" has ended, and its parent has not asked for its status yet, or never will.
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"


class Claim:
    """A lock file this process holds."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.previous = read_owner(path)
        """Owner that ended without a release, if there was one."""

    def sign(self, inputs: tuple[str, ...] = ()) -> None:
        """Record this process as the owner, and the artifacts it works on."""
        content = Owner.current(inputs).model_dump_json().encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def release(self, *, keep_file: bool = False) -> None:
        """Give the claim up; the lock file goes with it unless it is kept for its owner's name."""
        if not keep_file:
            # Still locked: whoever opened this file finds it gone and opens the next one.
            self._path.unlink(missing_ok=True)
        # Explicitly, because a forked child may still have the file open.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


def read_owner(path: Path) -> Owner | None:
    """Who is named in a lock file; None if nobody is."""
    try:
        return Owner.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, ValidationError):
        return None


def try_claim(path: Path) -> Claim | None:
    """Claim a lock file, or return None if another process or thread has it.

    Raises:
        ArtifactError: If the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise ArtifactError(
                f"the file system of {path.parent} refuses locks ({error.strerror}); "
                "put RECAP_HOME on one that has them"
            ) from error
        if _is_file_at(descriptor, path):
            _share_file(descriptor, path)
            return Claim(path, descriptor)
        os.close(descriptor)  # its owner released, and removed, it between open and lock


def holder(path: Path) -> Owner | None:
    """Who holds a lock file now; None if nobody does. Nothing is created or changed.

    A holder that has not yet written its name is reported as an unnamed process of no host.
    """
    try:
        # Reading is enough for a shared lock, also on NFS, and another user's file can be read.
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_owner(path) or Owner(
            host="unknown", pid=0, process_start=None, since=datetime.now(UTC)
        )
    finally:
        os.close(descriptor)
    return None


def _is_file_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at ``path`` now.

    Opened, because a network file system asks its server then; ``stat`` may answer from memory,
    and two hosts would hold one lock: this one in a file that another has removed.
    """
    try:
        again = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ESTALE}:
            return False
        raise
    try:
        return os.path.samestat(os.fstat(descriptor), os.fstat(again))
    finally:
        os.close(again)


def _share_file(descriptor: int, path: Path) -> None:
    """Let whoever may make lock files here also take over one that a dead process left behind."""
    wanted = stat.S_IMODE(path.parent.stat().st_mode) & 0o666
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != wanted:
        with suppress(PermissionError):  # another user's
            os.fchmod(descriptor, wanted)


@contextmanager
def claim(
    path: Path,
    *,
    timeout_s: float | int,
    subject: str,
    inputs: tuple[str, ...] = (),
    on_wait: Callable[[str], object] | None = None,
) -> Generator[Claim]:
    """Hold a claim while the body runs, waiting for it if necessary.

    Args:
        path: The lock file.
        timeout_s: Longest wait, seconds; 0 fails at once.
        subject: What is locked, for messages.
        inputs: Ids of the artifacts that the body works on.
        on_wait: Told for whom this waits, in a sentence, once it has waited for a second; the log
            is told anyway.

    Raises:
        StageLockedError: If the claim was not free in time; names the holder's host, pid and start.
    """
    started = time.monotonic()
    delay_s, is_announced = 0.01, False
    while (held := try_claim(path)) is None:
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            raise StageLockedError(
                f"{subject} is being built by {read_owner(path) or 'another process'}; gave up "
                f"after {waited_s:.0f} s. Wait for that process, or end it; then run this again."
            )
        if waited_s > 1 and not is_announced:
            is_announced = True
            said = f"{subject} is being built by {read_owner(path)}; waiting"
            _log.info("%s", said)
            if on_wait is not None:
                on_wait(said)
        time.sleep(min(delay_s, timeout_s - waited_s))
        delay_s = min(2 * delay_s, 0.5)
    try:
        held.sign(inputs)
        yield held
    finally:
        held.release()
