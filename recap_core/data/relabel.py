"""Stage 5, last step: new labels in the ``adv_ind`` column of a copy of a dataset."""

from pathlib import Path

import numpy as np
import pyarrow as pa

<<<<<<< HEAD
from recap_core.data.columns import ADV_IND, recap_features
from recap_core.data.dataset_writer import emptied_on_error
from recap_core.data.layout import DatasetMeta, open_parquet, read_meta
from recap_core.data.rewrite import rewrite_columns
from recap_core.errors import ColumnError
=======
from recap_core.data.arrow_types import require_columns
from recap_core.data.columns import ADV_IND, Feature, recap_features
from recap_core.data.dataset_writer import emptied_on_error
from recap_core.data.frames import column_to_numpy
from recap_core.data.layout import (
    DatasetMeta,
    new_parquet,
    open_parquet,
    read_meta,
    read_row_group,
    require_features,
)
from recap_core.errors import ColumnError, DataError
>>>>>>> db1b50e (Find everything that is wrong with a dataset or a recording: recap doctor data)
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
    require_features(meta, ["index"])
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
<<<<<<< HEAD
        return rewrite_columns(meta, output, {ADV_IND: labels}, features=features, digests=digests)
=======
        new_bytes = link_tree(
            source,
            output,
            digests=digests,
            include=lambda path: not (path.startswith("data/") or (adds_feature and path == INFO)),
        )
        if adds_feature:
            features = _with_adv_ind(meta.features)
            info = {**meta.info, "features": features}
            (output / INFO).write_text(json.dumps(info, indent=4))
            new_bytes += (output / INFO).stat().st_size
        start = 0
        for path in meta.data_files:
            target = output / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            start += _rewrite(path, target, codes, start=start, features=meta.features)
            new_bytes += target.stat().st_size
        if start != len(codes):
            raise DataError(
                f"the data files of {source} hold {start} rows, but info.json says {len(codes)}. "
                "The dataset is incomplete; write it again."
            )
    return new_bytes


def _with_adv_ind(features: dict[str, Feature]) -> dict[str, Feature]:
    return {**features, ADV_IND: recap_features()[ADV_IND]}


def _with_field(schema: pa.Schema) -> pa.Schema:
    """The schema, and ``adv_ind`` in it, also where Hugging Face looks for it."""
    if ADV_IND in schema.names:
        return schema
    metadata = dict(schema.metadata or {})
    if b"huggingface" in metadata:
        described = json.loads(metadata[b"huggingface"])
        described["info"]["features"][ADV_IND] = {"dtype": "string", "_type": "Value"}
        metadata[b"huggingface"] = json.dumps(described).encode()
    return schema.append(pa.field(ADV_IND, pa.string())).with_metadata(metadata)


def _rewrite(
    source: Path, target: Path, codes: np.ndarray, *, start: int, features: dict[str, Feature]
) -> int:
    """Copy one data file, whose first row is frame ``start``, with its labels of ``codes``.

    Returns:
        Its number of rows.
    """
    file = open_parquet(source)
    described = [name for name in ("index", ADV_IND) if name in features]
    require_columns(file.schema_arrow, described, features, path=source)
    schema = _with_field(file.schema_arrow)
    position = schema.get_field_index(ADV_IND)
    field, names = schema.field(position), pa.array(NAMES, pa.string())
    first = start
    with new_parquet(target, schema) as writer:
        for group in range(file.num_row_groups):
            table = read_row_group(file, group, None, path=source)
            own = pa.array(codes[start : start + table.num_rows])
            if len(own) < table.num_rows:
                raise DataError(
                    f"{source} holds more rows than info.json says. Write the dataset again."
                )
            index = column_to_numpy(table.column("index"), name=f"column index of {source}")
            if not np.array_equal(index, np.arange(start, start + table.num_rows)):
                raise DataError(
                    f"index in row group {group} of {source} does not count on from {start}: "
                    "labels would go to other frames. Write the dataset again."
                )
            start += table.num_rows
            labels = pa.DictionaryArray.from_arrays(own, names).cast(field.type)
            columns = list(table.columns)
            columns[position : position + 1] = [labels]
            writer.write_table(
                pa.table(columns, schema=schema), row_group_size=max(table.num_rows, 1)
            )
    return start - first
>>>>>>> db1b50e (Find everything that is wrong with a dataset or a recording: recap doctor data)


def adv_ind_counts(meta: DatasetMeta) -> dict[str, int]:
    """Frames of every label, read from that column alone."""
    counts: dict[str, int] = {}
    for path in meta.data_files:
        column = open_parquet(path).read(columns=[ADV_IND]).column(ADV_IND)
        for entry in column.value_counts().to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return counts
