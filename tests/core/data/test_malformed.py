"""Malformed inputs: each is one clear error, nothing is written, the source stays as it was."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from recap_core.config.dataset import ConvertConfig
from recap_core.config.validation import ValidateConfig
from recap_core.data.convert import convert_recording
from recap_core.data.frames import read_frames
from recap_core.data.merge import merge_datasets
from recap_core.data.relabel import write_adv_ind
from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    write_synthetic_dataset,
    write_synthetic_recording,
)
from recap_core.data.validate import validate
from recap_core.data.video import iter_camera_blocks
from recap_core.errors import RecapError
from tests.core.data.damages import (
    CAMERA,
    DATA,
    EPISODES,
    INFO,
    TASKS,
    VIDEO,
    Damage,
    archive,
    array,
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
    metadata,
    put,
    remove,
    rows,
    sound,
    symlink,
    video,
    write,
)

ROBOT = SyntheticRobot(cameras=("head_camera",), arms=("left",))
EPISODES_MADE = [
    SyntheticEpisode(length=6, interventions=(2,)),
    SyntheticEpisode(length=5, success=False),
]
NUM_FRAMES = 11


@pytest.fixture(scope="module")
def small_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good") / "recording"
    return write_synthetic_recording(root, EPISODES_MADE, ROBOT)


@pytest.fixture(scope="module")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good") / "dataset"
    write_synthetic_dataset(root, EPISODES_MADE, ROBOT)
    return root


def tree(root: Path) -> dict[str, str]:
    """Every path with its content; of sparse giants the size."""
    content = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            content[str(path)] = f"link to {path.readlink()}"
        elif path.is_file() and path.stat().st_size < 1 << 20:
            content[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content[str(path)] = f"{path.is_dir()} {path.stat().st_size}"
    return content


def merge(root: Path, output: Path, good: Path) -> None:
    merge_datasets([root, good], output)


def relabel(root: Path, output: Path, good: Path) -> None:
    del good
    write_adv_ind(root, output, np.ones(NUM_FRAMES, dtype=np.int8))


def read(root: Path, output: Path, good: Path) -> None:
    del output, good
    table = read_frames(root)
    for name, described in table.meta.features.items():
        if described["dtype"] != "video":
            table.column(name)


def look(root: Path, output: Path, good: Path) -> None:
    del output, good
    for _ in iter_camera_blocks(root, [CAMERA]):
        pass


ROWS = (merge, relabel, read)
ALL = (*ROWS, look)


class Case(NamedTuple):
    """A damage, what its message must name, and who must refuse it."""

    name: str
    damage: Damage
    names: str
    refused_by: tuple[Callable[[Path, Path, Path], None], ...] = ALL


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


def refused(action: Callable[[], object], *, names: str, output: Path) -> None:
    """One error of ours that names the thing; nothing is written."""
    with pytest.raises(RecapError, match=names) as caught:
        action()
    assert type(caught.value).__module__ == "recap_core.errors"
    assert len(str(caught.value)) < 1000
    assert not output.exists()


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


FIRST = "episode_20240101_120000_0000"
LAST = "episode_20240101_120000_0001"
TIMES = np.arange(5) / 10 + 1_700_001_000.0
OBJECTS = np.array([{"a": 1}] * 5, dtype=object)


def last(file: str) -> str:
    return f"{LAST}/{file}"


def json_of(**values: object) -> Damage:
    return metadata(last("metadata.json"), **values)


def times(values: object) -> Damage:
    return array(last("timestamps.npy"), np.array(values))


RECORDING_CASES = [
    Case("metadata-cut", cut(last("metadata.json"), 0.5), "metadata.json cannot be read"),
    Case("metadata-number", write(last("metadata.json"), b"5"), "metadata.json holds a int"),
    Case("metadata-deep", write(last("metadata.json"), b"[" * 99_999), "metadata.json cannot be"),
    Case("metadata-latin-1", write(last("metadata.json"), b'{"\xe9": 1}'), "metadata.json cannot"),
    Case("task-empty", json_of(task_instruction=""), "empty 'task_instruction'"),
    Case("task-blank", json_of(task_instruction=" \n\t"), "empty 'task_instruction'"),
    Case("task-number", json_of(task_instruction=7), "'task_instruction' 7, which is no text"),
    Case("task-list", json_of(task_instruction=["fold"]), "'task_instruction' .*no text"),
    Case("task-surrogate", json_of(task_instruction="fold \ud800"), "no Unicode text"),
    Case("arms-text", json_of(arms="left"), "has arms 'left', but must list plain names"),
    Case("arms-twice", json_of(arms=["left", "left"]), "must list each once"),
    Case("arm-up", json_of(arms=["../left"]), r"has arms \['\.\./left'\].*plain name"),
    Case("arms-none", json_of(arms=[]), "names no follower arm"),
    Case("arm-missing", json_of(arms=["left", "right"]), "right_states.npz is missing"),
    Case("cameras-object", json_of(cameras={"head_camera": 1}), "must list plain names"),
    Case("camera-up", json_of(cameras=["../head_camera"]), r"'\.\./head_camera'.*plain name"),
    Case("camera-root", json_of(cameras=["/etc/passwd"]), "'/etc/passwd'.*plain name"),
    Case("camera-nul", json_of(cameras=["head\0"]), "plain name"),
    Case("camera-number", json_of(cameras=[3]), r"has cameras \[3\], but must list plain names"),
    Case("camera-missing", json_of(cameras=["side"]), "side.mp4 is missing"),
    Case("camera-less", json_of(cameras=[]), f"{CAMERA} None, but the first"),
    Case("both-marks", copy(last("FAILURE"), last("SUCCESS")), "FAILURE are both there"),
    Case("times-missing", remove(last("timestamps.npy")), "timestamps.npy is missing"),
    Case("times-cut", cut(last("timestamps.npy"), -9), "timestamps.npy cannot be read"),
    Case("times-header", cut(last("timestamps.npy"), 20), "timestamps.npy cannot be read"),
    Case("times-empty", write(last("timestamps.npy"), b""), "timestamps.npy cannot be read"),
    Case("times-directory", directory(last("timestamps.npy")), "timestamps.npy cannot be read"),
    Case("times-objects", array(last("timestamps.npy"), OBJECTS), "timestamps.npy cannot be read"),
    Case("times-archive", archive(last("timestamps.npy"), t=TIMES), "timestamps.npy is no .npy"),
    Case("times-text", times(["now"] * 5), r"timestamps.npy is <U3 \(5,\)"),
    Case("times-complex", times(TIMES * 1j), "timestamps.npy is complex128"),
    Case("times-scalar", times(3.0), r"timestamps.npy is float64 \(\)"),
    Case("times-matrix", times(TIMES[:, None]), "timestamps.npy is float64"),
    Case("times-nan", times([*TIMES[:4], np.nan]), "timestamps.npy holds a time that is not"),
    Case("times-equal", times([*TIMES[:4], TIMES[3]]), "timestamps.npy does not rise"),
    Case("times-falling", times(TIMES[::-1]), "timestamps.npy does not rise"),
    Case(
        "times-unsigned",
        times(np.array([5, 4, 3, 2, 1], dtype=np.uint64)),
        "timestamps.npy does not",
    ),
    Case("times-fast", times(np.arange(5) * 1e-300), "timestamps.npy says .* more than 1000"),
    Case("times-slow", times(TIMES[0] + np.arange(5)), "recorded at 1.00 frames per second"),
    Case("times-long", times(np.arange(9.0) / 10), "has 5 of 9 rows"),
    Case("states-cut", cut(last("left_states.npz"), 0.5), "left_states.npz cannot be read"),
    Case("states-flipped", flip(last("left_states.npz"), 0.08), "left_states.npz"),
    Case(
        "states-text", write(last("left_states.npz"), b"joints"), "left_states.npz cannot be read"
    ),
    Case(
        "states-objects",
        archive(last("left_states.npz"), joint_pos=OBJECTS, gripper_pos=OBJECTS),
        "left_states.npz cannot be read",
    ),
    Case(
        "states-array",
        array(last("left_states.npz"), np.zeros((5, 6))),
        "is no .npz file",
    ),
    Case("states-others", archive(last("left_states.npz"), qpos=TIMES), "has no array 'joint_pos'"),
    Case(
        "states-flat",
        archive(last("left_states.npz"), joint_pos=TIMES, gripper_pos=TIMES),
        "has action .*but the first",
    ),
    Case(
        "states-narrow",
        archive(last("left_states.npz"), joint_pos=np.zeros((5, 0)), gripper_pos=np.zeros((5, 1))),
        r"left_states.npz is float64 \(5, 0\)",
    ),
    Case(
        "states-nan",
        archive(last("left_states.npz"), joint_pos=np.full((5, 6), np.nan)),
        r"left_states.npz\[0\] of episode",
    ),
    Case(
        "states-giant",
        archive(last("left_states.npz"), joint_pos=np.full((5, 6), 1e300)),
        r"left_states.npz\[0\] of episode",
    ),
    Case("actions-short", archive(last("left_actions.npz"), pos=np.zeros((3, 7))), "has 3 rows"),
    Case(
        "actions-wide",
        archive(last("left_actions.npz"), pos=np.zeros((5, 8))),
        r"action \[8\], but the first",
    ),
    Case(
        "actions-complex",
        archive(last("left_actions.npz"), pos=np.zeros((5, 7)) * 1j),
        "left_actions.npz is complex128",
    ),
    Case("phase-word", array(last("phase.npy"), np.array(["flying"] * 5)), "holds 'flying'"),
    Case("phase-scalar", array(last("phase.npy"), np.array("paused")), r"phase.npy is <U6 \(\)"),
    Case(
        "phase-matrix",
        array(last("phase.npy"), np.full((5, 2), "paused")),
        r"is <U6 \(5, 2\)",
    ),
    Case("phase-objects", array(last("phase.npy"), OBJECTS), "phase.npy cannot be read"),
    Case(
        "flags-text",
        both(remove(last("phase.npy")), array(last("interventions.npy"), np.array(["no"] * 5))),
        "interventions.npy is <U2",
    ),
    Case(
        "flags-short",
        both(remove(last("phase.npy")), array(last("interventions.npy"), np.zeros(2, bool))),
        "interventions.npy has 2 of 5 rows",
    ),
    Case("video-empty", write(last("head_camera.mp4"), b""), "head_camera.mp4 cannot be opened"),
    Case("video-text", write(last("head_camera.mp4"), b"frame\n" * 99), "head_camera.mp4 cannot"),
    Case("video-directory", directory(last("head_camera.mp4")), "head_camera.mp4"),
    Case("video-header", cut(last("head_camera.mp4"), 60), "head_camera.mp4"),
    Case("video-cut", cut(last("head_camera.mp4"), -100), "head_camera.mp4"),
    Case("video-sound", sound(last("head_camera.mp4")), "head_camera.mp4 has no video stream"),
    Case("video-short", video(last("head_camera.mp4"), 3), "head_camera.mp4 holds 3 frames"),
    Case("video-long", video(last("head_camera.mp4"), 7), "head_camera.mp4 holds 7 frames"),
    Case(
        "video-other-size",
        video(last("head_camera.mp4"), 5, px=48),
        r"\[48, 48, 3\], but the first",
    ),
    Case(
        "camera-times-short",
        array(last("head_camera_timestamps.npy"), TIMES[:3]),
        "holds 5 frames, but there are 3 camera timestamps",
    ),
    Case(
        "camera-times-nan",
        array(last("head_camera_timestamps.npy"), np.full(5, np.nan)),
        "head_camera_timestamps.npy holds a time that is not finite",
    ),
    Case(
        "environment-short",
        array(last("environment_state.npy"), np.zeros((2, 3))),
        "environment_state.npy has 2 rows",
    ),
    Case(
        "environment-new",
        array(last("environment_state.npy"), np.zeros((5, 3))),
        r"observation.environment_state \[3\], but the first",
    ),
    Case(
        "nothing-finished",
        both(remove(last("metadata.json")), remove(FIRST), remove(f"{FIRST}a")),
        "no finished",
    ),
]
ONLY_TOGETHER = {
    "camera-less",
    "states-flat",
    "times-slow",
    "actions-wide",
    "video-other-size",
    "environment-new",
}
"""Every episode is sound by itself, but they do not make one dataset."""


@pytest.mark.parametrize("case", RECORDING_CASES, ids=lambda case: case.name)
def test_a_malformed_recording_is_refused(
    small_recording: Path, tmp_path: Path, case: Case
) -> None:
    """Conversion names the episode and the file; no dataset appears."""
    root = shutil.copytree(small_recording, tmp_path / "recording")
    shutil.copytree(root / FIRST, root / f"{FIRST}a")  # the rate is the median of three
    case.damage(root)
    before = tree(root)

    refused(
        lambda: convert_recording(
            root, tmp_path / "out", ConvertConfig(), round_index=1, source="monday"
        ),
        names=case.names,
        output=tmp_path / "out",
    )
    errors = [finding for finding in validate(root) if finding.severity == "error"]
    assert tree(root) == before
    assert bool(errors) == (case.name not in ONLY_TOGETHER)


@pytest.mark.parametrize(
    "task",
    [
        "折りたたむ 👕",
        "fold\nthe shirt",
        "x" * 10_000,
        "fold 'it' \"now\" {now} %s ../../etc",
        "a\0b",
    ],
    ids=["unicode", "newline", "long", "quotes", "nul"],
)
def test_any_task_text_survives(small_recording: Path, tmp_path: Path, task: str) -> None:
    """Text is data: it is stored and merged as it was recorded."""
    root = shutil.copytree(small_recording, tmp_path / "recording")
    for episode in root.iterdir():
        metadata("metadata.json", task_instruction=task)(episode)

    convert_recording(root, tmp_path / "out", ConvertConfig(), round_index=1, source="monday")
    merge_datasets([tmp_path / "out", tmp_path / "out"], tmp_path / "merged")

    assert read_frames(tmp_path / "merged").tasks == (task,)


def test_symbolic_links_to_recordings_are_followed(small_recording: Path, tmp_path: Path) -> None:
    """A recording on another disk is read where it is; the dataset holds no link."""
    (tmp_path / "link").symlink_to(small_recording)
    root = tmp_path / "mixed"
    root.mkdir()
    (root / FIRST).symlink_to(small_recording / FIRST)

    for source, output in ((tmp_path / "link", "whole"), (root, "one")):
        convert_recording(
            source, tmp_path / output, ConvertConfig(), round_index=1, source="monday"
        )
        assert not any(path.is_symlink() for path in (tmp_path / output).rglob("*"))


def test_the_corpus_is_large() -> None:
    """At least 60 damages, each under a name of its own."""
    for cases in ([*DATASET_CASES, *WRONG_VALUES], RECORDING_CASES):
        assert len({case.name for case in cases}) == len(cases) >= 60
