"""Videos decoded once, at a model's image size, for every training that reads them.

There is one file per video. Its name says what is in it (digest of the video, image size, version
of the resize), so datasets that share a video by content share its file: a relabelled copy or a
merge decodes nothing again. A file holds

    images     uint8 [n, px, px, 3]
    times      float64 [n], seconds, rising
    footer     magic, n, px, xxh3-128 of all before it

It is written beside its place and renamed, and trusted only after its length and its content have
been checked; the check of the content is remembered for as long as the file does not change. The
directory may be deleted at any time: the next training decodes again.
"""

import logging
import os
import shutil
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash
from jaxtyping import Float64, UInt8

from recap_core.data.image_fit import RESIZE_VERSION, fit_image
from recap_core.data.video_files import frame_time_s, read_frames_in_order, rgb
from recap_core.errors import DataError, EpisodeError
from recap_core.lineage.digest_cache import DigestCache
from recap_core.lineage.digests import content_digests
from recap_core.lineage.files import sync
from recap_core.lineage.locks import claim, try_claim
from recap_core.progress import Progress, Silent

_log = logging.getLogger(__name__)

_FOOTER = struct.Struct("<8sQQ16s")
_MAGIC = b"recapvid"
_SUFFIX = ".frames"
_READ_BYTES = 1 << 22
_LOCK_TIMEOUT_S = 86_400.0
_MAX_DECODERS = 4
_USE_NOTED_EVERY_NS = 60 * 10**9


