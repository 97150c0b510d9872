"""Numbers and words that are stored as lists of one, which readers must accept (SPEC §3.1)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.adopt import adopt_dataset
from recap_core.data.export_v21 import export_v21
from recap_core.data.frames import read_frames
from recap_core.data.layout import read_meta
from recap_core.data.relabel import adv_ind_counts, write_adv_ind
from recap_core.errors import ColumnError
from tests.core.data.damages import DATA

KINDS = {"open": pa.list_, "fixed": lambda value: pa.list_(value, 1)}


@pytest.fixture(scope="module", params=sorted(KINDS))
def listed(
    small_dataset: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """The small dataset with every scalar in a list, as its metadata says too."""
    root = shutil.copytree(small_dataset, tmp_path_factory.mktemp("listed") / "dataset")
    table = pq.read_table(root / DATA)
    metadata = json.loads(table.schema.metadata[b"huggingface"])
    for position, name in enumerate(table.column_names):
        kind = table.schema.field(name).type
        if pa.types.is_nested(kind):
            continue
        cells = [[value] for value in table.column(name).to_pylist()]
        table = table.set_column(position, name, pa.array(cells, KINDS[request.param](kind)))
        value = metadata["info"]["features"][name]
        metadata["info"]["features"][name] = {"feature": value, "length": 1, "_type": "List"}
    metadata = {b"huggingface": json.dumps(metadata).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), root / DATA)
    return root


def test_labels_are_written_as_they_are_stored(listed: Path, tmp_path: Path) -> None:
    """The type of the column stays, and labels are counted."""
    write_adv_ind(listed, tmp_path / "out", np.array([0, 1, 2, 0] * 2 + [1, 1, 1], dtype=np.int8))

    old, new = (pq.read_schema(root / DATA) for root in (listed, tmp_path / "out"))
    assert new.equals(old, check_metadata=True)
    assert adv_ind_counts(read_meta(tmp_path / "out")) == {"none": 4, "negative": 5, "positive": 2}
    assert read_frames(tmp_path / "out").column("adv_ind")[1] == "negative"


def test_an_export_holds_plain_scalars(listed: Path, small_dataset: Path, tmp_path: Path) -> None:
    """Byte by byte the export of the dataset with plain scalars."""
    export_v21(listed, tmp_path / "listed")
    export_v21(small_dataset, tmp_path / "plain")

    files = [path for path in (tmp_path / "plain").rglob("*") if path.is_file()]
    for path in files:
        twin = tmp_path / "listed" / path.relative_to(tmp_path / "plain")
        if path.suffix == ".parquet":
            ours, plain = pq.read_table(twin), pq.read_table(path)
            assert ours.equals(plain)
            assert ours.schema.equals(plain.schema, check_metadata=True)
        else:
            assert twin.read_bytes() == path.read_bytes()


def test_an_import_takes_them(listed: Path, small_dataset: Path, tmp_path: Path) -> None:
    """Index columns, numbers and words."""
    adopt_dataset(listed, tmp_path / "out", ImportConfig(source="x"))

    ours, plain = read_frames(tmp_path / "out"), read_frames(small_dataset)
    for name in ("adv_ind", "intervention", "reward", "timestamp", "task_index"):
        np.testing.assert_array_equal(ours.column(name), plain.column(name))


def test_longer_lists_are_no_scalars(small_dataset: Path, tmp_path: Path) -> None:
    """Counting their labels would count frames twice."""
    root = shutil.copytree(small_dataset, tmp_path / "dataset")
    table = pq.read_table(root / DATA)
    position = table.column_names.index("adv_ind")
    cells = pa.array([["none", "none"]] * table.num_rows)
    pq.write_table(table.set_column(position, "adv_ind", cells), root / DATA)

    with pytest.raises(ColumnError, match=r"adv_ind of .* holds lists of \[2\] values"):
        adv_ind_counts(read_meta(root))
