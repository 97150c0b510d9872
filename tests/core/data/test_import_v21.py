"""v2.1 datasets from elsewhere: what is accepted, and what is refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recap_core.data.export_v21 import export_v21
from recap_core.data.frames import read_frames
from recap_core.data.import_v21 import import_v21
from recap_core.data.layout import read_meta
from recap_core.errors import ConfigError, DataError, RecapError
from tests.core.data.shared_videos import (
    CAMERAS,
    ONE_KEYFRAME,
    assert_same_dataset,
    encode,
    write_shared_dataset,
)

LENGTHS = [5, 4, 6]
DATA = "data/chunk-000/episode_000001.parquet"
VIDEO = f"videos/chunk-000/{CAMERAS[0]}/episode_000001.mp4"


@pytest.fixture(scope="module")
def v30(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes with two cameras."""
    return write_shared_dataset(tmp_path_factory.mktemp("import") / "v30", LENGTHS)


@pytest.fixture(scope="module")
def v21(v30: Path) -> Path:
    """The same as v2.1."""
    export_v21(v30, v30.parent / "v21")
    return v30.parent / "v21"


def edit_json(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change every object of a JSON or JSON lines file."""

    def edit(root: Path) -> None:
        path = root / "meta" / name
        texts = path.read_text().splitlines() if name.endswith("l") else [path.read_text()]
        rows = [json.loads(text) for text in texts]
        for row in rows:
            change(row)
        path.write_text("\n".join(json.dumps(row) for row in rows))

    return edit


def edit_rows(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Change the rows of the second episode."""
    return lambda root: pq.write_table(change(pq.read_table(root / DATA)), root / DATA)


def replaced(name: str, change: Callable[[list[Any]], Any], kind: pa.DataType | None = None) -> Any:  # noqa: ANN401 - an edit
    """Change the cells of one column of the second episode."""

    def change_table(table: pa.Table) -> pa.Table:
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        values = pa.array(change(table.column(name).to_pylist()), kind or field.type)
        return table.set_column(index, pa.field(name, values.type), values)

    return edit_rows(change_table)


def info(**changes: object) -> Callable[[Path], None]:
    return edit_json("info.json", lambda row: row.update(changes))


def feature(name: str, **changes: object) -> Callable[[Path], None]:
    return edit_json("info.json", lambda row: row["features"][name].update(changes))


def test_videos_are_shared_not_copied(v21: Path, tmp_path: Path) -> None:
    """One video of one episode is a valid v3.0 file."""
    import_v21(v21, tmp_path / "v30")

    ours, theirs = ({p.stat().st_ino for p in r.rglob("*.mp4")} for r in (tmp_path / "v30", v21))
    assert ours == theirs


def test_what_the_summary_says(v21: Path, tmp_path: Path) -> None:
    """Episodes, frames, tasks in their order, cameras, rounds."""
    summary = import_v21(v21, tmp_path / "v30")

    assert (summary.num_episodes, summary.num_frames, summary.fps) == (3, 15, 10)
    assert summary.tasks == ("fold the café towel 折", "lift")
    assert (summary.cameras, summary.num_rounds) == (CAMERAS, 3)


def without_extras(root: Path) -> None:
    """As other tools write it: no quantiles, no origin, lines in any order, Windows line ends."""
    path = root / "meta/episodes_stats.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        for stats in row["stats"].values():
            for name in [name for name in stats if name.startswith("q")]:
                del stats[name]
    path.write_bytes("\r\n".join(json.dumps(row) for row in reversed(rows)).encode())
    edit_json("episodes.jsonl", lambda row: [row.pop(k) for k in ("source", "round")])(root)


def test_a_dataset_of_another_tool(v21: Path, v30: Path, tmp_path: Path) -> None:
    """Its own statistics are kept, and it counts as demonstrations of its directory's name."""
    root = shutil.copytree(v21, tmp_path / "theirs")
    without_extras(root)

    import_v21(root, tmp_path / "ours")

    ours = read_frames(tmp_path / "ours")
    assert ours.sources == ("theirs",) * 3
    assert ours.rounds.tolist() == [0, 0, 0]
    rows = ours.meta.episodes_with_statistics().to_pylist()
    expected = read_meta(v30).episodes_with_statistics().to_pylist()
    for row, other in zip(rows, expected, strict=True):
        names = {name for name in row if name.startswith(f"stats/{CAMERAS[0]}/")}
        assert {name.rpartition("/")[2] for name in names} == {"min", "max", "mean", "std", "count"}
        assert all(row[name] == other[name] for name in names)
    stats = json.loads((tmp_path / "ours/meta/stats.json").read_text())
    assert "q50" in stats["action"]
    assert "q50" not in stats[CAMERAS[0]]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "meta/episodes_stats.jsonl").unlink(),
        edit_json("episodes_stats.jsonl", lambda row: row["stats"].pop(CAMERAS[0])),
        edit_json("episodes_stats.jsonl", lambda row: row.update(stats=None)),
        edit_json("episodes_stats.jsonl", lambda row: row["stats"][CAMERAS[1]].update(std=[1, 2])),
        edit_json("episodes_stats.jsonl", lambda row: row.update(episode_index=[0])),
        edit_json("episodes_stats.jsonl", lambda row: row["stats"][CAMERAS[1]].update(q10=10**400)),
    ],
    ids=["v2.0", "one camera", "null", "wrong shape", "index is a list", "no float"],
)
def test_statistics_of_images_that_are_missing_are_taken(
    v21: Path, v30: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """v2.0 had none per episode: pictures are decoded as the converter does."""
    root = shutil.copytree(v21, tmp_path / "v20")
    change(root)
    info(codebase_version="v2.0")(root)

    import_v21(root, tmp_path / "ours")

    assert_same_dataset(tmp_path / "ours", v30)


@pytest.mark.parametrize("list_of", [pa.list_, pa.large_list])
def test_scalars_in_lists_of_one_are_scalars(
    v21: Path, v30: Path, tmp_path: Path, list_of: Callable[[pa.DataType], pa.DataType]
) -> None:
    """Some writers store features of shape [1] so; vectors may be lists of any length."""
    root = shutil.copytree(v21, tmp_path / "lists")
    wrapped = lambda cells: [[cell] for cell in cells]  # noqa: E731 - short
    replaced("is_open", wrapped, list_of(pa.bool_()))(root)
    replaced("adv_ind", wrapped, pa.list_(pa.large_string(), 1))(root)
    replaced("action", list, list_of(pa.float32()))(root)

    import_v21(root, tmp_path / "ours")

    assert_same_dataset(tmp_path / "ours", v30)


def test_trees_of_symbolic_links_are_followed(v21: Path, v30: Path, tmp_path: Path) -> None:
    """The reference stack's v2.1 is links into a v3.0 tree; ours has none."""
    for path in v21.rglob("*"):
        target = tmp_path / "links" / path.relative_to(v21)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)

    import_v21(tmp_path / "links", tmp_path / "ours")

    assert not any(path.is_symlink() for path in (tmp_path / "ours").rglob("*"))
    assert_same_dataset(tmp_path / "ours", v30)


