"""Datasets that LeRobot's own writer made become RECAP datasets."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.adopt import adopt_dataset
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.import_record import read_import_record
from recap_core.data.layout import read_meta
from recap_core.data.lerobot_bridge import open_dataset
from recap_core.data.merge import merge_datasets
from recap_core.errors import ColumnError, ConfigError, DataError, RecapError

TOP = "observation.images.top"
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = f"videos/{TOP}/chunk-000/file-000.mp4"
LENGTHS = (5, 6, 4)
RECAP = ("intervention", "reward", "reward_label", "value_label", "adv_ind", "phase")


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).digest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def per_frame(values: list[Any]) -> list[Any]:
    """One value per episode, repeated for its frames."""
    return [v for value, length in zip(values, LENGTHS, strict=True) for v in [value] * length]


def at_end(values: list[Any], elsewhere: object = 0) -> list[Any]:
    """One value per episode at its last frame."""
    return [
        value if t == length - 1 else elsewhere
        for value, length in zip(values, LENGTHS, strict=True)
        for t in range(length)
    ]


def feature(dtype: str, shape: tuple[int, ...] = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "names": None}


def altered(
    foreign: Path,
    target: Path,
    *,
    without: tuple[str, ...] = (),
    columns: Mapping[str, tuple[str, Any]] | None = None,
    episodes: Mapping[str, Any] | None = None,
    info: Callable[[dict[str, Any]], Any] = lambda _: None,
) -> Path:
    """A copy of a dataset with other columns (dtype and values), episode metadata and info."""
    root = shutil.copytree(foreign, target)
    described = json.loads((root / "meta/info.json").read_text())
    table = pq.read_table(root / DATA).drop_columns(list(without))
    for name in without:
        del described["features"][name]
    for name, (dtype, values) in (columns or {}).items():
        array = values if isinstance(values, pa.Array) else pa.array(values)
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, array)
        described["features"].setdefault(name, feature(dtype))
    info(described)
    (root / "meta/info.json").write_text(json.dumps(described))
    pq.write_table(table, root / DATA)
    if episodes:
        rows = pq.read_table(root / EPISODES)
        for name, values in episodes.items():
            if name in rows.column_names:
                rows = rows.drop_columns([name])
            rows = rows.append_column(name, pa.array(values))
        pq.write_table(rows, root / EPISODES)
    return root


def adopt(root: Path, output: Path, **settings: object) -> FrameTable:
    adopt_dataset(root, output, ImportConfig.model_validate(settings))
    return read_frames(output)


@pytest.fixture(scope="session")
def adopted(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The foreign dataset, imported with no setting at all."""
    root = tmp_path_factory.mktemp("adopted") / "dataset"
    adopt_dataset(foreign, root, ImportConfig(source="lab-a"))
    return root


def test_the_columns_of_a_dagger_recording(adopted: Path) -> None:
    """Boolean intervention and next.success become the five columns, computed by hand here."""
    table = read_frames(adopted)

    assert table.column("intervention").tolist() == [0, 0, 1, 1, 0] + [0] * 10
    assert table.column("intervention").dtype == np.int64
    assert table.column("reward").tolist() == at_end([1, 0, 1])
    assert table.column("adv_ind").tolist() == ["none"] * 2 + ["positive"] * 2 + ["none"] * 11
    assert table.column("phase").tolist()[1:4] == ["autonomous", "correcting", "correcting"]
    np.testing.assert_allclose(
        table.column("value_label"),
        [-0.8, -0.6, -0.4, -0.2, 0, *[-1] * 6, -0.75, -0.5, -0.25, 0],
        rtol=1e-6,
    )
    np.testing.assert_allclose(table.column("reward_label")[:6], [*[-0.2] * 4, 0, -1 / 6])


