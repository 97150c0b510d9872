"""Digests of files that have not changed since they were read last."""

import json
import logging
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)

RACY_NS = 20_000_000
"""A file modified this recently may change again without a new time stamp."""


class DigestCache:
    """File digests keyed by (device, inode, size, mtime, ctime), kept in one SQLite file.

    A changed file has a new key, so it is read again. Its row is replaced, because there is one row
    per inode. The file is opened for each call, which makes the object safe to share between
    threads and across a fork; SQLite's own locks and journal make it safe between processes and
    against kills. It can be deleted at any time, and a damaged one deletes itself: whatever
    happens to it costs time, never correctness. Where SQLite's locks do not work (some network file
    systems), every lookup misses.

    Args:
        path: The SQLite file; made with the first digest.
        max_files: The files digested longest ago are forgotten beyond this number.
    """

    def __init__(self, path: Path, *, max_files: int = 1_000_000) -> None:
        self.path = path
        self._max_files = max_files

    def get(self, files: Sequence[os.stat_result]) -> list[str | None]:
        """Digest of each file, None where it is unknown or the file has changed."""
        if not files or not self.path.exists():
            return [None] * len(files)
        inodes = [_inode(file) for file in files]
        rows: dict[str, tuple[str, str]] = {}
        with self._tolerating_damage(), self._connect() as connection:
            found = connection.execute(
                "SELECT inode, stamp, digest FROM digests "
                "WHERE inode IN (SELECT value FROM json_each(?))",
                (json.dumps(inodes),),
            )
            rows = {inode: (stamp, digest) for inode, stamp, digest in found}
        return [
            rows[inode][1] if inode in rows and rows[inode][0] == _stamp(file) else None
            for inode, file in zip(inodes, files, strict=True)
        ]

    def put(self, digests: Iterable[tuple[os.stat_result, str]]) -> None:
        """Remember digests; files modified within the last 20 ms are left out."""
        now = time.time_ns()
        rows = [
            (_inode(file), _stamp(file), digest)
            for file, digest in digests
            if abs(now - file.st_mtime_ns) > RACY_NS
        ]
        if not rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._tolerating_damage(), self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO digests (inode, stamp, digest) VALUES (?, ?, ?)", rows
            )
            connection.execute(
                "DELETE FROM digests WHERE rowid <= (SELECT max(rowid) FROM digests) - ?",
                (self._max_files,),
            )
            connection.execute("COMMIT")

    @contextmanager
    def _connect(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=5, isolation_level=None)) as connection:
            # Losing the latest rows to a power cut is harmless; waiting for the disk is not.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS digests (rowid INTEGER PRIMARY KEY AUTOINCREMENT, "
                "inode TEXT UNIQUE NOT NULL, stamp TEXT NOT NULL, digest TEXT NOT NULL)"
            )
            yield connection

    @contextmanager
    def _tolerating_damage(self) -> Generator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked for too long, read-only, disk full
            _log.warning("digest cache %s cannot be used now (%s)", self.path, error)
        except sqlite3.DatabaseError as error:
            _log.warning("digest cache %s is damaged (%s); starting afresh", self.path, error)
            self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)


def _inode(file: os.stat_result) -> str:
    return f"{file.st_dev}:{file.st_ino}"


def _stamp(file: os.stat_result) -> str:
    return f"{file.st_size}:{file.st_mtime_ns}:{file.st_ctime_ns}"
