"""Finished parts of an inference, in files that are whole or not there.

A file holds the float32 values of consecutive wanted frames, little-endian, and after them the
xxh3-128 digest of those bytes. It appears by a rename. One that is cut short or altered, or holds
what is no value, counts as missing and is made again. Who computes a shard holds a lock file
beside it, which the kernel gives back when its owner dies; so several processes, also on several
hosts, can share the work.
"""

import logging
import os
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import xxhash
from jaxtyping import Bool, Float32

from recap_core.errors import DataError
from recap_core.lineage.files import sync
from recap_core.lineage.locks import Claim, try_claim

_log = logging.getLogger(__name__)
_DIGEST_BYTES = 16
_STORED = np.dtype("<f4")


class Shard(NamedTuple):
    """Positions among the wanted frames."""

    first: int
    end: int
    """One past the last."""

    @property
    def num_frames(self) -> int:
        """Frames of the shard."""
        return self.end - self.first


def shards(num_wanted: int, shard_frames: int) -> list[Shard]:
    """All shards of ``num_wanted`` frames: ``shard_frames`` in each but the last."""
    firsts = range(0, num_wanted, shard_frames)
    return [Shard(first, min(first + shard_frames, num_wanted)) for first in firsts]


def _is_value(values: Float32[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    return (values >= -1) & (values <= 0)  # NaN is neither


class ShardFiles:
    """The finished shards in a directory of one dataset and one model."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, but none above it: where that is gone, the values were published.

        Raises:
            FileNotFoundError: If it is gone.
        """
        directory.mkdir(exist_ok=True)
        self._directory = directory

    def read(self, shard: Shard) -> Float32[np.ndarray, " n"] | None:
        """The values of a finished shard; None if it is not finished, or its file is damaged."""
        path = self._path(shard)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        payload, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        size = shard.num_frames * _STORED.itemsize
        if len(payload) == size and xxhash.xxh3_128_digest(payload) == digest:
            values = np.frombuffer(payload, _STORED).astype(np.float32)
            if _is_value(values).all():
                return values
        _log.warning("%s is damaged; its values are inferred again", path)
        return None

    def write(self, shard: Shard, values: Float32[np.ndarray, " n"]) -> None:
        """Finish a shard.

        Raises:
            DataError: If a value is not in [-1, 0].
        """
        bad = np.flatnonzero(~_is_value(values))
        if len(bad):
            raise DataError(
                f"the value model gives {values[bad[0]]:.4g} for a frame ({len(bad)} of "
                f"{len(values)} are outside [-1, 0]). Train the value model again."
            )
        payload = values.astype(_STORED).tobytes()
        path = self._path(shard)
        temporary = path.with_name(f".tmp-{uuid4().hex}")
        with temporary.open("wb") as file:
            file.write(payload + xxhash.xxh3_128_digest(payload))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(self._directory)

    def try_claim(self, shard: Shard) -> Claim | None:
        """Become the one who computes a shard; None if another process or thread is."""
        return try_claim(self._path(shard).with_suffix(".lock"))

    def _path(self, shard: Shard) -> Path:
        return self._directory / f"{shard.first:010d}-{shard.end:010d}.values"