def test_lerobot_reads_the_same_frames_as_before(foreign: Path, adopted: Path) -> None:
    """Pictures, columns and task texts are equal; only the RECAP columns differ."""
    before, after = open_dataset(foreign), open_dataset(adopted)

    assert len(after) == len(before) == 15
    for index in range(15):
        old, new = cast("dict[str, Any]", before[index]), cast("dict[str, Any]", after[index])
        assert set(new) - set(old) == set(RECAP) - {"intervention"}
        for name, value in old.items():
            if isinstance(value, str):
                assert new[name] == value
            else:
                np.testing.assert_array_equal(new[name].numpy(), value.numpy())


def test_videos_are_shared_and_the_source_is_untouched(foreign: Path, tmp_path: Path) -> None:
    """Same inode, or a copy on request; every file of the source keeps its bytes."""
    before = tree(foreign)

    adopt_dataset(foreign, tmp_path / "linked", ImportConfig())
    adopt_dataset(foreign, tmp_path / "copied", ImportConfig(), copies=True)

    assert tree(foreign) == before
    assert (tmp_path / "linked" / VIDEO).stat().st_ino == (foreign / VIDEO).stat().st_ino
    assert (tmp_path / "copied" / VIDEO).stat().st_ino != (foreign / VIDEO).stat().st_ino
    assert tree(tmp_path / "copied") == tree(tmp_path / "linked")


def test_metadata_and_statistics(foreign: Path, adopted: Path) -> None:
    """Robot, features, fixed-size lists, tasks, origin; statistics of new columns and of images."""
    old, new = read_meta(foreign), read_meta(adopted)

    assert (new.robot_type, new.fps, new.tasks) == ("so101", 10, ("lift", "push"))
    assert new.features[TOP]["info"] == old.features[TOP]["info"]
    assert new.features["intervention"] == {
        "dtype": "int64",
        "shape": [1],
        "names": ["intervention_flag"],
    }
    schema = pq.ParquetFile(adopted / DATA).schema_arrow
    assert schema.field("action").type == pa.list_(pa.float32(), 2)
    rows = new.episodes_with_statistics()
    assert rows.column("source").to_pylist() == ["lab-a"] * 3
    assert rows.column("round").to_pylist() == [1] * 3
    assert rows.column("raw_episode").to_pylist() == [f"episode_{i:06d}" for i in range(3)]
    assert rows.column("stats/reward/max").to_pylist() == [[1], [0], [1]]
    image = f"stats/{TOP}/mean"
    assert rows.column(image) == old.episodes_with_statistics().column(image)


def test_the_record_says_what_was_found(adopted: Path) -> None:
    """Counts, and where every column comes from."""
    record = read_import_record(adopted)

    assert (record.num_successes, record.num_intervention_frames) == (2, 2)
    assert record.made_from["outcome"] == "next.success true at any frame"
    assert record.made_from["intervention"] == "column intervention"
    assert record.cameras == {TOP: "shared"}


def test_an_imported_dataset_merges_with_our_own(
    adopted: Path, foreign: Path, tmp_path: Path
) -> None:
    """It has the features of every RECAP dataset; a second import is another round."""
    adopt(foreign, tmp_path / "demos", demonstrations=True, recompute=["intervention"])

    merge_datasets([tmp_path / "demos", adopted], tmp_path / "merged")

    table = read_frames(tmp_path / "merged")
    assert table.rounds.tolist() == [0] * 3 + [1] * 3
    assert table.is_demonstration.tolist() == [True] * 15 + [False] * 15
    assert table.success.tolist() == [True] * 4 + [False, True]


def test_importing_twice_gives_the_same_bytes(adopted: Path, tmp_path: Path) -> None:
    """A RECAP dataset is imported as it is: every column is kept."""
    table = adopt(adopted, tmp_path / "again")

    before = read_frames(adopted)
    for name in (*RECAP, "next.success", "note", "action"):
        np.testing.assert_array_equal(table.column(name), before.column(name))
    assert table.sources == ("lab-a",) * 3
    adopt(adopted, tmp_path / "third")
    assert tree(tmp_path / "third") == tree(tmp_path / "again")


