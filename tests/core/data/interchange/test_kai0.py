"""kai0's tags in task texts."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.interchange.kai0 import read_kai0, write_kai0
from recap_core.data.layout import read_meta
from recap_core.errors import ColumnError, DataError
from tests.core.data.interchange import made_up
from tests.core.data.interchange.made_up import NUM_FRAMES

DATA = "data/chunk-000/file-000.parquet"
TASKS = [
    {"task_index": 0, "task": "fold the cloth, Advantage: negative"},
    {"task_index": 1, "task": "fold the cloth, Advantage: positive"},
]


def discretised(
    table: FrameTable, root: Path, task_index: np.ndarray, tasks: list[dict[str, object]]
) -> Path:
    """A v2.1 dataset after ``discretize_advantage.py``: one file per episode, 32-bit tasks."""
    for episode, start in enumerate(table.episode_starts.tolist()):
        rows = slice(start, int(table.episode_ends[episode]))
        columns = {name: values[rows] for name, values in made_up.keys(table).items()}
        columns["absolute_advantage"] = np.zeros(len(columns["frame_index"]), dtype=np.float32)
        columns["task_index"] = task_index[rows].astype(np.int32)
        made_up.write_parquet(root / f"data/chunk-000/episode_{episode:06d}.parquet", columns)
    (root / "meta").mkdir()
    lines = "".join(json.dumps(task) + "\n" for task in tasks)
    (root / "meta/tasks.jsonl").write_text(lines)
    return root


def test_tags_of_kai0s_are_read(table: FrameTable, tmp_path: Path) -> None:
    """The tag of a frame's task is its label; nothing else is known."""
    task_index = np.arange(NUM_FRAMES) % 2

    found = read_kai0(discretised(table, tmp_path / "set", task_index, TASKS), table)

    made_up.assert_same(found, made_up.labels(task_index + 1))


def test_a_task_without_a_tag_is_no_label(table: FrameTable, tmp_path: Path) -> None:
    """Beside tagged ones."""
    tasks = [*TASKS, {"task_index": 7, "task": "fold the cloth"}]
    task_index = np.where(np.arange(NUM_FRAMES) < 10, 7, 1)

    found = read_kai0(discretised(table, tmp_path / "set", task_index, tasks), table)

    assert found.labels.adv_ind.tolist() == [0] * 10 + [2] * 36


