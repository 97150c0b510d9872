"""A v3.0 dataset as a directory of its own, out of a store whose files are shared and read-only."""

import shutil
from pathlib import Path

from recap_core.data.dataset_writer import emptied_on_error
from recap_core.data.export_v21 import ExportSummary, make_readable
from recap_core.data.layout import read_meta
from recap_core.errors import DataError
from recap_core.lineage.files import walk
from recap_core.lineage.layout import MANIFEST_FILE
from recap_core.progress import Progress, Silent


def export_v30(source: Path, output: Path, *, progress: Progress | None = None) -> ExportSummary:
    """Copy every file of a v3.0 dataset but the store's manifest; nothing is linked.

    On an error nothing is left in ``output``, but a kill leaves part of it: publish it by a rename.

    Args:
        source: A v3.0 dataset; only read.
        output: Directory of the copy; must not exist or be empty.
        progress: Who watches.

    Raises:
        DataError: If the source is incomplete or changes meanwhile, or ``output`` is taken.
        ArtifactError: If the source holds symbolic links.
    """
    meta = read_meta(source)
    num_frames = int(meta.episode_lengths.sum())
    files = [file for file in walk(source).files if file.relative != MANIFEST_FILE]
    with (
        emptied_on_error(output),
        (progress or Silent()).bar("export", len(files)) as bar,
    ):
        for number, file in enumerate(files, start=1):
            target = output / file.relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, target)
            if target.stat().st_size != file.stat.st_size:
                raise DataError(f"{file.path} changed while it was copied. Export it again.")
            bar.update(number)
        num_bytes = make_readable(output)
    return ExportSummary(
        num_episodes=meta.num_episodes,
        num_frames=num_frames,
        fps=meta.fps,
        cameras=meta.cameras,
        num_videos=sum(file.relative.endswith(".mp4") for file in files),
        num_encoded_videos=0,
        num_bytes=num_bytes,
    )