SOURCES: dict[str, Callable[[list[bool]], dict[str, Any]]] = {
    "next.success": lambda s: {"columns": {"next.success": ("bool", at_end(s, elsewhere=False))}},
    "success": lambda s: {"columns": {"success": ("int64", per_frame([int(x) for x in s]))}},
    "text": lambda s: {
        "columns": {"is_success": ("string", per_frame(["Success" if x else "failure" for x in s]))}
    },
    "reward": lambda s: {"columns": {"reward": ("float64", [float(x) for x in at_end(s)])}},
    "next.reward": lambda s: {
        "columns": {"next.reward": ("float32", pa.array(at_end(s), pa.float32()))}
    },
    "metadata": lambda s: {"episodes": {"is_success": s}},
    "words": lambda s: {
        "episodes": {"episode_success": ["success" if x else "failure" for x in s]}
    },
}


@given(success=st.lists(st.booleans(), min_size=3, max_size=3), kind=st.sampled_from([*SOURCES]))
@settings(max_examples=15, deadline=None)
def test_every_source_of_outcomes_gives_the_same_columns(
    foreign: Path, tmp_path_factory: pytest.TempPathFactory, success: list[bool], kind: str
) -> None:
    """Whichever way the same outcomes are stored or told, the RECAP columns are equal."""
    scratch = tmp_path_factory.mktemp("outcomes")
    bare = ("next.success",)
    plain = altered(foreign, scratch / "plain", without=bare)
    stored = altered(foreign, scratch / "stored", without=bare, **SOURCES[kind](success))

    told = adopt(plain, scratch / "told", outcomes=tuple(enumerate(success)))
    found = adopt(stored, scratch / "found")

    assert found.success.tolist() == success
    for name in RECAP:
        np.testing.assert_array_equal(found.column(name), told.column(name))


@pytest.mark.parametrize(
    ("name", "dtype", "values"),
    [
        ("complementary_info.is_intervention", "float32", pa.array([0, 1.0] * 7 + [0], "float32")),
        ("complementary_info.state", "float32", pa.array([0, 1.0] * 7 + [2], "float32")),
        ("is_intervention", "int64", [0, 1] * 7 + [0]),
        ("is_intervention", "int64", pa.array([[0], [1]] * 7 + [[0]])),
        ("phase", "string", ["paused", "correcting"] * 7 + ["autonomous"]),
    ],
)
def test_interventions_of_other_recorders(
    foreign: Path, tmp_path: Path, name: str, dtype: str, values: object
) -> None:
    """Floats, states, integers, lists of one and phases say the same."""
    source = altered(
        foreign, tmp_path / "in", without=("intervention",), columns={name: (dtype, values)}
    )

    table = adopt(source, tmp_path / "out")

    assert table.column("intervention").tolist() == [0, 1] * 7 + [0]
    assert table.column("phase").tolist()[1] == "correcting"


def test_no_intervention_column_means_none(foreign: Path, tmp_path: Path) -> None:
    """And the record says so."""
    source = altered(foreign, tmp_path / "in", without=("intervention",))

    assert not adopt(source, tmp_path / "out").column("intervention").any()
    made_from = read_import_record(tmp_path / "out").made_from
    assert made_from["intervention"] == "0: no column says who drove"


def test_columns_and_cameras_get_other_names(foreign: Path, tmp_path: Path) -> None:
    """Everywhere: data, features, statistics, directories of videos; dropped ones are gone."""
    names = {"observation.state": "state", TOP: "observation.images.head_camera"}

    adopt(foreign, tmp_path / "out", rename=names, drop=("next.success", "note"))

    opened = open_dataset(tmp_path / "out")
    item = cast("dict[str, Any]", opened[14])
    assert item["state"].tolist() == [2, 3]
    assert abs(float(item["observation.images.head_camera"].float().mean()) - 190) < 4
    assert set(opened.meta.features) & {*names, "next.success", "note"} == set()
    assert opened.meta.stats is not None
    assert "state" in opened.meta.stats
    assert read_frames(tmp_path / "out").success.tolist() == [True, False, True]