@settings(max_examples=8)
@given(adv_ind=made_up.codes(0))
def test_what_is_written_is_read_again(table: FrameTable, adv_ind: np.ndarray) -> None:
    """All three labels."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "out"
        write_kai0(root, table, made_up.labels(adv_ind))

        made_up.assert_same(read_kai0(root, table), made_up.labels(adv_ind))


def test_tasks_statistics_and_counts_follow(table: FrameTable, tmp_path: Path) -> None:
    """Two tagged tasks for each, then the bare ones that frames without a label need."""
    adv_ind = np.full(NUM_FRAMES, 2)
    adv_ind[:2] = [1, 0]
    root = tmp_path / "out"

    write_kai0(root, table, made_up.labels(adv_ind))

    meta, frames = read_meta(root), read_frames(root)
    assert meta.tasks == (
        "transfer cube, Advantage: negative",
        "transfer cube, Advantage: positive",
        "insert peg, Advantage: negative",
        "insert peg, Advantage: positive",
        "transfer cube",
    )
    assert meta.info["total_tasks"] == 5
    assert frames.task_index[:3].tolist() == [0, 4, 1]
    assert frames.task_index[37:].tolist() == [3] * 9
    rows = meta.episodes_with_statistics().to_pylist()
    assert rows[0]["tasks"] == [meta.tasks[0], meta.tasks[1], meta.tasks[4]]
    assert rows[3]["tasks"] == ["insert peg, Advantage: positive"]
    assert rows[0]["stats/task_index/max"] == [4.0]
    stats = json.loads((root / "meta/stats.json").read_text())
    assert stats["task_index"]["max"] == [4.0]


def test_the_rest_of_the_data_stays(table: FrameTable, tmp_path: Path) -> None:
    """Schema, metadata and all other columns."""
    write_kai0(tmp_path / "out", table, made_up.alternating())

    old, new = pq.read_table(table.meta.root / DATA), pq.read_table(tmp_path / "out" / DATA)
    assert new.schema.equals(old.schema, check_metadata=True)
    assert new.drop_columns("task_index").equals(old.drop_columns("task_index"))


def test_tasks_jsonl_of_kai0s_script_beats_an_older_table(
    table: FrameTable, tmp_path: Path
) -> None:
    """The script run on v3.0 leaves tasks.parquet behind, which is then out of date."""
    root = shutil.copytree(table.meta.root, tmp_path / "set")
    rows = pq.read_table(root / DATA)
    position = rows.schema.get_field_index("task_index")
    task_index = np.arange(NUM_FRAMES) % 2
    rows = rows.set_column(position, "task_index", pa.array(task_index.astype(np.int32)))
    pq.write_table(rows, root / DATA)
    (root / "meta/tasks.jsonl").write_text("\n".join(map(json.dumps, TASKS)))

    found = read_kai0(root, table)

    np.testing.assert_array_equal(found.labels.adv_ind, task_index + 1)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"task_index": 0, "task": "fold, Advantage: 7"}], "is tagged '7', but only positive"),
        ([{"task_index": 0, "task": "fold, Advantage: Positive"}], "is tagged 'Positive'"),
        ([{"task_index": 0, "task": "fold the cloth"}], "no task of .* ends with"),
        ([], "there is no task"),
        ([*TASKS, {"task_index": 1, "task": "fold"}], "has 3 lines for 2 tasks"),
        (TASKS[1:], r"task_index of .* is 0, which is no task of meta/ \(46 of 46 rows\)"),
    ],
)
def test_other_tasks_are_refused(
    table: FrameTable, tmp_path: Path, tasks: list[dict[str, object]], message: str
) -> None:
    """Slices, other words, no tag, an index twice, an index without a text."""
    root = discretised(table, tmp_path / "set", np.zeros(NUM_FRAMES), tasks)

    with pytest.raises(ColumnError, match=message):
        read_kai0(root, table)


@pytest.mark.parametrize("line", ["{", '{"task_index": "one", "task": "fold"}', "[1]", "{}"])
def test_a_broken_task_file_is_refused(table: FrameTable, tmp_path: Path, line: str) -> None:
    """Naming the file."""
    root = discretised(table, tmp_path / "set", np.zeros(NUM_FRAMES), TASKS)
    (root / "meta/tasks.jsonl").write_text(line)

    with pytest.raises(DataError, match=r"tasks.jsonl cannot be read"):
        read_kai0(root, table)


def test_a_task_table_without_texts_is_refused(table: FrameTable, tmp_path: Path) -> None:
    """The columns that it has are named."""
    root = shutil.copytree(table.meta.root, tmp_path / "set")
    pq.write_table(pa.table({"task_index": [0], "name": ["fold"]}), root / "meta/tasks.parquet")

    with pytest.raises(ColumnError, match="has the columns task_index, name, but"):
        read_kai0(root, table)


def test_another_dataset_is_refused(table: FrameTable, tmp_path: Path) -> None:
    """An episode too few, or no dataset at all."""
    root = discretised(table, tmp_path / "set", np.zeros(NUM_FRAMES), TASKS)
    (root / "data/chunk-000/episode_000002.parquet").unlink()

    with pytest.raises(ColumnError, match=r"10 of 46 frames are missing \(first: episode 2, frame"):
        read_kai0(root, table)
    with pytest.raises(DataError, match=r"has no data/\*/\*.parquet"):
        read_kai0(tmp_path, table)


def test_a_tagged_dataset_is_not_tagged_again(table: FrameTable, tmp_path: Path) -> None:
    """Its texts would end with two tags."""
    write_kai0(tmp_path / "once", table, made_up.alternating())

    with pytest.raises(ColumnError, match=r"has a tag already \(4 of 4 tasks\)"):
        write_kai0(tmp_path / "twice", read_frames(tmp_path / "once"), made_up.alternating())
