"""Stage 5, last step: new labels in the ``adv_ind`` column of a copy of a dataset."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from recap_core.data.arrow_types import scalar_cells
from recap_core.data.columns import ADV_IND, recap_features
from recap_core.data.dataset_writer import emptied_on_error
from recap_core.data.label_sidecar import SIDECAR_FILES
from recap_core.data.layout import DatasetMeta, open_parquet, read_meta
from recap_core.data.rewrite import rewrite_columns
from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import NAMES, encode_adv_ind
from recap_core.lineage.digest_cache import DigestCache


def write_adv_ind(
    source: Path, output: Path, adv_ind: np.ndarray, *, digests: DigestCache | None = None
) -> int:
    """Write a dataset like ``source`` with another ``adv_ind``; the source stays as it is.

    Parquet files are rewritten row group by row group, with all other columns and all metadata;
    everything else is shared by hard link. On an error nothing is left in ``output``.

    Args:
        source: A v3.0 dataset; only read.
        output: Directory of the new dataset; must not exist or be empty.
        adv_ind: Label of every frame by global index: text, or codes of
            :data:`recap_core.labels.adv_ind.NAMES`.
        digests: The store's digest cache.

    Returns:
        New bytes on disk.

    Raises:
        ColumnError: If there is not one label per frame, or a label is unknown.
        DataError: If the source is incomplete, or ``output`` is taken.
    """
    meta = read_meta(source)
    codes = adv_ind if adv_ind.dtype.kind in "iu" else encode_adv_ind(adv_ind)
    if not np.isin(codes, range(len(NAMES))).all():
        raise ColumnError(
            f"labels are codes from 0 to {len(NAMES) - 1} ({', '.join(NAMES)}), but codes from "
            f"{codes.min()} to {codes.max()} were given. Label the dataset again."
        )
    if len(codes) != meta.episode_lengths.sum():
        raise ColumnError(
            f"{len(codes)} labels were given, but {source} has {meta.num_frames} frames. "
            "Label this dataset, not another one."
        )
    # Codes with the words beside them: the text of a whole dataset would take much memory.
    labels = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(NAMES, pa.string()))
    features = {ADV_IND: recap_features()[ADV_IND]}
    with emptied_on_error(output):
        return rewrite_columns(
            meta,
            output,
            {ADV_IND: labels},
            features=features,
            left_out=SIDECAR_FILES,  # an earlier labelling's, which the new labels make untrue
            digests=digests,
        )


def adv_ind_counts(meta: DatasetMeta) -> dict[str, int]:
    """Frames of every label, read from that column alone."""
    counts: dict[str, int] = {}
    for path in meta.data_files:
        column = scalar_cells(
            open_parquet(path).read(columns=[ADV_IND]).column(ADV_IND), name=f"{ADV_IND} of {path}"
        )
        for entry in column.value_counts().to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return counts