def test_other_paths_and_chunks_are_found(v21: Path, v30: Path, tmp_path: Path) -> None:
    """info.json says where files are and how many episodes are in a directory."""
    root = shutil.copytree(v21, tmp_path / "v21")
    for kind in ("data", "videos"):
        (root / kind / "chunk-000").rename(root / kind / "0")
    for path in list(root.rglob("episode_000002.*")):
        target = Path(str(path).replace("/0/", "/1/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    info(
        chunks_size=2,
        data_path="data/{episode_chunk}/episode_{episode_index:06d}.parquet",
        video_path="videos/{episode_chunk}/{video_key}/episode_{episode_index:06d}.mp4",
    )(root)

    import_v21(root, tmp_path / "ours")

    assert_same_dataset(tmp_path / "ours", v30)


def write_text(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def drop_lines(name: str, keep: slice) -> Callable[[Path], None]:
    def drop(root: Path) -> None:
        path = root / "meta" / name
        path.write_text("\n".join(path.read_text().splitlines()[keep]))

    return drop


def swap_video(root: Path) -> None:
    shutil.copy(root / VIDEO.replace("000001", "000002"), root / VIDEO)


def spoil_parquet(root: Path) -> None:
    content = bytearray((root / DATA).read_bytes())
    content[50:350] = bytes(300)
    (root / DATA).write_bytes(content)


def half_a_video(root: Path) -> None:
    encode(root / VIDEO, [4], ONE_KEYFRAME)
    os.truncate(root / VIDEO, (root / VIDEO).stat().st_size // 2)


MALFORMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no dataset": (shutil.rmtree, "is no LeRobot dataset"),
    "no info": (lambda root: (root / "meta/info.json").unlink(), "is no LeRobot dataset"),
    "info is no JSON": (write_text("meta/info.json", "{"), "is no LeRobot dataset"),
    "info is a list": (write_text("meta/info.json", "[]"), "holds a list, but must hold an object"),
    "v3.0": (info(codebase_version="v3.0"), "version 'v3.0', but v2.0 or v2.1 is needed"),
    "v1.6": (info(codebase_version="v1.6"), "version 'v1.6'"),
    "no fps": (info(fps=None), "fps in meta/info.json of .* is None"),
    "fps 29.97": (info(fps=29.97), "fps in meta/info.json of .* is 29.97"),
    "fps not finite": (info(fps=float("nan")), "fps in meta/info.json of .* is nan"),
    "zero episodes": (info(total_episodes=0), "total_episodes .* is 0"),
    "chunks of 0": (info(chunks_size=0), "chunks_size .* is 0"),
    "features are a list": (info(features=[]), "features in meta/info.json"),
    "no shape": (feature("action", shape=None), "feature action in meta/info.json"),
    "no dtype": (feature("action", dtype=None), "feature action in meta/info.json"),
    "image in parquet": (feature("action", dtype="image"), "feature action .* dtype image"),
    "matrix": (feature("action", shape=[1, 3]), r"feature action .* shape \[1, 3\]"),
    "data path outside": (
        info(data_path="../{episode_index}"),
        "data_path .* leads out of the dataset",
    ),
    "video path outside": (
        info(video_path="/{video_key}"),
        "video_path .* leads out of the dataset",
    ),
    "path with code": (info(data_path="{episode_index.real.x}"), "data_path .* unknown part"),
    "robot is a list": (info(robot_type=["a"]), "robot_type in meta/info.json"),
    "size of half a number": (feature("action", shape=[3.0]), r"feature action .* shape \[3.0\]"),
    "path in a feature name": (
        edit_json("info.json", lambda row: row["features"].update({"../x": {}})),
        r"a feature in meta/info.json of .* is '\.\./x'",
    ),
    "path is a number": (
        info(data_path=3),
        "data_path in meta/info.json of .* is 3, which is no text",
    ),
    "no tasks": (lambda root: (root / "meta/tasks.jsonl").unlink(), "tasks.jsonl cannot be read"),
    "task is a number": (edit_json("tasks.jsonl", lambda row: row.update(task=3)), "text of its"),
    "half a character": (
        edit_json("tasks.jsonl", lambda row: row.update(task="\ud800")),
        "tasks.jsonl cannot be read, line 1: .* surrogates not allowed",
    ),
    "task_index is a list": (
        edit_json("tasks.jsonl", lambda row: row.update(task_index=[0])),
        "0 lines with task_index 0",
    ),
    "task twice": (edit_json("tasks.jsonl", lambda row: row.update(task="lift")), "text of its"),
    "a gap in tasks": (drop_lines("tasks.jsonl", slice(1, 2)), "0 lines with task_index 0"),
    "no episodes": (
        lambda root: (root / "meta/episodes.jsonl").unlink(),
        "episodes.jsonl cannot be read",
    ),
    "fewer episodes": (drop_lines("episodes.jsonl", slice(0, 2)), "holds 2 episodes.* says 3"),
    "a gap in episodes": (
        drop_lines("episodes.jsonl", slice(1, 3)),
        "0 lines with episode_index 0",
    ),
    "episode twice": (
        edit_json("episodes.jsonl", lambda row: row.update(episode_index=0)),
        "3 lines with episode_index 0",
    ),
    "half a line": (write_text("meta/episodes.jsonl", '{"episode_index": 0, "len'), "line 1: "),
    "nested too deeply": (
        write_text("meta/episodes.jsonl", "[" * 100_000 + "]" * 100_000),
        "episodes.jsonl cannot be read, line 1: ",
    ),
    "round beyond int64": (
        edit_json("episodes.jsonl", lambda row: row.update(round=10**30)),
        "and round 1000",
    ),
    "line is a number": (write_text("meta/episodes.jsonl", "7"), "line 1: "),
    "binary": (
        lambda root: (root / "meta/episodes.jsonl").write_bytes(b"\xff\xfe\x00"),
        "episodes.jsonl cannot be read",
    ),
    "length 0": (edit_json("episodes.jsonl", lambda row: row.update(length=0)), "has length 0"),
    "length is text": (edit_json("episodes.jsonl", lambda row: row.update(length="5")), "'5'"),
    "frames disagree": (info(total_frames=16), "holds 15 frames, but info.json says 16"),
    "no parquet": (lambda root: (root / DATA).unlink(), "episode_000001.parquet cannot be read"),
    "damaged parquet": (spoil_parquet, "episode_000001.parquet cannot be read"),
    "cut parquet": (lambda root: os.truncate(root / DATA, 900), "cannot be read"),
    "fewer rows": (edit_rows(lambda t: t.slice(1)), "holds 3 rows, but .* says 4"),
    "duplicate frame": (edit_rows(lambda t: t.take([0, 1, 1, 3])), "frame_index in row 2"),
    "rows of another episode": (
        replaced("episode_index", lambda cells: [2 for _ in cells]),
        "episode_index in row 0 .* is 2, but must be 1",
    ),
    "index starts over": (
        replaced("index", lambda cells: [cell - 5 for cell in cells]),
        "index in row 0 .* is 0, but must be 5",
    ),
    "time not a number": (
        replaced("timestamp", lambda cells: [cells[0], float("nan"), *cells[2:]]),
        "timestamp in row 1 .* is nan",
    ),
    "empty index": (replaced("index", lambda cells: [None, *cells[1:]]), "empty cells in it"),
    "unknown task": (replaced("task_index", lambda cells: [7] * len(cells)), r"indices \[7\]"),
    "two tasks": (
        replaced("task_index", lambda cells: [0] + [1] * (len(cells) - 1)),
        r"task indices \[0, 1\]",
    ),
    "no column": (edit_rows(lambda t: t.drop_columns(["force"])), "has no column force"),
    "wrong dtype": (
        replaced("force", list, pa.float32()),
        "force in .* is of type float, but info.json says float64",
    ),
    "text for numbers": (
        replaced("action", lambda cells: ["a"] * len(cells), pa.string()),
        "action in .* is of type string",
    ),
    "short vector": (
        replaced("action", lambda cells: [[0.0], *cells[1:]], pa.list_(pa.float32())),
        r"action in .* has cells of \[1, 3\] numbers",
    ),
    "empty cells": (
        replaced("action", lambda cells: [[0.0, None, 0.0], *cells[1:]], pa.list_(pa.float32())),
        "action in .* has 1 empty cells",
    ),
    "no video": (lambda root: (root / VIDEO).unlink(), "cannot be opened"),
    "empty video": (lambda root: os.truncate(root / VIDEO, 0), "cannot be opened"),
    "cut video": (
        lambda root: os.truncate(root / VIDEO, (root / VIDEO).stat().st_size - 9),
        "episode_000001.mp4",
    ),
    "half a video": (half_a_video, "episode_000001.mp4"),
    "another video": (swap_video, "holds 6 frames, but its episode has 4 rows"),
    "no video in the file": (
        lambda root: shutil.copy(root / DATA, root / VIDEO),
        "cannot be opened",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_dataset_is_refused(v21: Path, tmp_path: Path, name: str) -> None:
    """One error that names the fault and says what to do; nothing is left behind."""
    root = shutil.copytree(v21, tmp_path / "source")
    damage, message = MALFORMED[name]
    damage(root)

    with pytest.raises(RecapError, match=message) as raised:
        import_v21(root, tmp_path / "ours")
    assert str(raised.value).rstrip().endswith(".")
    assert not (tmp_path / "ours").exists()


def test_a_feature_name_leads_nowhere(v21: Path, tmp_path: Path) -> None:
    """Also where the source's own paths do not contain it."""
    root = shutil.copytree(v21, tmp_path / "source")

    def rename(described: dict[str, Any]) -> None:
        described["features"]["../../../escaped"] = described["features"].pop(CAMERAS[0])
        described["video_path"] = described["video_path"].replace("{video_key}", CAMERAS[0])

    edit_json("info.json", rename)(root)
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(DataError, match=r"'\.\./\.\./\.\./escaped', but must be a plain name"):
        import_v21(root, tmp_path / "ours")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_dropped_is_not_looked_at(v21: Path, tmp_path: Path) -> None:
    """A column that v3.0 cannot hold, one that is broken, and a camera without its files."""
    root = shutil.copytree(v21, tmp_path / "source")
    feature("force", dtype="image", shape=[2, 2, 3])(root)
    edit_rows(lambda table: table.drop_columns(["is_open"]))(root)
    (root / VIDEO).unlink()

    import_v21(root, tmp_path / "ours", drop=("force", "is_open", CAMERAS[0]))

    ours = read_meta(tmp_path / "ours")
    assert ours.cameras == CAMERAS[1:]
    assert not {"force", "is_open"} & set(ours.features)
    for name in ("no such column", "index"):
        with pytest.raises(ConfigError, match=f"drop names '{name}', but"):
            import_v21(v21, tmp_path / "other", drop=(name,))


def test_what_exists_is_not_overwritten(v21: Path, tmp_path: Path) -> None:
    """A directory with content is left as it is."""
    (tmp_path / "notes.txt").write_text("keep")

    with pytest.raises(DataError, match="is not empty"):
        import_v21(v21, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
