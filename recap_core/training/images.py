"""All camera images of a dataset, decoded once into files that batches index at random."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recap_core.data.frames import FrameTable
from recap_core.data.video import iter_camera_blocks
from recap_core.errors import DataError
from recap_core.progress import Progress, Silent
from recap_core.training.observations import ImageColumns

_BLOCK = 64


def decoded_images(
    table: FrameTable,
    cameras: Sequence[str],
    *,
    image_px: int,
    work: Path,
    progress: Progress | None = None,
) -> ImageColumns:
    """Images of every frame, memory-mapped from ``work/images-<digest>``.

    The digest is over the names, sizes and first bytes of the dataset's videos and over
    ``image_px``; a second call with the same ones decodes nothing. The files appear when all
    frames are decoded.

    Args:
        table: The dataset.
        cameras: Camera features.
        image_px: Side of the square that images are scaled to, pixels.
        work: Directory on a disk with room for ``frames * cameras * 3 * image_px**2`` bytes.
        progress: Who watches.

    Raises:
        DataError: If the disk is too small.
        EpisodeError: If a video is missing, damaged or too short.
    """
    target = work / f"images-{_digest(table, cameras, image_px)}"
    if not target.is_dir():
        _check_space(table.num_frames * len(cameras) * 3 * image_px**2, work)
        temporary = work / f".tmp-{target.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _decode(table, cameras, temporary, image_px=image_px, progress=progress or Silent())
        temporary.rename(target)
    return {camera: np.asarray(np.load(_file(target, camera), mmap_mode="r")) for camera in cameras}


def _decode(
    table: FrameTable, cameras: Sequence[str], target: Path, *, image_px: int, progress: Progress
) -> None:
    shape = (table.num_frames, image_px, image_px, 3)
    files = {
        camera: np.lib.format.open_memmap(
            _file(target, camera), mode="w+", dtype=np.uint8, shape=shape
        )
        for camera in cameras
    }
    with progress.bar("decode videos", table.num_frames) as bar:
        blocks = iter_camera_blocks(table.meta.root, cameras, image_px=image_px, block=_BLOCK)
        for block in blocks:
            for camera, images in block.images.items():
                files[camera][block.indices] = images
            bar.update(int(block.indices[-1]) + 1)
    for file in files.values():
        file.flush()


def _file(directory: Path, camera: str) -> Path:
    return directory / f"{camera}.npy"


def _digest(table: FrameTable, cameras: Sequence[str], image_px: int) -> str:
    digest = hashlib.blake2b(
        f"{image_px} {table.num_frames} {sorted(cameras)}".encode(), digest_size=8
    )
    for path in sorted(table.meta.root.glob("videos/**/*.mp4")):
        digest.update(f"{path.relative_to(table.meta.root)} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(4096))
    return digest.hexdigest()


def _check_space(num_bytes: int, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if num_bytes > free:
        raise DataError(
            f"decoded images need {num_bytes / 1e9:.1f} GB, {work} has {free / 1e9:.1f} GB free. "
            "Free some space, move RECAP_HOME to a larger disk, or lower model.image_px."
        )
