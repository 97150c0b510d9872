"""What writing changes of a file and reading does not."""

import os
from pathlib import Path


def written_state(path: Path) -> tuple[int, ...]:
    """Inode, links, bytes, and the times of content and status; not the time of the last read."""
    status: os.stat_result = path.stat()
    return (
        status.st_ino,
        status.st_nlink,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