def test_a_column_renamed_to_a_recap_column_is_one(foreign: Path, tmp_path: Path) -> None:
    """``--rename is_human=intervention`` is enough."""
    source = altered(
        foreign,
        tmp_path / "in",
        without=("intervention",),
        columns={"is_human": ("bool", [True] * 15)},
    )

    table = adopt(source, tmp_path / "out", rename={"is_human": "intervention"})

    assert table.column("intervention").tolist() == [1] * 15
    assert "is_human" not in table.meta.features


def test_symbolic_links_are_content(foreign: Path, tmp_path: Path) -> None:
    """A download cache made of links gives the same dataset, of regular files."""
    cache, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(p for p in foreign.rglob("*") if p.is_file())):
        link = cache / path.relative_to(foreign)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, blobs / str(number))
        link.symlink_to(blobs / str(number))

    adopt(cache, tmp_path / "from_links", source="a")
    adopt(foreign, tmp_path / "from_files", source="a")

    assert tree(tmp_path / "from_links") == tree(tmp_path / "from_files")
    assert not any(path.is_symlink() for path in (tmp_path / "from_links").rglob("*"))


def test_images_in_parquet_become_videos(tmp_path: Path) -> None:
    """LeRobot's ``image`` features are encoded; pixels differ by the codec's loss only."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path / "in"
    image = {"dtype": "image", "shape": (32, 32, 3), "names": ["height", "width", "channels"]}
    written = LeRobotDataset.create(
        "local/images", fps=10, features={TOP: image}, root=root, use_videos=False
    )
    for t in range(3):
        written.add_frame({TOP: np.full((32, 32, 3), 50 + 40 * t, dtype=np.uint8), "task": "lift"})
    written.save_episode()
    written.finalize()

    adopt(root, tmp_path / "out", all_outcomes="success")

    opened = open_dataset(tmp_path / "out")
    for t in range(3):
        pixels = cast("dict[str, Any]", opened[t])[TOP].float()
        assert float((pixels - (50 + 40 * t)).abs().max()) < 4
    assert read_import_record(tmp_path / "out").cameras == {TOP: "encoded"}


def test_statistics_that_are_missing_come_from_the_pictures(foreign: Path, tmp_path: Path) -> None:
    """A dataset without image statistics gets them; LeRobot's own are near."""
    root = shutil.copytree(foreign, tmp_path / "in")
    rows = pq.read_table(root / EPISODES)
    stats = [name for name in rows.column_names if name.startswith(f"stats/{TOP}/")]
    pq.write_table(rows.drop_columns(stats), root / EPISODES)

    adopt(root, tmp_path / "out")

    name = f"stats/{TOP}/mean"
    found = read_meta(tmp_path / "out").episodes_with_statistics().column(name).to_pylist()
    np.testing.assert_allclose(found, rows.column(name).to_pylist(), atol=0.02)


def test_a_column_that_exists_twice(foreign: Path, tmp_path: Path) -> None:
    """Nobody can say which one is meant."""
    root = shutil.copytree(foreign, tmp_path / "in")
    table = pq.read_table(root / DATA)
    pq.write_table(table.append_column("action", table.column("action")), root / DATA)

    with pytest.raises(DataError, match="has two columns action"):
        adopt(root, tmp_path / "out")


def test_a_video_of_an_unknown_codec(foreign: Path, tmp_path: Path) -> None:
    """The file opens, but nothing in it can be decoded."""
    root = shutil.copytree(foreign, tmp_path / "in")
    content = (root / VIDEO).read_bytes()
    (root / VIDEO).write_bytes(content.replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))

    with pytest.raises(DataError, match="has no video stream of a known codec"):
        adopt(root, tmp_path / "out")


