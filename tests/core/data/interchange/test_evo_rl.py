"""Evo-RL's columns in the dataset itself."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from recap_core.config.interchange import ExportLabelsConfig
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.interchange.evo_rl import read_evo_rl, write_evo_rl
from recap_core.data.interchange.exchanged import ExchangedLabels
from recap_core.data.layout import read_meta
from recap_core.errors import ColumnError, DataError
from tests.core.data.interchange import made_up
from tests.core.data.interchange.made_up import NUM_FRAMES

DATA = "data/chunk-000/file-000.parquet"
INDICATOR = "complementary_info.acp_indicator_r1"


def write(
    table: FrameTable, root: Path, found: ExchangedLabels, *, share: bool = True, **options: object
) -> Path:
    config = ExportLabelsConfig.model_validate({"tool": "evo_rl", **options})
    write_evo_rl(root, table, found, config, share=share)
    return root


def annotated(dataset: Path, root: Path, columns: dict[str, np.ndarray]) -> Path:
    """A copy that was annotated in place, as ``lerobot-value-infer`` does."""
    shutil.copytree(dataset, root)
    rows = pq.read_table(root / DATA)
    info = json.loads((root / "meta/info.json").read_text())
    for name, values in columns.items():
        rows = rows.append_column(name, [values])
        kind = "int64" if values.dtype.kind in "iu" else "float32"
        info["features"][name] = {"dtype": kind, "shape": (1,), "names": None}
    pq.write_table(rows, root / DATA, compression="snappy")
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


def test_columns_of_evo_rls_are_read(dataset: Path, table: FrameTable, tmp_path: Path) -> None:
    """Integers become labels; advantage and V are kept."""
    index = np.arange(NUM_FRAMES)
    columns = {
        "complementary_info.value_r1": np.linspace(-1, 0, NUM_FRAMES, dtype=np.float32),
        "complementary_info.advantage_r1": np.linspace(-2, 2, NUM_FRAMES, dtype=np.float32),
        INDICATOR: index % 2,
    }
    root = annotated(dataset, tmp_path / "set", columns)

    found = read_evo_rl(root, table, tag="r1")

    wanted = made_up.labels(
        index % 2 + 1,
        columns["complementary_info.advantage_r1"],
        columns["complementary_info.value_r1"],
    )
    made_up.assert_same(found, wanted)


@settings(max_examples=8)
@given(adv_ind=made_up.codes(1), advantage=made_up.numbers(-3, 3), values=made_up.numbers(-1, 0))
def test_what_is_written_is_read_again(
    table: FrameTable, adv_ind: np.ndarray, advantage: np.ndarray, values: np.ndarray
) -> None:
    """Labels, advantage and value, bit by bit."""
    given_labels = made_up.labels(adv_ind, advantage, values)
    with tempfile.TemporaryDirectory() as scratch:
        root = write(table, Path(scratch) / "out", given_labels, tag="r1")

        made_up.assert_same(read_evo_rl(root, table, tag="r1"), given_labels)


def test_the_rest_of_the_dataset_stays(table: FrameTable, tmp_path: Path) -> None:
    """Other columns and row groups are equal; videos are shared, or copied; metadata never is."""
    source = table.meta.root
    shared = write(table, tmp_path / "shared", made_up.alternating())
    copied = write(table, tmp_path / "copied", made_up.alternating(), share=False)

    old, new = pq.ParquetFile(source / DATA), pq.ParquetFile(shared / DATA)
    assert new.read(columns=old.schema_arrow.names).equals(old.read())
    assert new.num_row_groups == old.num_row_groups
    videos = [path.relative_to(source) for path in source.rglob("*.mp4")]
    assert len(videos) == 12
    for video in videos:
        assert (shared / video).samefile(source / video)
        assert not (copied / video).samefile(source / video)
        assert (copied / video).read_bytes() == (source / video).read_bytes()
    for root in (shared, copied):
        for path in [*root.glob("meta/**/*.parquet"), *root.glob("meta/*.json")]:
            assert path.stat().st_nlink == 1
    assert (copied / DATA).read_bytes() == (shared / DATA).read_bytes()
    assert {p.relative_to(copied) for p in copied.rglob("*")} == {
        p.relative_to(shared) for p in shared.rglob("*")
    }


def test_types_descriptions_and_statistics_are_evo_rls(table: FrameTable, tmp_path: Path) -> None:
    """In info.json, in the Hugging Face description, and in both statistics."""
    root = write(table, tmp_path / "out", made_up.alternating(), tag="r1")

    meta = read_meta(root)
    schema = pq.read_schema(root / DATA)
    described = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    stats = json.loads((root / "meta/stats.json").read_text())
    first = meta.episodes_with_statistics().slice(0, 1).to_pylist()[0]
    for name, dtype in (("value", "float32"), ("advantage", "float32"), ("acp_indicator", "int64")):
        column = f"complementary_info.{name}_r1"
        assert meta.features[column] == {"dtype": dtype, "shape": [1], "names": None}
        assert str(schema.field(column).type) == {"float32": "float"}.get(dtype, dtype)
        assert described[column] == {"dtype": dtype, "_type": "Value"}
    assert stats[INDICATOR]["mean"] == [0.5]
    assert stats[INDICATOR]["count"] == [NUM_FRAMES]
    assert first[f"stats/{INDICATOR}/count"] == [12]
    assert first[f"stats/{INDICATOR}/max"] == [1.0]


def test_writing_again_replaces_the_columns(table: FrameTable, tmp_path: Path) -> None:
    """A second labelling under the same tag is not added beside the first."""
    first = write(table, tmp_path / "a", made_up.alternating())
    flipped = made_up.labels(3 - made_up.alternating().labels.adv_ind)

    second = write(read_frames(first), tmp_path / "b", flipped)

    found = read_evo_rl(second, table)
    np.testing.assert_array_equal(found.labels.adv_ind, flipped.labels.adv_ind)
    assert pq.read_schema(second / DATA).names == pq.read_schema(first / DATA).names


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(NUM_FRAMES), r"is 2 \(int64\) in row 2, but it must be the integer 0 or 1 "),
        (np.full(NUM_FRAMES, -1), r"is -1 \(int64\) in row 0.*46 of 46 rows are wrong"),
        (np.ones(NUM_FRAMES, dtype=np.float32), r"is 1.0 \(float32\) in row 0"),
        (np.ones(NUM_FRAMES, dtype=bool), r"is True \(bool\) in row 0"),
    ],
    ids=["counting", "minus one", "float", "bool"],
)
def test_an_indicator_is_the_integer_0_or_1(
    dataset: Path, table: FrameTable, tmp_path: Path, values: np.ndarray, message: str
) -> None:
    """Evo-RL's own training refuses the others too."""
    root = annotated(dataset, tmp_path / "set", {INDICATOR: values})

    with pytest.raises(ColumnError, match=message):
        read_evo_rl(root, table, tag="r1")


