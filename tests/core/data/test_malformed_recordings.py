"""Malformed recordings: each is one clear error, nothing is written, the source stays as it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.dataset import ConvertConfig
from recap_core.data.convert import convert_recording
from recap_core.data.frames import read_frames
from recap_core.data.merge import merge_datasets
from recap_core.data.validate import validate
from tests.core.data.damages import (
    CAMERA,
    Damage,
    archive,
    array,
    both,
    copy,
    cut,
    directory,
    flip,
    metadata,
    remove,
    sound,
    video,
    write,
)
from tests.core.data.refusals import Case, refused, tree

FIRST = "episode_20240101_120000_0000"
BAD = "episode_20240101_120000_0001"
THIRD = "episode_20240101_120000_0002"
TIMES = np.arange(5) / 10 + 1_700_001_000.0
OBJECTS = np.array([{"a": 1}] * 5, dtype=object)


def bad(file: str) -> str:
    """A file of the second of three episodes, which is the one that is spoilt."""
    return f"{BAD}/{file}"


def json_of(**values: object) -> Damage:
    return metadata(bad("metadata.json"), **values)


def times(values: object) -> Damage:
    return array(bad("timestamps.npy"), np.array(values))


RECORDING_CASES = [
    Case("metadata-cut", cut(bad("metadata.json"), 0.5), "metadata.json cannot be read"),
    Case("metadata-number", write(bad("metadata.json"), b"5"), "metadata.json holds a int"),
    Case("metadata-deep", write(bad("metadata.json"), b"[" * 99_999), "metadata.json cannot be"),
    Case("metadata-latin-1", write(bad("metadata.json"), b'{"\xe9": 1}'), "metadata.json cannot"),
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
    Case("both-marks", copy(bad("FAILURE"), bad("SUCCESS")), "FAILURE are both there"),
    Case("times-missing", remove(bad("timestamps.npy")), "timestamps.npy is missing"),
    Case("times-cut", cut(bad("timestamps.npy"), -9), "timestamps.npy cannot be read"),
    Case("times-header", cut(bad("timestamps.npy"), 20), "timestamps.npy cannot be read"),
    Case("times-empty", write(bad("timestamps.npy"), b""), "timestamps.npy cannot be read"),
    Case("times-directory", directory(bad("timestamps.npy")), "timestamps.npy cannot be read"),
    Case("times-objects", array(bad("timestamps.npy"), OBJECTS), "timestamps.npy cannot be read"),
    Case("times-archive", archive(bad("timestamps.npy"), t=TIMES), "timestamps.npy is no .npy"),
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
    Case(
        "times-jump",
        times([*TIMES[:3], *TIMES[3:] + 600]),
        r"jumps by 600.1 s between rows 2 and 3.*\(1 of 4 steps do\)",
    ),
    Case("times-from-1970", times([*TIMES[:4] - TIMES[0], TIMES[4]]), r"jumps by 1\.7e\+09 s"),
    Case("states-cut", cut(bad("left_states.npz"), 0.5), "left_states.npz cannot be read"),
    Case("states-flipped", flip(bad("left_states.npz"), 0.08), "left_states.npz"),
    Case("states-text", write(bad("left_states.npz"), b"joints"), "left_states.npz cannot be read"),
    Case(
        "states-objects",
        archive(bad("left_states.npz"), joint_pos=OBJECTS, gripper_pos=OBJECTS),
        "left_states.npz cannot be read",
    ),
    Case(
        "states-array",
        array(bad("left_states.npz"), np.zeros((5, 6))),
        "is no .npz file",
    ),
    Case("states-others", archive(bad("left_states.npz"), qpos=TIMES), "has no array 'joint_pos'"),
    Case(
        "states-flat",
        archive(bad("left_states.npz"), joint_pos=TIMES, gripper_pos=TIMES),
        "has action .*but the first",
    ),
    Case(
        "states-narrow",
        archive(bad("left_states.npz"), joint_pos=np.zeros((5, 0)), gripper_pos=np.zeros((5, 1))),
        r"left_states.npz is float64 \(5, 0\)",
    ),
    Case(
        "states-nan",
        archive(bad("left_states.npz"), joint_pos=np.full((5, 6), np.nan)),
        r"left_states.npz\[0\] of episode",
    ),
    Case(
        "states-giant",
        archive(bad("left_states.npz"), joint_pos=np.full((5, 6), 1e300)),
        r"left_states.npz\[0\] of episode",
    ),
    Case("actions-short", archive(bad("left_actions.npz"), pos=np.zeros((3, 7))), "has 3 rows"),
    Case(
        "actions-wide",
        archive(bad("left_actions.npz"), pos=np.zeros((5, 8))),
        r"action \[8\], but the first",
    ),
    Case(
        "actions-complex",
        archive(bad("left_actions.npz"), pos=np.zeros((5, 7)) * 1j),
        "left_actions.npz is complex128",
    ),
    Case("phase-word", array(bad("phase.npy"), np.array(["flying"] * 5)), "holds 'flying'"),
    Case("phase-scalar", array(bad("phase.npy"), np.array("paused")), r"phase.npy is <U6 \(\)"),
    Case(
        "phase-matrix",
        array(bad("phase.npy"), np.full((5, 2), "paused")),
        r"is <U6 \(5, 2\)",
    ),
    Case("phase-objects", array(bad("phase.npy"), OBJECTS), "phase.npy cannot be read"),
    Case(
        "flags-text",
        both(remove(bad("phase.npy")), array(bad("interventions.npy"), np.array(["no"] * 5))),
        "interventions.npy is <U2",
    ),
    Case(
        "flags-short",
        both(remove(bad("phase.npy")), array(bad("interventions.npy"), np.zeros(2, bool))),
        "interventions.npy has 2 of 5 rows",
    ),
    Case("video-empty", write(bad("head_camera.mp4"), b""), "head_camera.mp4 cannot be opened"),
    Case("video-text", write(bad("head_camera.mp4"), b"frame\n" * 99), "head_camera.mp4 cannot"),
    Case("video-directory", directory(bad("head_camera.mp4")), "head_camera.mp4"),
    Case("video-header", cut(bad("head_camera.mp4"), 60), "head_camera.mp4"),
    Case("video-cut", cut(bad("head_camera.mp4"), -100), "head_camera.mp4"),
    Case("video-sound", sound(bad("head_camera.mp4")), "head_camera.mp4 has no video stream"),
    Case("video-short", video(bad("head_camera.mp4"), 3), "head_camera.mp4 holds 3 frames"),
    Case("video-long", video(bad("head_camera.mp4"), 7), "head_camera.mp4 holds 7 frames"),
    Case(
        "video-other-size",
        video(bad("head_camera.mp4"), 5, px=48),
        r"\[48, 48, 3\], but the first",
    ),
    Case(
        "camera-times-short",
        array(bad("head_camera_timestamps.npy"), TIMES[:3]),
        "holds 5 frames, but there are 3 camera timestamps",
    ),
    Case(
        "camera-times-nan",
        array(bad("head_camera_timestamps.npy"), np.full(5, np.nan)),
        "head_camera_timestamps.npy holds a time that is not finite",
    ),
    Case(
        "camera-times-late",
        array(bad("head_camera_timestamps.npy"), TIMES + 3600),
        "head_camera.mp4 are 3600 to 3600 s after the first tick.*no moment in common",
    ),
    Case(
        "camera-times-from-1970",
        array(bad("head_camera_timestamps.npy"), TIMES - TIMES[0]),
        "no moment in common",
    ),
    Case(
        "corrections-giant",
        array(bad("correction_index.npy"), np.array([0, 0, 1, 2**40, 2**40])),
        "correction_index.npy is 1099511627776 in row 3",
    ),
    Case(
        "corrections-unsigned",
        array(bad("correction_index.npy"), np.array([0, 0, 0, 0, 2**63], dtype=np.uint64)),
        "correction_index.npy is 9223372036854775808 in row 4",
    ),
    Case(
        "corrections-negative",
        array(bad("correction_index.npy"), np.array([-5, 0, 0, 1, 1])),
        "correction_index.npy is -5 in row 0",
    ),
    Case(
        "corrections-falling",
        array(bad("correction_index.npy"), np.array([0, 1, 2, 1, 1])),
        r"correction_index.npy is 1 in row 3.*\(1 of 5 rows do not\)",
    ),
    Case(
        "environment-short",
        array(bad("environment_state.npy"), np.zeros((2, 3))),
        "environment_state.npy has 2 rows",
    ),
    Case(
        "environment-new",
        array(bad("environment_state.npy"), np.zeros((5, 3))),
        r"observation.environment_state \[3\], but the first",
    ),
    Case(
        "nothing-finished",
        both(remove(bad("metadata.json")), remove(FIRST), remove(THIRD)),
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
    shutil.copytree(root / FIRST, root / THIRD)  # the rate is the median of three
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
    assert len({case.name for case in RECORDING_CASES}) == len(RECORDING_CASES) >= 60
