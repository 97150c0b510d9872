"""What kind of file system a store is on, where that matters."""

import re
import socket
from pathlib import Path
from typing import NamedTuple

_NETWORK = re.compile(
    r"nfs4?|cifs|smb3?|lustre|ceph|beegfs|gpfs|afs|9p|virtiofs|fuse\..*|glusterfs"
)
_LOCAL_LOCKS = re.compile(r"(^|,)(nolock|local_lock=(all|flock)|localflock)(,|$)")
_MOUNTS = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """A mounted file system."""

    type: str
    options: str
    """Its own and its mount's, with commas between them."""

    @property
    def is_network(self) -> bool:
        """Whether other hosts may have it mounted too."""
        return _NETWORK.fullmatch(self.type) is not None

    @property
    def lock_problem(self) -> str | None:
        """Why locks on it do not reach other hosts; None if they do, as far as can be seen."""
        found = _LOCAL_LOCKS.search(self.options)
        return f"mounted with {found[2]}" if self.is_network and found else None


def mount_of(path: Path, *, table: Path | None = None) -> Mount | None:
    """The file system that ``path`` is on; None where the system does not tell.

    Args:
        path: Exists, or will.
        table: List of mounts in the format of ``/proc/self/mountinfo``; None: that one.
    """
    try:
        lines = (table or _MOUNTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    here, best, length = path.absolute(), None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, ends = before.split(), after.split()
        if len(fields) < 6 or len(ends) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if here.is_relative_to(point) and len(point.parts) >= length:  # a later mount hides one
            best, length = Mount(ends[0], f"{fields[5]},{ends[2]}"), len(point.parts)
    return best


def digest_cache_path(home: Path) -> Path:
    """Where a store's digest cache is on this host.

    Device numbers of a network file system differ from host to host, so a cache that hosts share
    would help none of them, and SQLite's locks are not to be trusted there.
    """
    mount = mount_of(home)
    if mount is None or not mount.is_network:
        return home / "digests.sqlite"
    host = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname())
    return home / f"digests-{host}.sqlite"