class CachedVideo(NamedTuple):
    """A video's images on the disk."""

    path: Path
    image_px: int
    times_s: Float64[np.ndarray, " n"]
    """When every frame is shown, rising."""

    def read(self, position: int, image: UInt8[np.ndarray, "px px 3"]) -> None:
        """Fill ``image`` with one frame.

        Raises:
            OSError: If the file was removed, or cannot be read.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            # Not memory-mapped: mapped pages count as the process's own memory, and a failing
            # disk would end it with a signal.
            if os.preadv(descriptor, [image.data], position * image.nbytes) != image.nbytes:
                raise OSError(f"{self.path} ends before frame {position}")
        finally:
            os.close(descriptor)


class FrameCache:
    """A directory of decoded videos, used by many processes at once.

    Args:
        directory: Made when the first video is decoded.
        digests: Digests of the videos; the store's digest cache.
        budget_bytes: Most that the files may take; None: 80 % of what is free on the disk, the
            files themselves counted as free.
    """

    def __init__(
        self,
        directory: Path,
        *,
        digests: DigestCache | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        self.directory = directory
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

    def prepare(
        self,
        videos: Mapping[Path, int],
        *,
        image_px: int,
        progress: Progress | None = None,
    ) -> dict[Path, CachedVideo]:
        """Decode what is missing of some videos, in several threads.

        Files of other videos make room if they have to, those used longest ago first.

        Args:
            videos: Videos, and how many frames each has.
            image_px: Side of the square that images are scaled to, pixels.
            progress: Who watches.

        Returns:
            Every video's images.

        Raises:
            DataError: If the images exceed the budget.
            EpisodeError: If a video is missing or damaged.
        """
        files = self._named(list(videos), image_px)
        frames = {files[video]: num_frames for video, num_frames in videos.items()}
        needed = sum(frames.values()) * 3 * image_px**2
        if needed > self.budget_bytes:
            raise DataError(
                f"decoded images need {needed / 1e9:.1f} GB, {self.directory} may take "
                f"{self.budget_bytes / 1e9:.1f} GB. Free some disk space or raise image_cache_gb, "
                "set sampling.order to blocks, or lower model.image_px."
            )
        self._remove_drafts()
        self._make_room(frames, image_px)
        opened: dict[Path, CachedVideo] = {}
        threads = ThreadPoolExecutor(min(_MAX_DECODERS, os.cpu_count() or 1))
        with (progress or Silent()).bar("decode videos", len(videos)) as bar:
            try:
                jobs = [threads.submit(self._open, v, files[v], image_px) for v in videos]
                for video, job in zip(videos, jobs, strict=True):
                    opened[video] = job.result()
                    bar.update(len(opened))
            finally:
                threads.shutdown(cancel_futures=True)
        return opened

    def fits(self, num_frames: int, *, image_px: int) -> bool:
        """Whether so many images stay within the budget."""
        return num_frames * 3 * image_px**2 <= self.budget_bytes

    def open(self, video: Path, *, image_px: int) -> CachedVideo:
        """One video's images, decoded if they are missing or damaged.

        Raises:
            EpisodeError: If the video is missing or damaged.
        """
        return self._open(video, self._named([video], image_px)[video], image_px)

    def _named(self, videos: Sequence[Path], image_px: int) -> dict[Path, Path]:
        try:
            digests = content_digests(videos, self._digests)
        except OSError as error:
            raise EpisodeError(
                f"video {error.filename} cannot be read ({error.strerror}). Restore it, or write "
                "the dataset again."
            ) from error
        return {
            video: self.directory / f"{digest}-{image_px}px-v{RESIZE_VERSION}{_SUFFIX}"
            for video, digest in zip(videos, digests, strict=True)
        }

    def _open(self, video: Path, path: Path, image_px: int) -> CachedVideo:
        found = self._trusted(path, image_px)
        if found is not None:
            return found
        subject = f"decoded video {path.name}"
        with claim(path.with_suffix(".lock"), timeout_s=_LOCK_TIMEOUT_S, subject=subject):
            found = self._trusted(path, image_px)  # another process may have been faster
            if found is not None:
                return found
            return self._decode(video, path, image_px)

    def _decode(self, video: Path, path: Path, image_px: int) -> CachedVideo:
        draft = self.directory / f".{path.name}.{uuid.uuid4().hex[:12]}"
        content, times_s = xxhash.xxh3_128(), []
        try:
            with draft.open("xb") as file, closing(read_frames_in_order(video)) as frames:
                for frame in frames:
                    times_s.append(frame_time_s(frame))
                    image = np.ascontiguousarray(fit_image(rgb(frame), image_px, image_px))
                    content.update(image.data)
                    file.write(image.data)
                times = np.array(times_s, dtype=np.float64)
                content.update(times.data)
                file.write(times.data)
                file.write(_FOOTER.pack(_MAGIC, len(times), image_px, content.digest()))
            draft.chmod(0o444)
            sync(draft)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
        self._checked.put([(path.stat(), content.hexdigest())])
        return CachedVideo(path, image_px, times)

    def _trusted(self, path: Path, image_px: int) -> CachedVideo | None:
        """What a file holds; None if there is none, or it is damaged, which removes it."""
        try:
            return self._verified(path, image_px)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, struct.error) as error:
            _log.warning("decoded video %s is damaged (%s); decoding it again", path, error)
            path.unlink(missing_ok=True)
            return None

    def _verified(self, path: Path, image_px: int) -> CachedVideo:
        """What a file holds, its length and content checked, its use noted."""
        status = path.stat()
        with path.open("rb") as file:
            file.seek(max(status.st_size - _FOOTER.size, 0))
            magic, num_frames, px, digest = _FOOTER.unpack(file.read(_FOOTER.size))
            image_bytes = num_frames * 3 * image_px**2
            expected = image_bytes + 8 * num_frames + _FOOTER.size
            if (magic, px, status.st_size) != (_MAGIC, image_px, expected):
                raise ValueError(f"it is no cache of {image_px} px images, or was cut short")
            file.seek(image_bytes)
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
        return CachedVideo(path, image_px, times_s)

    def _remove_drafts(self) -> None:
        """Remove what killed processes left half-written."""
        for draft in self.directory.glob(f".*{_SUFFIX}.*"):
            final = self.directory / draft.stem[1:]
            held = try_claim(final.with_suffix(".lock"))
            if held is not None:  # else it is being written now
                draft.unlink(missing_ok=True)
                held.release()

    def _make_room(self, frames: Mapping[Path, int], image_px: int) -> None:
        """Remove the files used longest ago until what is missing fits into the budget."""
        self.directory.mkdir(parents=True, exist_ok=True)
        files = self._files()
        present = {path for path, _ in files}
        missing = 3 * image_px**2 * sum(n for path, n in frames.items() if path not in present)
        excess = sum(status.st_size for _, status in files) + missing - self.budget_bytes
        for path, status in sorted(files, key=lambda item: item[1].st_atime_ns):
            if excess <= 0:
                break
            if path not in frames:
                # A training that still reads it decodes it again when it misses it.
                path.unlink(missing_ok=True)
                excess -= status.st_size

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        files = []
        for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
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