def test_frames_that_were_not_annotated_are_refused(
    dataset: Path, table: FrameTable, tmp_path: Path
) -> None:
    """Evo-RL leaves NaN, and indicator 0, on frames outside the episodes it was given."""
    advantage = np.zeros(NUM_FRAMES, dtype=np.float32)
    advantage[40:] = np.nan
    columns = {
        "complementary_info.advantage_r1": advantage,
        INDICATOR: np.zeros(NUM_FRAMES, dtype=np.int64),
    }
    root = annotated(dataset, tmp_path / "set", columns)

    with pytest.raises(ColumnError, match=r"advantage of frame 40 .* is nan.* \(6 of 46"):
        read_evo_rl(root, table, tag="r1")


def test_another_dataset_or_tag_is_refused(
    dataset: Path, table: FrameTable, tmp_path: Path
) -> None:
    """The message names the tags that there are."""
    root = annotated(dataset, tmp_path / "set", {INDICATOR: np.arange(NUM_FRAMES) % 2})
    rows = pq.read_table(root / DATA)
    cut = shutil.copytree(root, tmp_path / "cut")
    pq.write_table(rows.slice(0, 44), cut / DATA)

    with pytest.raises(ColumnError, match=rf"no column .*acp_indicator; it has {INDICATOR}"):
        read_evo_rl(root, table)
    with pytest.raises(ColumnError, match="no indicators of Evo-RL at all"):
        read_evo_rl(dataset, table, tag="r1")
    with pytest.raises(
        ColumnError, match=r"2 of 46 frames are missing \(first: episode 3, frame 7"
    ):
        read_evo_rl(cut, table, tag="r1")
    with pytest.raises(DataError, match="is no LeRobot dataset"):
        read_evo_rl(tmp_path, table, tag="r1")
