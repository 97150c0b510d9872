"""What a v2.1 export looks like on disk, and what is refused."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.data.columns import ACTION, vector_feature
from recap_core.data.dataset_writer import DatasetWriter, Origin
from recap_core.data.export_v21 import export_v21
from recap_core.data.export_v30 import export_v30
from recap_core.data.layout import read_meta
from recap_core.data.merge import merge_datasets
from recap_core.errors import DataError, RecapError
from tests.core.data.shared_videos import ONE_KEYFRAME, write_shared_dataset

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
HEAD = "observation.images.head_camera"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def exported(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes with three cameras, two tasks and an environment state."""
    root = tmp_path_factory.mktemp("v21") / "dataset"
    export_v21(dataset, root)
    return root


def test_info_says_what_the_format_asks_for(exported: Path, dataset: Path) -> None:
    """Every key of info.json; the features are those of the source."""
    info = json.loads((exported / "meta/info.json").read_text())

    assert info.pop("features") == read_meta(dataset).features
    assert info == {
        "codebase_version": "v2.1",
        "robot_type": None,
        "fps": 10,
        "total_episodes": 4,
        "total_frames": 46,
        "total_tasks": 2,
        "total_videos": 12,
        "total_chunks": 1,
        "chunks_size": 1000,
        "splits": {"train": "0:4"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": (
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        ),
    }


def test_files_are_where_the_format_puts_them(exported: Path, dataset: Path) -> None:
    """One parquet file per episode, one mp4 per episode and camera, nothing else."""
    files = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}

    assert files == {
        "meta/info.json",
        "meta/tasks.jsonl",
        "meta/episodes.jsonl",
        "meta/episodes_stats.jsonl",
        *(f"data/chunk-000/episode_00000{e}.parquet" for e in range(4)),
        *(
            f"videos/chunk-000/{camera}/episode_00000{e}.mp4"
            for camera in read_meta(dataset).cameras
            for e in range(4)
        ),
    }


def test_tasks_and_episodes_are_json_lines(exported: Path) -> None:
    """Keys of the format, and where every episode comes from."""
    assert lines(exported / "meta/tasks.jsonl") == [
        {"task_index": 0, "task": "transfer cube"},
        {"task_index": 1, "task": "insert peg"},
    ]
    episodes = lines(exported / "meta/episodes.jsonl")
    assert [(row["episode_index"], row["tasks"], row["length"]) for row in episodes] == [
        (0, ["transfer cube"], 12),
        (1, ["transfer cube"], 15),
        (2, ["transfer cube"], 10),
        (3, ["insert peg"], 9),
    ]
    assert episodes[2]["source"] == "synthetic"
    assert episodes[2]["round"] == 1


def test_statistics_of_every_episode(exported: Path, dataset: Path) -> None:
    """Those of meta/episodes, by feature, in the shapes that the loader checks."""
    rows = lines(exported / "meta/episodes_stats.jsonl")
    source = read_meta(dataset).episodes_with_statistics().to_pylist()

    assert [row["episode_index"] for row in rows] == [0, 1, 2, 3]
    for row, expected in zip(rows, source, strict=True):
        named = {
            f"stats/{feature}/{name}": value
            for feature, values in row["stats"].items()
            for name, value in values.items()
        }
        assert named == {key: value for key, value in expected.items() if key[:6] == "stats/"}
        assert np.array(row["stats"][HEAD]["mean"]).shape == (3, 1, 1)
        assert row["stats"]["reward"]["count"] == [expected["length"]]


def test_the_schema_is_kept_with_lists_called_sequence(exported: Path, dataset: Path) -> None:
    """Older releases of Hugging Face's datasets refuse the name List."""
    ours = pq.read_schema(exported / "data/chunk-000/episode_000002.parquet")
    original = pq.read_schema(dataset / DATA)

    assert ours.remove_metadata() == original.remove_metadata()
    described = json.loads(ours.metadata[b"huggingface"])["info"]["features"]
    assert described["action"] == {
        "feature": {"dtype": "float32", "_type": "Value"},
        "length": 14,
        "_type": "Sequence",
    }
    assert described["adv_ind"] == {"dtype": "string", "_type": "Value"}
    assert list(described) == original.names
    table = pq.read_table(exported / "data/chunk-000/episode_000002.parquet")
    assert table.equals(pq.read_table(dataset / DATA).slice(27, 10))


