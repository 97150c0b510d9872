"""What is computed once from every frame of a video, kept for every later reader.

There is one file per video. Its name says what is in it (digest of the video, and how it was
made), so datasets that share a video by content share its file. A file holds

    items      one of fixed size per frame
    times      float64 [n], seconds, rising
    footer     magic, n, tag, xxh3-128 of all before it

It is written beside its place and renamed, and trusted only after its length and its content have
been checked; the check of the content is remembered for as long as the file does not change. The
directory may be deleted at any time: what is missing is made again.
"""

import logging
import os
import shutil
import struct
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash
from jaxtyping import Float64, Shaped, UInt8

from recap_core.errors import EpisodeError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import content_digests
from recap_core.lineage.files import sync
from recap_core.lineage.locks import claim, try_claim

_log = logging.getLogger(__name__)

_FOOTER = struct.Struct("<8sQQ16s")
_READ_BYTES = 1 << 22
_LOCK_TIMEOUT_S = 86_400.0
_USE_NOTED_EVERY_NS = 60 * 10**9


class ItemKind(NamedTuple):
    """What a file holds per frame."""

    subject: str
    """For messages: "decoded video"."""
    magic: bytes
    """Eight bytes."""
    tag: int
    """A number that files of this kind must carry: the size of images, or of items."""
    item_bytes: int


class CachedVideo(NamedTuple):
    """A video's items on the disk."""

    path: Path
    times_s: Float64[np.ndarray, " n"]
    """When every frame is shown, rising."""

    def read(self, position: int, item: Shaped[np.ndarray, "..."]) -> None:
        """Fill ``item``, contiguous and of the items' size, with that of one frame.

        Raises:
            OSError: If the file was removed, or cannot be read.
        """
        target = item.reshape(-1).view(np.uint8)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            # Not memory-mapped: mapped pages count as the process's own memory, and a failing
            # disk would end it with a signal.
            if os.preadv(descriptor, [target.data], position * target.nbytes) != target.nbytes:
                raise OSError(f"{self.path} ends before frame {position}")
        finally:
            os.close(descriptor)


class Draft:
    """A file that is being written; nobody reads it before it is published."""

    def __init__(self, path: Path, kind: ItemKind, checked: DigestCache) -> None:
        self.path = path
        self._draft = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}"
        self._kind = kind
        self._checked = checked
        self._content = xxhash.xxh3_128()
        self._times: list[float] = []
        self._file = self._draft.open("xb")

    def append(self, items: Shaped[np.ndarray, "..."], times_s: Sequence[float]) -> None:
        """Add the items of consecutive frames, with their times."""
        self._put(np.ascontiguousarray(items).reshape(-1).view(np.uint8))
        self._times += times_s

    def publish(self) -> CachedVideo:
        """Finish the file and move it to its place."""
        times = np.array(self._times, dtype=np.float64)
        self._put(times.view(np.uint8))
        digest = self._content.digest()
        self._file.write(_FOOTER.pack(self._kind.magic, len(times), self._kind.tag, digest))
        self._file.close()
        self._draft.chmod(0o444)
        sync(self._draft)
        self._draft.rename(self.path)
        self._checked.put([(self.path.stat(), digest.hex())])
        return CachedVideo(self.path, times)

    def discard(self) -> None:
        """Remove what was not published."""
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def _put(self, data: UInt8[np.ndarray, " n"]) -> None:
        self._content.update(data.data)
        self._file.write(data.data)


