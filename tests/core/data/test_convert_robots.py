"""Recordings of other robots, of four arms, and of recorders that stopped in mid-tick."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.dataset import ConvertConfig, NormStatsConfig
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.recording_map import RecordingMap
from recap_core.data.convert import convert_recording
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.norm_stats import compute_norm_stats
from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    synthetic_grey,
    synthetic_state,
    write_synthetic_recording,
)
from recap_core.data.video_files import encode_video, read_frames_in_order, rgb
from recap_core.errors import ConfigError, EpisodeError

FOUR_ARMS = ("left", "right", "leader_left", "leader_right")
NO_CAMERA = SyntheticRobot(cameras=())
ONE_CAMERA = SyntheticRobot(cameras=("head_camera",))


def converted(recording: Path, output: Path, **settings: object) -> FrameTable:
    config = ConvertConfig.model_validate(settings)
    convert_recording(recording, output, config, round_index=1, source="monday")
    return read_frames(output)


def head_greys(dataset: FrameTable) -> list[int]:
    video = dataset.meta.video_path("observation.images.head_camera", 0, 0)
    return [int(rgb(frame).mean()) for frame in read_frames_in_order(video)]


@pytest.fixture(scope="module")
def four_arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Followers and leaders, 12 ticks at 10 Hz, frames 4 to 6 corrected."""
    return write_synthetic_recording(
        tmp_path_factory.mktemp("four"),
        [SyntheticEpisode(length=12, interventions=(4, 5, 6))],
        NO_CAMERA._replace(arms=FOUR_ARMS),
    )


def test_leaders_are_left_out_unless_asked_for(four_arms: Path, tmp_path: Path) -> None:
    """14 dimensions by default, 28 with all four arms, in the order given."""
    values = synthetic_state(0, 12, 28)

    followers = converted(four_arms, tmp_path / "two")
    every = converted(four_arms, tmp_path / "four", include_arms=FOUR_ARMS)

    np.testing.assert_allclose(followers.column("observation.state"), values[:-1, :14])
    np.testing.assert_allclose(every.column("observation.state"), values[:-1])
    np.testing.assert_allclose(every.column("action"), values[1:])
    assert every.meta.features["action"]["names"][27] == "leader_right_gripper_0"


def test_every_gripper_of_four_arms_is_held(four_arms: Path, tmp_path: Path) -> None:
    """At 20 fps, dims 6, 13, 20 and 27 move every second frame only."""
    table = converted(four_arms, tmp_path / "out", include_arms=FOUR_ARMS, target_fps=20)

    moves = np.diff(table.column("action")[:4], axis=0) > 0.001
    assert np.flatnonzero(~moves[0]).tolist() == [6, 13, 20, 27]
    assert moves[1].all()


def test_an_unknown_arm_leaves_nothing(four_arms: Path, tmp_path: Path) -> None:
    """The error lists the arms that there are."""
    with pytest.raises(ConfigError, match=r"'middle'.*recorded left, right, leader_left"):
        converted(four_arms, tmp_path / "out", include_arms=("middle",))

    assert not (tmp_path / "out").exists()