def test_the_export_stands_alone(dataset: Path, tmp_path: Path) -> None:
    """No file is shared with the source, all can be read by others and written by their owner."""
    merge_datasets([dataset, dataset], tmp_path / "merged")
    for path in (tmp_path / "merged").rglob("*"):
        path.chmod(0o500 if path.is_dir() else 0o400)
    (tmp_path / "merged").chmod(0o700)
    (tmp_path / "merged" / "artifact.json").write_text("{}")
    previous = os.umask(0o077)
    try:
        summary = export_v21(tmp_path / "merged", tmp_path / "v21")
        copy = export_v30(tmp_path / "merged", tmp_path / "v30")
    finally:
        os.umask(previous)

    for root, number in ((tmp_path / "v21", 24), (tmp_path / "v30", 24)):
        files = [path for path in root.rglob("*") if not path.is_dir()]
        assert len([path for path in files if path.suffix == ".mp4"]) == number
        for path in files:
            status = path.lstat()
            assert (status.st_mode, status.st_nlink) == (stat.S_IFREG | 0o644, 1)
        assert all(
            path.stat().st_mode & 0o777 == 0o755 for path in root.rglob("*") if path.is_dir()
        )
        assert not (root / "artifact.json").exists()
    assert summary._replace(num_bytes=0) == copy._replace(num_bytes=0)
    assert summary.num_bytes == sum(
        path.stat().st_size for path in (tmp_path / "v21").rglob("*") if path.is_file()
    )


def test_a_v30_copy_is_equal(dataset: Path, tmp_path: Path) -> None:
    """Every file, byte for byte."""
    export_v30(dataset, tmp_path / "copy")

    for path in dataset.rglob("*"):
        if path.is_file():
            assert (tmp_path / "copy" / path.relative_to(dataset)).read_bytes() == path.read_bytes()


def test_equal_datasets_give_equal_bytes(exported: Path, dataset: Path, tmp_path: Path) -> None:
    """Whatever the number of threads."""
    export_v21(dataset, tmp_path / "again", max_workers=1)

    for path in exported.rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(exported)
            assert other.read_bytes() == path.read_bytes()


def test_more_than_a_thousand_episodes_take_several_chunks(tmp_path: Path) -> None:
    """Chunks count episodes, not files."""
    root, count = tmp_path / "v30", np.arange(1001)
    with DatasetWriter(root, {ACTION: vector_feature(["x", "y"])}, fps=10) as writer:
        writer.add_episode(
            {ACTION: np.stack([count, -count], axis=1).astype(np.float32)},
            task="wait",
            origin=Origin("here", 0, ""),
            videos={},
            image_statistics={},
        )
        writer.finish()
    # One episode of 1001 frames becomes 1001 episodes of one frame.
    table = pq.read_table(root / DATA)
    for name, values in {"episode_index": count, "frame_index": 0 * count}.items():
        table = with_values(table, name, lambda _, values=values: values)
    pq.write_table(with_values(table, "timestamp", np.zeros_like), root / DATA)
    episodes = {"episode_index": count, "tasks": [["wait"]] * 1001, "length": 0 * count + 1}
    pq.write_table(pa.table(episodes), root / EPISODES)
    edit_info(lambda info: info.update(total_episodes=1001))(root)

    export_v21(root, tmp_path / "v21")

    info = json.loads((tmp_path / "v21/meta/info.json").read_text())
    assert (info["total_chunks"], info["total_videos"], info["video_path"]) == (2, 0, None)
    assert len(list((tmp_path / "v21/data/chunk-000").iterdir())) == 1000
    (last,) = (tmp_path / "v21/data/chunk-001").iterdir()
    assert last.name == "episode_001000.parquet"
    assert pq.read_table(last).column(ACTION).to_pylist() == [[1000.0, -1000.0]]


def test_statistics_that_are_missing_are_taken(
    dataset: Path, exported: Path, tmp_path: Path
) -> None:
    """From rows and pictures, as the converter does; the loader cannot do without."""
    root = shutil.copytree(dataset, tmp_path / "plain")
    table = pq.read_table(root / EPISODES)
    names = [name for name in table.column_names if not name.startswith("stats/")]
    pq.write_table(table.select(names), root / EPISODES)

    export_v21(root, tmp_path / "v21")

    ours, expected = (
        (path / "meta/episodes_stats.jsonl").read_text() for path in (tmp_path / "v21", exported)
    )
    assert ours == expected


