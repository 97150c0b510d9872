"""A relabelled dataset differs from its source in ``adv_ind`` and in nothing else (SPEC §9.4)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int8

from recap_core.data.columns import ADV_IND
from recap_core.data.frames import read_frames
from recap_core.data.layout import DatasetMeta, open_parquet, read_meta, read_row_group
from recap_core.errors import DataError
from recap_core.labels.adv_ind import encode_adv_ind
from recap_core.lineage.parquet_digests import parquet_column_digests


def check_relabel(source: Path, output: Path, adv_ind: Int8[np.ndarray, " n"]) -> None:
    """Compare a relabelled dataset with what it was made from, row group by row group.

    Args:
        source: The dataset before.
        output: The dataset after.
        adv_ind: Label that every frame should have.

    Raises:
        DataError: If a file, a row, another column or a label is not what it should be.
    """
    before, after = read_meta(source), read_meta(output)
    names = [[_relative(path, meta) for path in meta.data_files] for meta in (before, after)]
    if names[0] != names[1] or not np.array_equal(before.episode_lengths, after.episode_lengths):
        raise DataError(
            f"relabelling {source} led to other data files or other episodes: {len(names[0])} "
            f"files before, {len(names[1])} after. Relabel it again."
        )
    for old, new in zip(before.data_files, after.data_files, strict=True):
        _check_file(old, new)
    written = encode_adv_ind(read_frames(output).column(ADV_IND))
    if not np.array_equal(written, adv_ind):
        wrong = int((written != adv_ind).sum())
        raise DataError(
            f"{wrong} of {len(adv_ind)} frames of {output} hold another label than was to be "
            "written. Relabel it again."
        )


def _relative(path: Path, meta: DatasetMeta) -> str:
    return path.relative_to(meta.root).as_posix()


def _check_file(old: Path, new: Path) -> None:
    """Raise DataError unless all columns but the labels are equal, NaN and all."""
    files = open_parquet(old), open_parquet(new)
    if files[0].num_row_groups == files[1].num_row_groups and all(
        _equal(
            read_row_group(files[0], group, None, path=old),
            read_row_group(files[1], group, None, path=new),
        )
        for group in range(files[0].num_row_groups)
    ):
        return
    # Arrow holds NaN unequal to itself, so unequal tables are compared bit by bit.
    digests = [parquet_column_digests(path) for path in (old, new)]
    for columns in digests:
        columns.pop(ADV_IND, None)
    if digests[0] != digests[1]:
        changed = {*digests[0].items()} ^ {*digests[1].items()}
        raise DataError(
            f"relabelling changed {', '.join(sorted({name for name, _ in changed}))} of {old}, "
            "and may change adv_ind only. Relabel it again."
        )


def _equal(old: pa.Table, new: pa.Table) -> bool:
    others = [name for name in old.column_names if name != ADV_IND]
    if others != [name for name in new.column_names if name != ADV_IND]:
        return False
    return old.num_rows == new.num_rows and old.select(others).equals(new.select(others))
