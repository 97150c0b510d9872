"""Datasets that cannot be imported: one clear error, nothing written, the source untouched."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.config.import_dataset import ImportConfig
from recap_core.errors import ConfigError, DataError, RecapError
from tests.core.data.foreign_datasets import (
    DATA,
    EPISODES,
    TOP,
    VIDEO,
    adopt,
    altered,
    at_end,
    feature,
    tree,
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
    "human frame labelled negative": (
        {"columns": {"adv_ind": ("string", ["positive", "none", "negative"] * 5)}},
        {},
        r"adv_ind\[2\] of episode 0 is negative, but .* human drove .*--recompute adv_ind",
    ),
    "demonstration labelled none": (
        {"without": ("intervention",), "columns": {"adv_ind": ("string", ["none"] * 15)}},
        {"demonstrations": True},
        r"adv_ind\[0\] of episode 0 is none, but it is positive throughout a demonstration",
    ),
    "human frame called autonomous": (
        {"columns": {"phase": ("string", ["autonomous"] * 15)}},
        {},
        r"phase\[2\] of episode 0 is autonomous, but .* correcting .*--recompute phase",
    ),
    "policy frame called correcting": (
        {"columns": {"phase": ("string", ["correcting"] * 15)}},
        {},
        r"phase\[0\] of episode 0 is correcting, but .* correcting",
    ),
    "negative corrections": (
        {"columns": {"correction_index": ("int64", [0, -1, *[0] * 13])}},
        {},
        r"correction_index of episode 0 is -1, but it counts corrections",
    ),
    "corrections of text": (
        {"columns": {"correction_index": ("string", ["a"] * 15)}},
        {},
        r"correction_index of .* has dtype string .*--drop correction_index",
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
        r"a feature in meta/info.json of .* is '\.\./\.\./evil', but must be a plain name",
    ),
    "path in the pattern": (
        {"info": change(("video_path",), "../{video_key}/{chunk_index}/{file_index}.mp4")},
        {},
        r"video_path .* leads out of the dataset",
    ),
    "absolute pattern": (
        {"info": change(("video_path",), "/etc/{video_key}.mp4")},
        {},
        r"video_path .*/etc/.* leads out of the dataset",
    ),
    "broken pattern": (
        {"info": change(("video_path",), "videos/{nobody.__class__}.mp4")},
        {},
        r"video_path .* unknown part {nobody.__class__}",
    ),
    "fps of another dataset": (
        {"info": change(("fps",), 20)},
        {},
        r"observation.images.top/to_timestamp of episode 0 .* is 0.5, but must be .* at 20 fps",
    ),
    "broken fps": ({"info": change(("fps",), 29.97)}, {}, r"fps .* is 29.97, but must be a whole"),
    "fps of text": ({"info": change(("fps",), "ten")}, {}, r"fps .* is 'ten', but must be"),
    "no features": ({"info": change(("features",), [])}, {}, r"features .* is \[\], but must be"),
    "no episodes": ({"info": change(("total_episodes",), 0)}, {}, r"but info.json says 0 episodes"),
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
        r"episode_index of episode 1 .* is 2, but must count",
    ),
    "index of text": (
        {"columns": {"frame_index": ("int64", ["a"] * 15)}},
        {},
        r"frame_index of episode 0 .* holds string, not numbers",
    ),
    "episode_index of text": (
        {"episodes": {"episode_index": ["a", "b", "c"]}},
        {},
        r"episode_index in meta/episodes .* is string with 0 empty cells",
    ),
    "lengths that are too long": (
        {"episodes": {"length": [5, 6, 5]}},
        {},
        r"dataset_to_index of episode 2 .* is 15, but must follow from the lengths",
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
    "rename to a path": ({}, {"rename": {"action": "../x"}}, r"new name of action is '\.\./x'"),
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


@given(data=st.data())
@settings(max_examples=15)
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