def test_corrections_are_counted_where_every_episode_counts_them(
    four_arms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An int32 column, the last value held by resampling; one episode without drops it."""
    full = converted(four_arms, tmp_path / "full")
    half = converted(four_arms, tmp_path / "half", target_fps=5)
    assert full.column("correction_index").tolist() == [0] * 4 + [1] * 8
    assert half.column("correction_index").tolist() == [0, 0, 1, 1, 1, 1]
    assert full.meta.features["correction_index"]["dtype"] == "int32"

    mixed = shutil.copytree(four_arms, tmp_path / "mixed")
    (episode,) = mixed.iterdir()
    older = shutil.copytree(episode, mixed / "episode_20240102_000000_0000")
    (older / "correction_index.npy").unlink()
    with caplog.at_level(logging.WARNING):
        assert "correction_index" not in converted(mixed, tmp_path / "out").meta.features
    assert "1 of 2 episodes were recorded without it" in caplog.text


SO101 = {
    "robot_type": "so101",
    "state": [
        {"file": "arm_states.npz", "array": "joint_pos", "dims": [0, 1, 2, 3, 4]},
        {"file": "arm_states.npz", "array": "gripper", "names": ["gripper"]},
    ],
    "action": [{"file": "goal.npy", "held": [5]}],
    "cameras": {"front": "video/webcam.mp4"},
}


@pytest.fixture
def so101(tmp_path: Path) -> Path:
    """One episode of a single arm: six joint columns, a gripper vector, no arms in its metadata."""
    episode = tmp_path / "so101" / "episode_0"
    (episode / "video").mkdir(parents=True)
    times = 1_700_000_000 + np.arange(6) / 10
    np.save(episode / "timestamps.npy", times)
    joints = np.arange(36.0).reshape(6, 6)
    np.savez(episode / "arm_states.npz", joint_pos=joints, gripper=np.arange(6) / 10)
    np.save(episode / "goal.npy", joints + 0.5)
    greys = (np.full((32, 32, 3), 40 * i, dtype=np.uint8) for i in range(6))
    encode_video(greys, episode / "video" / "webcam.mp4", fps=10)
    np.save(episode / "video" / "webcam_timestamps.npy", times)
    (episode / "metadata.json").write_text(json.dumps({"task_instruction": "stack the bricks"}))
    (episode / "SUCCESS").touch()
    return episode.parent


def test_another_robot_is_a_matter_of_configuration(so101: Path, tmp_path: Path) -> None:
    """A single arm's arrays, video and names, without a line of code."""
    table = converted(so101, tmp_path / "out", robot=SO101)

    state, action = table.column("observation.state"), table.column("action")
    np.testing.assert_allclose(state[:, :5], np.arange(36).reshape(6, 6)[:, :5])
    np.testing.assert_allclose(state[:, 5], np.arange(6) / 10, atol=1e-6)
    np.testing.assert_allclose(action, np.arange(36).reshape(6, 6) + 0.5)
    features = table.meta.features
    assert features["observation.state"]["names"][4:] == ["arm_states_joint_pos_4", "gripper"]
    assert features["action"]["names"] == features["observation.state"]["names"]
    assert features["observation.images.front"]["shape"] == [32, 32, 3]
    assert (table.meta.robot_type, table.tasks) == ("so101", ("stack the bricks",))
    assert table.success.tolist() == [True]


def test_held_dimensions_are_those_of_the_map(so101: Path, tmp_path: Path) -> None:
    """At 20 fps the last action dimension moves every second frame only."""
    action = converted(so101, tmp_path / "out", robot=SO101, target_fps=20).column("action")

    np.testing.assert_allclose(action[:4, 0], [0.5, 3.5, 6.5, 9.5], atol=1e-4)
    np.testing.assert_allclose(action[:4, 5], [5.5, 5.5, 11.5, 11.5], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"action": [{"file": "goal.npy", "dims": [9]}]},
            r"takes column 9 of goal.npy, but .* has 6",
        ),
        (
            {"action": [{"file": "goal.npy", "names": ["a", "b"]}]},
            r"names 2 dimensions of goal.npy \(a, b\), but .* has 6",
        ),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    so101: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """It names the file, what the map wants, and what there is."""
    with pytest.raises(ConfigError, match=message):
        converted(so101, tmp_path / "out", robot=SO101 | change)


def test_a_file_that_the_map_names_and_the_episode_lacks_is_named(
    so101: Path, tmp_path: Path
) -> None:
    """As for the reference layout."""
    (so101 / "episode_0" / "goal.npy").unlink()

    with pytest.raises(EpisodeError, match=r"episode_0: goal.npy is missing"):
        converted(so101, tmp_path / "out", robot=RecordingMap.model_validate(SO101).model_dump())


@pytest.mark.parametrize("num_frames", [7, 9])
def test_a_video_may_miss_or_exceed_its_times_by_one_frame(tmp_path: Path, num_frames: int) -> None:
    """The recorder stopped between a frame and its time: rows and pictures still match."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=8)], ONE_CAMERA
    )
    (episode,) = recording.iterdir()
    shades = synthetic_grey(0, 9, 0)
    images = (np.full((32, 32, 3), shade, dtype=np.uint8) for shade in shades[:num_frames])
    encode_video(images, episode / "head_camera.mp4", fps=10)

    table = converted(recording, tmp_path / "out")

    shown = [0, 1, 2, 3, 4, 5, 6, min(7, num_frames - 1)]
    np.testing.assert_allclose(head_greys(table), shades[shown], atol=3)


def test_frames_are_matched_by_time_not_by_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A camera that starts late and loses half a second shows its latest picture, and is named."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=14)], ONE_CAMERA
    )
    (episode,) = recording.iterdir()
    times, kept = np.load(episode / "timestamps.npy"), [2, 3, 4, 11, 12, 13]
    shades = synthetic_grey(0, 14, 0)
    images = (np.full((32, 32, 3), shades[i], dtype=np.uint8) for i in kept)
    encode_video(images, episode / "head_camera.mp4", fps=10)
    np.save(episode / "head_camera_timestamps.npy", times[kept] - 0.02)

    with caplog.at_level(logging.WARNING):
        table = converted(recording, tmp_path / "out")

    shown = [2, 2, 2, 3, 4, 4, 4, 4, 4, 4, 4, 11, 12, 13]
    np.testing.assert_allclose(head_greys(table), shades[shown], atol=3)
    assert "head_camera.mp4 has 6 frames for 14 rows, and stands still for up to 0.6 s" in (
        caplog.text
    )


@pytest.mark.parametrize("target_fps", [None, 5])
@pytest.mark.parametrize("offset_s", [3600.0, -3600.0])
def test_a_camera_of_another_clock_is_refused(
    tmp_path: Path, target_fps: int | None, offset_s: float
) -> None:
    """Every row would show its first frame, or its last one."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=14)], ONE_CAMERA
    )
    (episode,) = recording.iterdir()
    times = np.load(episode / "timestamps.npy")
    np.save(episode / "head_camera_timestamps.npy", times[:-1] + offset_s)

    with pytest.raises(EpisodeError, match=r"_0000: .*head_camera\.mp4.*no moment in common"):
        converted(recording, tmp_path / "out", target_fps=target_fps)

    assert not (tmp_path / "out").exists()