class VideoCache:
    """A directory of such files, used by many processes at once.

    Args:
        directory: Made when the first file is written.
        suffix: Of the files' names.
        digests: Digests of the videos; the store's digest cache.
        budget_bytes: Most that the files may take; None: 80 % of what is free on the disk, the
            files themselves counted as free.
    """

    def __init__(
        self,
        directory: Path,
        *,
        suffix: str,
        digests: DigestCache | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        self.directory = directory
        self._suffix = suffix
        self._digests = digests
        self._checked = DigestCache(directory / "checked.sqlite")
        self._budget_bytes = budget_bytes

    @property
    def budget_bytes(self) -> int:
        """Most that the files may take."""
        if self._budget_bytes is not None:
            return self._budget_bytes
        existing = next(p for p in (self.directory, *self.directory.parents) if p.is_dir())
        used = sum(status.st_size for _, status in self._files())
        return int(0.8 * (shutil.disk_usage(existing).free + used))

    def named(self, videos: Sequence[Path], recipe: str) -> dict[Path, Path]:
        """The file of every video.

        Args:
            videos: Videos.
            recipe: How items are made; part of the name.

        Raises:
            EpisodeError: If a video cannot be read.
        """
        try:
            digests = content_digests(videos, self._digests)
        except OSError as error:
            raise EpisodeError(
                f"video {error.filename} cannot be read ({error.strerror}). Restore it, or write "
                "the dataset again."
            ) from error
        return {
            video: self.directory / f"{digest}-{recipe}{self._suffix}"
            for video, digest in zip(videos, digests, strict=True)
        }

    def trusted(self, path: Path, kind: ItemKind) -> CachedVideo | None:
        """What a file holds; None if there is none, or it is damaged, which removes it."""
        try:
            return self._verified(path, kind)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, struct.error) as error:
            _log.warning("%s %s is damaged (%s); making it again", kind.subject, path, error)
            path.unlink(missing_ok=True)
            return None

    @contextmanager
    def writing(self, path: Path, kind: ItemKind) -> Generator[CachedVideo | Draft]:
        """The right to make a file: a draft, or what another process has made meanwhile.

        A draft that is not published by the end of the block is removed.
        """
        subject = f"{kind.subject} {path.name}"
        with claim(path.with_suffix(".lock"), timeout_s=_LOCK_TIMEOUT_S, subject=subject):
            found = self.trusted(path, kind)  # another process may have been faster
            if found is not None:
                yield found
                return
            draft = Draft(path, kind, self._checked)
            try:
                yield draft
            finally:
                draft.discard()

    def make_room(self, frames: Mapping[Path, int], kind: ItemKind) -> None:
        """Remove drafts of killed processes, and old files until what is missing fits.

        Files used longest ago go first. A training that still reads one makes it again.

        Args:
            frames: Files that are needed, and how many frames each has.
            kind: What they hold.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remove_drafts()
        files = self._files()
        present = {path for path, _ in files}
        missing = kind.item_bytes * sum(n for path, n in frames.items() if path not in present)
        excess = sum(status.st_size for _, status in files) + missing - self.budget_bytes
        for path, status in sorted(files, key=lambda item: item[1].st_atime_ns):
            if excess <= 0:
                break
            if path not in frames:
                path.unlink(missing_ok=True)
                excess -= status.st_size

    def _verified(self, path: Path, kind: ItemKind) -> CachedVideo:
        """What a file holds, its length and content checked, its use noted."""
        status = path.stat()
        with path.open("rb") as file:
            file.seek(max(status.st_size - _FOOTER.size, 0))
            magic, num_frames, tag, digest = _FOOTER.unpack(file.read(_FOOTER.size))
            items_bytes = num_frames * kind.item_bytes
            expected = items_bytes + 8 * num_frames + _FOOTER.size
            if (magic, tag, status.st_size) != (kind.magic, kind.tag, expected):
                raise ValueError(f"it is no {kind.subject} of this kind, or was cut short")
            file.seek(items_bytes)
            times_s = np.frombuffer(file.read(8 * num_frames), dtype=np.float64)
        if self._checked.get([status]) != [digest.hex()]:
            if _content_digest(path) != digest.hex():
                raise ValueError("its content does not match its digest")
            self._checked.put([(status, digest.hex())])
        now_ns = time.time_ns()
        if now_ns - status.st_atime_ns > _USE_NOTED_EVERY_NS:
            # Last use is kept as the access time, which file systems do not keep by themselves.
            os.utime(path, ns=(now_ns, status.st_mtime_ns))
            after = path.stat()
            if (after.st_ino, after.st_mtime_ns) == (status.st_ino, status.st_mtime_ns):
                self._checked.put([(after, digest.hex())])
        return CachedVideo(path, times_s)

    def _remove_drafts(self) -> None:
        """Remove what killed processes left half-written."""
        for draft in self.directory.glob(f".*{self._suffix}.*"):
            final = self.directory / draft.stem[1:]
            held = try_claim(final.with_suffix(".lock"))
            if held is not None:  # else it is being written now
                draft.unlink(missing_ok=True)
                held.release()

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        files = []
        for path in sorted(self.directory.glob(f"*{self._suffix}")):
            try:
                files.append((path, path.stat()))
            except FileNotFoundError:
                continue  # another process made room
        return files


def _content_digest(path: Path) -> str:
    """Of all but the footer."""
    content, left = xxhash.xxh3_128(), path.stat().st_size - _FOOTER.size
    with path.open("rb") as file:
        while left > 0:
            data = file.read(min(_READ_BYTES, left))
            content.update(data)
            left -= len(data)
            if not data:
                break
    return content.hexdigest()
