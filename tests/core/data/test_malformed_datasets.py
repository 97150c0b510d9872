"""Malformed datasets: each is one clear error, nothing is written, the source stays as it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recap_core.config.validation import ValidateConfig
from recap_core.data.validate import validate
from tests.core.data.damages import (
    CAMERA,
    DATA,
    EPISODES,
    INFO,
    TASKS,
    VIDEO,
    Damage,
    both,
    cast,
    column,
    copy,
    cut,
    directory,
    drop,
    feature,
    flip,
    grow,
    info,
    put,
    remove,
    rows,
    sound,
    symlink,
    video,
    write,
)
from tests.core.data.refusals import ROWS, Case, look, merge, read, refused, relabel, tree


def edit_episodes(name: str, **values: object) -> Damage:
    return column(EPISODES, name, put({int(key[1:]): value for key, value in values.items()}))


META_CASES = [
    Case("info-cut", cut(INFO, 0.5), "meta/info.json cannot be read"),
    Case("info-empty", write(INFO, b""), "meta/info.json cannot be read"),
    Case("info-list", write(INFO, b"[1, 2]"), "info.json of .* holds a list"),
    Case("info-deep", write(INFO, b"[" * 100_000), "meta/info.json cannot be read"),
    Case("info-latin-1", write(INFO, b'{"fps": "\xe9"}'), "meta/info.json cannot be read"),
    Case("info-directory", directory(INFO), "meta/info.json cannot be read"),
    Case("info-missing", remove(INFO), "meta/info.json cannot be read"),
    Case("info-huge", grow(INFO, 65 << 20), "info.json of .* has 68157440 bytes"),
    Case("version", info(codebase_version="v1.6"), "version 'v1.6'"),
    Case("no-fps", info(fps=None), "no 'fps'"),
    Case("no-features", info(features=None), "no 'features'"),
    Case("fps-zero", info(fps=0), "fps in .* is 0, but must be"),
    Case("fps-negative", info(fps=-10), "fps in .* is -10"),
    Case("fps-nan", info(fps=float("nan")), "fps in .* is nan"),
    Case("fps-text", info(fps="10"), "fps in .* is '10'"),
    Case("fps-broken", info(fps=29.97), "fps in .* is 29.97"),
    Case("fps-giant", info(fps=10**400), "fps in .* is 1000"),
    Case("frames-negative", info(total_frames=-1), "total_frames in .* is -1"),
    Case("frames-wrong", info(total_frames=12), "11 frames, but info.json says 12"),
    Case("episodes-text", info(total_episodes="two"), "total_episodes in .* is 'two'"),
    Case("episodes-wrong", info(total_episodes=3), "2 rows in meta/episodes, but info.json says 3"),
    Case("features-list", info(features=["action"]), r"features in .* is \['action'\]"),
    Case("feature-bare", feature("action", {}), "feature action in .* has dtype None"),
    Case("feature-null", feature("action", {"dtype": "float32", "shape": 7}), "feature action"),
    Case("feature-zero", feature("action", {"dtype": "float32", "shape": [0]}), "feature action"),
    Case("video-flat", feature(CAMERA, {"dtype": "video", "shape": [32]}), f"video {CAMERA}"),
    Case("video-path-up", info(video_path="../{video_key}.mp4"), "video_path in .* leads out"),
    Case("video-path-root", info(video_path="/etc/{video_key}"), "video_path in .* leads out"),
    Case("video-path-nul", info(video_path="v\0{video_key}"), "video_path in .* leads out"),
    Case("video-path-peek", info(video_path="{video_key.__class__}"), "video_path in .* unknown"),
    Case("video-path-wide", info(video_path="{chunk_index:99999999d}"), "video_path in .* unknown"),
    Case("video-path-brace", info(video_path="videos/{"), "video_path in .* no path template"),
    Case("video-path-number", info(video_path=7), "video_path in .* is 7, which is no text"),
    Case("data-path-up", info(data_path="../../{chunk_index}"), "data_path in .* leads out"),
    Case(
        "camera-up",
        feature("observation.images./../../x", {"dtype": "video", "shape": [32, 32, 3]}),
        r"observation.images./../../x.*plain name",
    ),
    Case("feature-dots", feature("..", {"dtype": "int64", "shape": [1]}), "is '..'.*plain name"),
    Case("tasks-cut", cut(TASKS, -9), "tasks.parquet cannot be read"),
    Case("tasks-missing", remove(TASKS), "tasks.parquet cannot be read"),
    Case("tasks-no-text", drop(TASKS, "task"), "tasks.parquet .* has no column task"),
    Case(
        "tasks-gap",
        column(TASKS, "task_index", lambda _: [4]),
        r"tasks.parquet .* numbers its tasks \[4\]",
    ),
    Case("tasks-numbers", cast(TASKS, "task_index", pa.string()), "task_index in .* is string"),
    Case("tasks-empty-cell", column(TASKS, "task", lambda _: [None]), "task in .* 1 empty cells"),
    Case("episodes-missing", remove("meta/episodes"), "has no meta/episodes"),
    Case("episodes-cut", cut(EPISODES, 0.7), "episodes/chunk-000/file-000.parquet cannot be read"),
    Case("episodes-text-file", write(EPISODES, b"PAR1 no PAR1"), "file-000.parquet cannot be read"),
    Case("no-length", drop(EPISODES, "length"), "meta/episodes of .* has no column length"),
    Case("length-empty", edit_episodes("length", _1=None), "length in .* 1 empty cells"),
    Case("length-zero", edit_episodes("length", _0=11, _1=0), "length of episode 1 .* is 0"),
    Case("length-negative", edit_episodes("length", _0=12, _1=-1), "length of episode 1 .* is -1"),
    Case("episode-gap", edit_episodes("episode_index", _1=2), "episode_index of episode 1 .* is 2"),
    Case("episode-twice", edit_episodes("episode_index", _1=0), "episode_index of episode 1"),
    Case(
        "episodes-overlap",
        edit_episodes("dataset_from_index", _1=5),
        "dataset_from_index of episode 1 .* is 5",
    ),
    Case(
        "no-episodes",
        both(rows(EPISODES, lambda _: []), info(total_episodes=0, total_frames=0)),
        "has no episode",
    ),
    Case(
        "video-file-negative",
        edit_episodes(f"videos/{CAMERA}/file_index", _0=-1),
        f"videos/{CAMERA}/file_index of episode 0 .* is -1",
    ),
    Case(
        "video-time-nan",
        edit_episodes(f"videos/{CAMERA}/from_timestamp", _1=float("nan")),
        f"videos/{CAMERA}/from_timestamp of episode 1",
    ),
    Case(
        "video-time-backwards",
        edit_episodes(f"videos/{CAMERA}/to_timestamp", _0=-0.5),
        f"videos/{CAMERA}/from_timestamp of episode 0",
    ),
    Case(
        "no-video-span",
        drop(EPISODES, f"videos/{CAMERA}/file_index"),
        f"has no column videos/{CAMERA}/file_index",
    ),
    Case(
        "video-span-short",
        edit_episodes(f"videos/{CAMERA}/to_timestamp", _0=0.3),
        f"videos/{CAMERA}/to_timestamp of episode 0 .* is 0.3, but must be the episode's length",
    ),
    Case("round-empty", edit_episodes("round", _1=None), "round in .* 1 empty cells"),
    Case("round-text", column(EPISODES, "round", lambda _: ["x", "y"]), "round in meta/episodes"),
]

DATA_CASES = [
    Case("data-no-footer", cut(DATA, -8), "file-000.parquet cannot be read", ROWS),
    Case("data-half", cut(DATA, 0.5), "file-000.parquet cannot be read", ROWS),
    Case("data-four-bytes", cut(DATA, 4), "file-000.parquet cannot be read", ROWS),
    Case("data-empty", write(DATA, b""), "file-000.parquet cannot be read", ROWS),
    Case("data-text", write(DATA, b"index,action\n0,1\n"), "file-000.parquet cannot be read", ROWS),
    Case("data-flipped", flip(DATA, 0.001), "file-000.parquet cannot be read", ROWS),
    Case("data-directory", directory(DATA), "file-000.parquet cannot be read", ROWS),
    Case("data-missing", remove(DATA), "11", ROWS),
    Case("column-missing", drop(DATA, "reward"), "no column reward", (merge, read)),
    Case("index-missing", drop(DATA, "index"), "no column index", ROWS),
    Case(
        "vector-float64",
        cast(DATA, "action", pa.list_(pa.float64(), 7)),
        "column action of .* is fixed_size_list",
        (merge, read),
    ),
    Case(
        "vector-short",
        column(DATA, "action", lambda old: [value[:6] for value in old]),
        "action of .* holds vectors of|column action of .* is",
        (merge, read),
    ),
    Case(
        "vectors-ragged",
        both(
            cast(DATA, "action", pa.list_(pa.float32())),
            column(DATA, "action", lambda old: [old[0][:6], [*old[1], 0.0], *old[2:]]),
        ),
        r"action of .* holds vectors of \[6, 7, 8\]",
        (merge, read),
    ),
    Case(
        "scalar-text",
        column(DATA, "reward", lambda old: [str(value) for value in old]),
        "column reward of .* is string",
        (merge, read),
    ),
    Case(
        "intervention-bool",
        cast(DATA, "intervention", pa.bool_()),
        "column intervention of .* is bool",
        (merge, read),
    ),
    Case(
        "cell-empty", column(DATA, "reward", put({3: None})), "reward of .* 1 empty", (merge, read)
    ),
    Case(
        "number-empty",
        both(
            cast(DATA, "action", pa.list_(pa.float32())),
            column(DATA, "action", lambda old: [[None, *old[0][1:]], *old[1:]]),
        ),
        "action of .* 1 empty numbers",
        (merge, read),
    ),
    Case("index-gap", column(DATA, "index", lambda old: [*old[:7], *range(8, 12)]), "index", ROWS),
    Case("index-twice", column(DATA, "index", put({8: 7})), "index", ROWS),
    Case("index-from-five", column(DATA, "index", lambda old: [i + 5 for i in old]), "index", ROWS),
    Case("rows-swapped", rows(DATA, lambda n: [1, 0, *range(2, n)]), "index", ROWS),
    Case("frame-twice", rows(DATA, lambda n: [0, 0, *range(2, n)]), "index", ROWS),
    Case("row-too-many", rows(DATA, lambda n: [*range(n), n - 1]), "11|more rows|index", ROWS),
    Case("row-missing", rows(DATA, lambda n: list(range(n - 1))), "11", ROWS),
    Case("no-rows", rows(DATA, lambda _: []), "11", ROWS),
    Case(
        "episode-shifted",
        column(DATA, "episode_index", put({6: 0})),
        "episode_index",
        (merge, read),
    ),
    Case(
        "task-unknown", column(DATA, "task_index", lambda o: [9] * len(o)), "task_index", (merge,)
    ),
    Case("task-negative", column(DATA, "task_index", lambda o: [-1] * len(o)), "task", (merge,)),
    Case("task-changes", column(DATA, "task_index", put({2: 1})), "has 2 tasks", (merge,)),
    Case("stray-parquet", copy(DATA, "data/chunk-000/old.parquet"), "22|more rows|11|index", ROWS),
    Case("data-link", symlink(DATA), "is a symbolic link", (relabel,)),
    Case("video-link", symlink(VIDEO), "is a symbolic link", (merge, relabel)),
    Case("video-missing", remove(VIDEO), "file-000.mp4", (merge, look)),
    Case("video-empty", write(VIDEO, b""), "file-000.mp4", (merge, look)),
    Case("video-directory", directory(VIDEO), "file-000.mp4", (merge, look)),
    Case("video-text", write(VIDEO, b"not a video\n" * 50), "file-000.mp4 cannot be", (look,)),
    Case("video-header", cut(VIDEO, 40), "file-000.mp4", (look,)),
    Case("video-cut-header", cut(VIDEO, 0.3), "file-000.mp4", (look,)),
    Case("video-cut-end", cut(VIDEO, -40), "file-000.mp4", (look,)),
    Case("video-short", video(VIDEO, 4), "file-000.mp4 ends after 4 of the 6", (look,)),
    Case("video-sound", sound(VIDEO), "file-000.mp4 has no video stream", (look,)),
    Case(
        "video-playlist",
        write(VIDEO, b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"),
        "file-000.mp4 cannot be opened",
        (look,),
    ),
    Case(
        "video-concat",
        write(VIDEO, b"ffconcat version 1.0\nfile file-001.mp4\n"),
        "file-000.mp4 cannot be opened",
        (look,),
    ),
    Case(
        "statistics-broken",
        column(EPISODES, f"stats/{CAMERA}/mean", lambda old: [None, *old[1:]]),
        f"stats/{CAMERA}/mean",
        (merge,),
    ),
    Case("statistics-missing", drop(EPISODES, f"stats/{CAMERA}/mean"), CAMERA, (merge,)),
]

DATASET_CASES = [*META_CASES, *DATA_CASES]


@pytest.mark.parametrize("case", DATASET_CASES, ids=lambda case: case.name)
def test_a_malformed_dataset_is_refused(small_dataset: Path, tmp_path: Path, case: Case) -> None:
    """Whoever reads it names what is wrong, validation too; the dataset stays as it is."""
    root = shutil.copytree(small_dataset, tmp_path / "dataset")
    case.damage(root)
    before = tree(root)

    for action in case.refused_by:
        output = tmp_path / action.__name__
        refused(
            lambda action=action, output=output: action(root, output, small_dataset),
            names=case.names,
            output=output,
        )
    findings = validate(root, config_for(case))
    if case.name.endswith("-link"):  # it works where it is; copies of it would not
        assert any(finding.check == "files" for finding in findings)
    else:
        assert any(finding.severity == "error" for finding in findings)
    assert tree(root) == before


def config_for(case: Case) -> ValidateConfig:
    return ValidateConfig(decode="all" if "video" in case.name else "none")


WRONG_VALUES = [
    Case("state-nan", column(DATA, "observation.state", put({3: [np.nan] * 7})), "state"),
    Case("action-inf", column(DATA, "action", put({3: [np.inf] * 7})), "action"),
    Case("adv-ind-word", column(DATA, "adv_ind", put({0: "good"})), "adv_ind"),
    Case("human-negative", column(DATA, "adv_ind", put({2: "negative"})), "adv_ind"),
    Case("phase-word", column(DATA, "phase", put({0: "flying"})), "phase"),
    Case("phase-disagrees", column(DATA, "phase", put({2: "autonomous"})), "phase"),
    Case("intervention-two", column(DATA, "intervention", put({0: 2})), "intervention"),
    Case("reward-half", column(DATA, "reward", put({5: 0.5})), "reward"),
    Case("reward-early", column(DATA, "reward", put({1: 1.0})), "reward"),
    Case("reward-label-sum", column(DATA, "reward_label", put({5: -0.2})), "reward_label"),
    Case("reward-label-positive", column(DATA, "reward_label", put({5: 0.2})), "reward_label"),
    Case("value-label-low", column(DATA, "value_label", put({0: -1.5})), "value_label"),
    Case("value-label-failure", column(DATA, "value_label", put({8: -0.5})), "value_label"),
    Case("frame-gap", column(DATA, "frame_index", put({4: 5})), "frame_index"),
    Case("time-wrong", column(DATA, "timestamp", put({4: 0.5})), "timestamp"),
    Case("time-nan", column(DATA, "timestamp", put({4: np.nan})), "timestamp"),
    Case("prompt-empty", column(TASKS, "task", lambda _: [""]), "task 0"),
    Case("video-other-size", video(VIDEO, 6, px=48), "file-000.mp4"),
    Case("video-fps", info(fps=20), "timestamp"),
    Case("no-adv-ind", feature("adv_ind", None), "adv_ind"),
]


@pytest.mark.parametrize("case", WRONG_VALUES, ids=lambda case: case.name)
def test_validation_finds_wrong_values(small_dataset: Path, tmp_path: Path, case: Case) -> None:
    """An error that names the column, and no exception; the dataset stays as it is."""
    root = shutil.copytree(small_dataset, tmp_path / "dataset")
    case.damage(root)
    before = tree(root)

    findings = validate(root, config_for(case))

    errors = [finding for finding in findings if finding.severity == "error"]
    assert any(case.names in f"{finding.where} {finding.value}" for finding in errors)
    assert json.dumps([finding.model_dump(mode="json") for finding in findings])
    assert tree(root) == before


def test_the_corpus_is_large() -> None:
    """At least 60 damages, each under a name of its own."""
    cases = [*DATASET_CASES, *WRONG_VALUES]
    assert len({case.name for case in cases}) == len(cases) >= 60