def test_columns_that_break_a_rule_are_written_anew_when_told(
    adopted: Path, tmp_path: Path
) -> None:
    """Else the error names the frame, the rule, and how to go on."""
    source = altered(
        adopted,
        tmp_path / "in",
        columns={"value_label": ("float32", pa.array([0.25] * 15, pa.float32()))},
    )

    with pytest.raises(ColumnError, match=r"value_label\[0\] of episode 0 is 0.25, but it rises"):
        adopt(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    table = adopt(source, tmp_path / "out", recompute=["value_label"])

    np.testing.assert_array_equal(
        table.column("value_label"), read_frames(adopted).column("value_label")
    )


def change(path: tuple[str, ...], value: object) -> Callable[[dict[str, Any]], None]:
    def apply(info: dict[str, Any]) -> None:
        for key in path[:-1]:
            info = info[key]
        info[path[-1]] = value

    return apply


MALFORMED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no outcome": (
        {"without": ("next.success",)},
        {},
        r"no outcome is known.*--outcomes FILE.csv, --success-from COLUMN, --all-success",
    ),
    "dense reward": (
        {
            "without": ("next.success",),
            "columns": {"next.reward": ("float32", pa.array([0.1] * 15, pa.float32()))},
        },
        {},
        r"next.reward\[0\] of episode 0 is 0.1: a reward that is not just 1 at the end",
    ),
    "reward of minus one per step": (
        {
            "without": ("next.success",),
            "columns": {"reward": ("float32", pa.array(at_end([0] * 3, -1), pa.float32()))},
        },
        {},
        r"reward\[0\] of episode 0 is -1: a reward",
    ),
    "a missing outcome": (
        {"without": ("next.success",), "episodes": {"success": [True, None, False]}},
        {},
        r"success of episode 1 in meta/episodes is None, which says neither",
    ),
    "success of two": (
        {"without": ("next.success",), "columns": {"success": ("int64", [0, 2, *[0] * 13])}},
        {},
        r"success\[1\] of episode 0 is 2, but it must be 0 or 1",
    ),
    "unknown episode": ({}, {"outcomes": [(0, 1), (1, 0), (2, 1), (3, 1)]}, r"name episode 3"),
    "gap": ({}, {"outcomes": [(0, 1), (2, 1)]}, r"lack episode 1 \(1 of 3 are missing\)"),
    "outcome twice": ({}, {"outcomes": [(0, 1), (0, 1), (1, 1), (2, 1)]}, r"an episode twice"),
    "success_from nothing": ({}, {"success_from": "won"}, r"success_from is 'won', but"),
    "intervention_from nothing": ({}, {"intervention_from": "pedal"}, r"intervention_from is 'pe"),
    "intervention of half": (
        {"columns": {"intervention": ("float32", pa.array([0.5] * 15, pa.float32()))}},
        {},
        r"intervention of episode 0 .* stored as float, but its feature is bool",
    ),
    "intervention differs": (
        {},
        {"demonstrations": True},
        r"intervention\[0\] of episode 0 is False, but it is 1 exactly .*--recompute intervention",
    ),
    "reward differs": (
        {"columns": {"reward": ("float32", pa.array([0] * 15, pa.float32()))}},
        {},
        r"reward\[4\] of episode 0 is 0.0, but it is 0, and 1 at the last frame of a success",
    ),
    "unknown label": (
        {"columns": {"adv_ind": ("string", ["good"] * 15)}},
        {},
        r"adv_ind\[0\] of episode 0 is good, but it is one of none, negative, positive",
    ),
    "label of numbers": (
        {"columns": {"adv_ind": ("int64", [1] * 15)}},
        {},
        r"adv_ind of episode 0 holds int64",
    ),
    "array of two dimensions": (
        {"info": change(("features", "depth"), feature("float32", (4, 4)))},
        {},
        r"feature depth .* has dtype float32 and shape \[4, 4\];.*--drop depth",
    ),
    "language feature": (
        {"info": change(("features", "language_events"), feature("language"))},
        {},
        r"feature language_events .* has dtype language",
    ),
    "odd images": (
        {"info": change(("features", "wrist"), feature("image", (31, 32, 3)))},
        {},
        r"feature wrist holds images of shape \[31, 32, 3\]",
    ),
    "feature without a column": (
        {"info": change(("features", "force"), feature("float32", (3,)))},
        {},
        r"lacks the column force that meta/info.json promises",
    ),
    "path in a feature name": (
        {"info": change(("features", "../../evil"), feature("video", (32, 32, 3)))},
        {},
        r"'\.\./\.\./evil' cannot be the name of a feature",
    ),
    "path in the pattern": (
        {"info": change(("video_path",), "../{video_key}/{chunk_index}/{file_index}.mp4")},
        {},
        r"names the file \.\./.* outside of the dataset",
    ),
    "absolute pattern": (
        {"info": change(("video_path",), "/etc/{video_key}.mp4")},
        {},
        r"names the file /etc/.* outside of the dataset",
    ),
    "broken pattern": (
        {"info": change(("video_path",), "videos/{nobody.__class__}.mp4")},
        {},
        r"path template .* cannot be filled in",
    ),
    "fps of another dataset": (
        {"info": change(("fps",), 20)},
        {},
        r"its observation.images.top runs from 0 s to 0.5 s at 20 fps",
    ),
    "broken fps": ({"info": change(("fps",), 29.97)}, {}, r"has 29.97 frames per second"),
    "fps of text": ({"info": change(("fps",), "ten")}, {}, r"info.json: fps\.\w+ is wrong"),
    "no features": ({"info": change(("features",), [])}, {}, r"features is wrong"),
    "no episodes": ({"info": change(("total_episodes",), 0)}, {}, r"total_episodes is wrong"),
    "another version": (
        {"info": change(("codebase_version",), "v4.0")},
        {},
        r"version 'v4.0', but v3.0 is needed",
    ),
    "jittering timestamps": (
        {"columns": {"timestamp": ("float32", pa.array(np.arange(15) * 0.1, pa.float32()))}},
        {},
        r"timestamp in row 0 of episode 1 of .* is 0.5, but must be 0",
    ),
    "skipped frames": (
        {"columns": {"frame_index": ("int64", [0, 2, *range(2, 15)])}},
        {},
        r"frame_index in row 1 of episode 0 of .* is 2, but must be 1",
    ),
    "empty cells": (
        {"columns": {"note": ("string", [None] * 15)}},
        {},
        r"note of episode 0 .* holds 5 empty cells of 5",
    ),
    "not a number": (
        {"columns": {"force": ("float32", pa.array([float("nan")] * 15, pa.float32()))}},
        {},
        r"force\[0\] of episode 0 .* is nan, but every value must be a finite number",
    ),
    "ragged vectors": (
        {"columns": {"action": ("float32", pa.array([[1.0], [1.0, 2.0, 3.0]] * 7 + [[1.0, 2.0]]))}},
        {},
        r"action of episode 0 .* holds lists of \[1, 3\] numbers",
    ),
    "unknown task": (
        {"columns": {"task_index": ("int64", [7] * 15)}},
        {},
        r"episode 0 .* has task_index 7, but there are 2 tasks",
    ),
    "two tasks in an episode": (
        {"columns": {"task_index": ("int64", [0, 1, *[0] * 13])}},
        {},
        r"episode 0 .* has 2 tasks",
    ),
    "gap in the episodes": (
        {"episodes": {"episode_index": [0, 2, 3]}},
        {},
        r"has episode 2 where episode 1 belongs",
    ),
    "index of text": (
        {"columns": {"frame_index": ("int64", ["a"] * 15)}},
        {},
        r"frame_index of episode 0 .* holds string, not numbers",
    ),
    "episode_index of text": (
        {"episodes": {"episode_index": ["a", "b", "c"]}},
        {},
        r"episode_index in meta/episodes .* holds string with 0 empty cells",
    ),
    "lengths that are too long": (
        {"episodes": {"length": [5, 6, 5]}},
        {},
        r"have 16 frames, but info.json says 15",
    ),
    "span beyond the video": (
        {
            "episodes": {
                f"videos/{TOP}/from_timestamp": [0.0, 0.5, 3.1],
                f"videos/{TOP}/to_timestamp": [0.5, 1.1, 3.5],
            }
        },
        {},
        r"no frame at 3.1 s, where frame 0 of episode 2 belongs .* holds 15 frames",
    ),
    "unknown video file": (
        {"episodes": {f"videos/{TOP}/file_index": [0, 0, 9]}},
        {},
        r"video .*file-009.mp4 is missing",
    ),
    "rename of nothing": ({}, {"rename": {"a": "b"}}, r"rename names 'a', but"),
    "rename onto another": ({}, {"rename": {"action": "note"}}, r"cannot be renamed to note"),
    "rename to a path": ({}, {"rename": {"action": "../x"}}, r"'\.\./x' cannot be the name"),
    "rename to an index": ({}, {"rename": {"action": "index"}}, r"cannot be renamed to index"),
    "drop of nothing": ({}, {"drop": ["a"]}, r"drop names 'a', but"),
    "drop of a RECAP column": ({}, {"drop": ["intervention"]}, r"intervention cannot be dropped"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_input_is_one_clear_error_and_nothing_written(
    foreign: Path, tmp_path: Path, case: str
) -> None:
    """Each names the thing, the value and the rule."""
    edits, settings_, message = MALFORMED[case]
    source = altered(foreign, tmp_path / "in", **edits)
    before = tree(source)

    with pytest.raises(RecapError, match=message):
        adopt(source, tmp_path / "out", **settings_)

    assert not (tmp_path / "out").exists()
    assert tree(source) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (DATA, "parquet file .* cannot be read"),
        (VIDEO, "video .* (cannot be opened|is damaged|has no frame at)"),
        (EPISODES, "parquet file .* cannot be read"),
        ("meta/tasks.parquet", "parquet file .* cannot be read"),
        ("meta/info.json", "info.json cannot be read"),
    ],
)
def test_truncated_files(foreign: Path, tmp_path: Path, path: str, message: str) -> None:
    """Half a file is an error that names it."""
    root = shutil.copytree(foreign, tmp_path / "in")
    content = (root / path).read_bytes()
    (root / path).write_bytes(content[: len(content) // 2])

    with pytest.raises(DataError, match=message):
        adopt(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_damage_anywhere_is_an_error_or_harmless(
    foreign: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A stretch of zeros in any file: refused as a user's error, or read; nothing half-written."""
    scratch = tmp_path_factory.mktemp("damaged")
    root = shutil.copytree(foreign, scratch / "in")
    path = root / data.draw(st.sampled_from([DATA, EPISODES, VIDEO, "meta/tasks.parquet"]))
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + 64] = bytes(len(content[start : start + 64]))
    path.write_bytes(content)

    try:
        table = adopt(root, scratch / "out")
    except DataError:
        assert not (scratch / "out").exists()
    else:
        assert table.num_frames == 15


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"demonstrations": True, "all_outcomes": "success"}, "demonstrations and all_outcomes"),
        ({"demonstrations": True, "intervention_from": "x"}, "leave intervention_from out"),
        ({"rename": {"a": "c", "b": "c"}}, "two columns are renamed to c"),
        ({"rename": {"a": "c"}, "drop": ["a"]}, "a is renamed and dropped"),
    ],
)
def test_settings_that_contradict(settings_: dict[str, Any], message: str) -> None:
    """Are refused before anything is read."""
    with pytest.raises(ValueError, match=message):
        ImportConfig(**settings_)


def test_config_errors_are_the_users(foreign: Path, tmp_path: Path) -> None:
    """A setting that does not fit is a ConfigError, so the command exits with 2."""
    with pytest.raises(ConfigError):
        adopt(foreign, tmp_path / "out", drop=["a"])