def test_a_camera_that_starts_late_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first picture stands in for what it had not seen yet."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=14)], ONE_CAMERA
    )
    (episode,) = recording.iterdir()
    times = np.load(episode / "timestamps.npy")
    np.save(episode / "head_camera_timestamps.npy", times + 0.9)

    with caplog.at_level(logging.WARNING):
        converted(recording, tmp_path / "out", target_fps=5)

    assert "stands still for up to 0.9 s" in caplog.text


def test_a_robot_of_one_dimension(tmp_path: Path) -> None:
    """One number of state, action and environment each, as vectors or as matrices of one column."""
    episode = tmp_path / "raw" / "episode_0"
    episode.mkdir(parents=True)
    values = np.arange(10.0) ** 2
    np.save(episode / "timestamps.npy", 1_700_000_000 + np.arange(10) / 10)
    np.save(episode / "opening.npy", values)
    np.save(episode / "goal.npy", values[:, None] + 1)
    np.save(episode / "environment_state.npy", values[:, None] + 2)
    (episode / "metadata.json").write_text(json.dumps({"task_instruction": "close the gripper"}))
    (episode / "SUCCESS").touch()
    robot = {
        "state": [{"file": "opening.npy", "names": ["opening"]}],
        "action": [{"file": "goal.npy"}],
        "cameras": {},
    }

    table = converted(episode.parent, tmp_path / "out", robot=robot)

    np.testing.assert_array_equal(table.column("observation.state"), values)
    np.testing.assert_array_equal(table.column("action"), values + 1)
    np.testing.assert_array_equal(table.column("observation.environment_state"), values + 2)
    stats = compute_norm_stats(
        tmp_path / "out",
        NormStatsConfig(action_horizon=2, embodiment=EmbodimentConfig(delta_mask=(1,))),
    )
    changes = np.append(np.diff(values), 0) + 1  # to the next frame; none after the last one
    np.testing.assert_allclose(stats["state"].mean, [values.mean()])
    np.testing.assert_allclose(stats["actions"].mean, [np.mean([np.ones(10), changes])])


def test_a_broken_episode_can_be_excluded(four_arms: Path, tmp_path: Path) -> None:
    """What an annotation excludes is not even opened; a corrected outcome needs no mark."""
    recording = shutil.copytree(four_arms, tmp_path / "raw")
    (good,) = recording.iterdir()
    broken = shutil.copytree(good, recording / "episode_9")
    (broken / "timestamps.npy").unlink()
    (good / "FAILURE").touch()

    summary = convert_recording(
        recording,
        tmp_path / "out",
        ConvertConfig(),
        round_index=1,
        source="monday",
        outcomes={good.name: False},
        excluded=["episode_9"],
    )

    assert summary.num_episodes == 1
    assert not read_frames(tmp_path / "out").success.any()


@pytest.mark.parametrize(("rate_hz", "num_frames"), [(10.09, 12), (9.92, 12), (10.2, 11)])
def test_a_recorder_within_one_percent_of_the_target_is_not_resampled(
    tmp_path: Path, rate_hz: float, num_frames: int
) -> None:
    """Rows and packets are then the recorded ones; beyond, floor(11 / rate * 10) + 1 rows."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=12)], ONE_CAMERA
    )
    (episode,) = recording.iterdir()
    for path in episode.glob("*timestamps.npy"):
        np.save(path, 1_700_000_000 + np.arange(12) / rate_hz)

    table = converted(recording, tmp_path / "out", target_fps=10)

    assert table.num_frames == num_frames
    is_recorded = np.array_equal(
        table.column("observation.state"), synthetic_state(0, 12, 14)[:num_frames]
    )
    assert is_recorded == (num_frames == 12)
