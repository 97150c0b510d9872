"""New labels in a copy of a dataset."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recap_core.data.frames import read_frames
from recap_core.data.layout import read_meta
from recap_core.data.relabel import adv_ind_counts, write_adv_ind
from recap_core.errors import ColumnError, DataError

DATA = "data/chunk-000/file-000.parquet"


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).digest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def labels(num_frames: int) -> np.ndarray:
    return (np.arange(num_frames) % 2 + 1).astype(np.int8)


def test_only_the_labels_change(dataset: Path, tmp_path: Path) -> None:
    """Schema, metadata, row groups and all other columns are equal; the source is untouched."""
    before = tree(dataset)

    write_adv_ind(dataset, tmp_path / "out", labels(46))

    assert tree(dataset) == before
    old, new = pq.ParquetFile(dataset / DATA), pq.ParquetFile(tmp_path / "out" / DATA)
    assert new.schema_arrow.equals(old.schema_arrow, check_metadata=True)
    assert new.num_row_groups == old.num_row_groups == 4
    others = [name for name in old.schema_arrow.names if name != "adv_ind"]
    assert new.read(columns=others).equals(old.read(columns=others))
    assert read_frames(tmp_path / "out").column("adv_ind")[:2].tolist() == ["negative", "positive"]
    assert adv_ind_counts(read_meta(tmp_path / "out")) == {"negative": 23, "positive": 23}


def test_everything_but_the_parquet_is_shared(dataset: Path, tmp_path: Path) -> None:
    """New bytes are those of the data files."""
    new_bytes = write_adv_ind(dataset, tmp_path / "out", labels(46))

    for path in dataset.rglob("*"):
        if path.is_file():
            twin = tmp_path / "out" / path.relative_to(dataset)
            assert (twin.stat().st_ino == path.stat().st_ino) == (
                path.suffix != ".parquet" or ("data" not in path.relative_to(dataset).parts)
            )
    assert new_bytes == (tmp_path / "out" / DATA).stat().st_size


def test_text_and_codes_are_the_same(dataset: Path, tmp_path: Path) -> None:
    """Labels may come as text; writing them twice gives the same bytes."""
    write_adv_ind(dataset, tmp_path / "codes", labels(46))
    write_adv_ind(dataset, tmp_path / "text", np.array(["negative", "positive"] * 23))

    assert tree(tmp_path / "codes") == tree(tmp_path / "text")


def test_a_dataset_without_the_column_gets_it(dataset: Path, tmp_path: Path) -> None:
    """In the data, the Hugging Face description and info.json."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    info = json.loads((root / "meta/info.json").read_text())
    del info["features"]["adv_ind"]
    (root / "meta/info.json").write_text(json.dumps(info))
    table = pq.read_table(root / DATA).drop_columns(["adv_ind"])
    pq.write_table(table, root / DATA)

    write_adv_ind(root, tmp_path / "out", labels(46))

    assert read_frames(tmp_path / "out").column("adv_ind")[1] == "positive"
    metadata = pq.ParquetFile(tmp_path / "out" / DATA).schema_arrow.metadata
    described = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert described["adv_ind"] == {"dtype": "string", "_type": "Value"}


def test_labels_of_another_dataset_are_refused(dataset: Path, tmp_path: Path) -> None:
    """Wrong number or unknown text: nothing is written."""
    with pytest.raises(ColumnError, match=r"45 labels were given, but .* has 46 frames"):
        write_adv_ind(dataset, tmp_path / "out", labels(45))
    with pytest.raises(ColumnError, match="'good'"):
        write_adv_ind(dataset, tmp_path / "out", np.full(46, "good"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [40, 46 + 9])
def test_an_incomplete_source_leaves_nothing(dataset: Path, tmp_path: Path, rows: int) -> None:
    """Fewer or more rows than info.json says."""
    root = shutil.copytree(dataset, tmp_path / "copy")
    table = pq.read_table(root / DATA)
    order = np.arange(rows) % 46
    pq.write_table(table.take(order), root / DATA)

    with pytest.raises(DataError, match=r"Write the dataset again|write it again"):
        write_adv_ind(root, tmp_path / "out", labels(46))
    assert not (tmp_path / "out").exists()