def test_encoding_anew_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the summary and in the log, with the episodes and the file."""
    source = write_shared_dataset(tmp_path / "v30", [4, 3, 5], ONE_KEYFRAME)
    caplog.set_level("INFO", logger="recap_core")

    summary = export_v21(source, tmp_path / "v21")

    assert summary.num_encoded_videos == 4
    assert len(caplog.messages) == 2
    assert "2 of 3 episodes in" in caplog.messages[0]
    assert caplog.messages[0].endswith("lossless: [1, 2]")


def edit_info(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "meta/info.json"
        info = json.loads(path.read_text())
        change(info)
        path.write_text(json.dumps(info))

    return edit


def edit_table(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        pq.write_table(change(pq.read_table(root / name)), root / name)

    return edit


def with_values(table: pa.Table, name: str, change: Callable[[np.ndarray], np.ndarray]) -> pa.Table:
    index = table.schema.get_field_index(name)
    field = table.schema.field(index)
    values = pa.array(change(table.column(name).to_numpy().copy()), field.type)
    return table.set_column(index, field, values)


def rename_camera(info: dict[str, Any]) -> None:
    info["features"]["../../../escaped"] = info["features"].pop(HEAD)


def shorten_video(root: Path) -> None:
    path = root / f"videos/{HEAD}/chunk-000/file-002.mp4"
    path.write_bytes(path.read_bytes()[:-400])


def spoil_parquet(root: Path) -> None:
    content = bytearray((root / DATA).read_bytes())
    content[200:1200] = bytes(1000)
    (root / DATA).write_bytes(content)


MALFORMED = {
    "no video": (
        lambda root: (root / f"videos/{HEAD}/chunk-000/file-001.mp4").unlink(),
        "file-001.mp4 cannot be opened",
    ),
    "short video": (shorten_video, "file-002.mp4 .*damaged|file-002.mp4 holds"),
    "no data": (lambda root: shutil.rmtree(root / "data"), "do not hold the 46 rows"),
    "damaged data": (spoil_parquet, "file-000.parquet cannot be read"),
    "fewer rows": (edit_table(DATA, lambda t: t.slice(0, 45)), "do not hold the 46 rows"),
    "rows swapped": (
        edit_table(DATA, lambda t: t.take([1, 0, *range(2, 46)])),
        "frame_index in row 0 of episode 0",
    ),
    "a gap": (
        edit_table(DATA, lambda t: with_values(t, "index", lambda v: v + (v > 20))),
        r"index in row 9 of episode 1 .* is 22, but must be 21 \(6 of 15 rows",
    ),
    "clock drift": (
        edit_table(DATA, lambda t: with_values(t, "timestamp", lambda v: v * 1.01)),
        "timestamp in row 1 of episode 0",
    ),
    "no timestamps": (
        edit_table(DATA, lambda t: t.drop_columns(["timestamp"])),
        "episode 0 of .* lacks timestamp",
    ),
    "a gap in tasks": (
        edit_table("meta/tasks.parquet", lambda t: with_values(t, "task_index", lambda v: 2 * v)),
        r"numbers its tasks \[0, 2\]",
    ),
    "episode repeated": (
        edit_table(EPISODES, lambda t: with_values(t, "episode_index", lambda v: np.minimum(v, 2))),
        r"episode_index of episode 3 .* is 2, but must count",
    ),
    "no video places": (
        edit_table(EPISODES, lambda t: t.drop_columns([f"videos/{HEAD}/from_timestamp"])),
        "has no column videos/.*/from_timestamp",
    ),
    "empty video place": (
        edit_table(
            EPISODES,
            lambda t: t.set_column(
                t.schema.get_field_index(f"videos/{HEAD}/file_index"),
                f"videos/{HEAD}/file_index",
                pa.array([None, 0, 0, 0], pa.int64()),
            ),
        ),
        "videos/.*/file_index in meta/episodes .* 1 empty cells",
    ),
    "no episodes": (
        lambda root: (
            edit_info(lambda info: info.update(total_episodes=0, total_frames=0))(root),
            edit_table(EPISODES, lambda t: t.slice(0, 0))(root),
        ),
        "has no episode",
    ),
    "wrong video place": (
        edit_table(
            EPISODES,
            lambda t: with_values(
                with_values(t, f"videos/{HEAD}/from_timestamp", lambda v: v + 0.3),
                f"videos/{HEAD}/to_timestamp",
                lambda v: v + 0.3,
            ),
        ),
        "holds 9 frames for the 12 rows of episode 0",
    ),
    "camera outside": (edit_info(rename_camera), "escaped.* must be a plain name"),
    "template outside": (
        edit_info(lambda info: info.update(video_path="/etc/{video_key}")),
        "video_path .*/etc/.* leads out of the dataset",
    ),
    "template unknown": (
        edit_info(lambda info: info.update(video_path="{camera}.mp4")),
        "video_path .* unknown part {camera}",
    ),
    "v2.1": (
        edit_info(lambda info: info.update(codebase_version="v2.1")),
        "version 'v2.1', but v3.0 is needed",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_dataset_is_refused(dataset: Path, tmp_path: Path, name: str) -> None:
    """One error that names the fault, and nothing is left behind."""
    root = shutil.copytree(dataset, tmp_path / "source")
    damage, message = MALFORMED[name]
    damage(root)

    with pytest.raises(RecapError, match=message):
        export_v21(root, tmp_path / "v21")
    assert list(tmp_path.iterdir()) == [root]


def test_a_camera_cannot_place_its_video_outside(dataset: Path, tmp_path: Path) -> None:
    """Names of features become directories of the result."""
    root = shutil.copytree(dataset, tmp_path / "source")
    edit_info(rename_camera)(root)
    table = pq.read_table(root / EPISODES)
    names = [name.replace(HEAD, "../../../escaped") for name in table.column_names]
    pq.write_table(table.rename_columns(names), root / EPISODES)

    with pytest.raises(DataError, match=r"escaped.* must be a plain name"):
        export_v21(root, tmp_path / "v21")


def test_what_exists_is_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    """A directory with content is left as it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")

    for export in (export_v21, export_v30):
        with pytest.raises(DataError, match="is not empty"):
            export(dataset, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
