"""Raw episodes to a dataset."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recap_core.config.dataset import ConvertConfig
from recap_core.data.columns import recap_columns
from recap_core.data.convert import convert_recording
from recap_core.data.dataset_writer import DatasetSummary
from recap_core.data.frames import read_frames
from recap_core.data.raw_episode import read_raw_episode
from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    synthetic_grey,
    write_synthetic_recording,
)
from recap_core.data.video_files import encode_video, probe_video, read_frames_in_order, rgb
from recap_core.errors import DataError, EpisodeError

ONE_CAMERA = SyntheticRobot(cameras=("head_camera",))
HEAD = "observation.images.head_camera"


def convert(
    recording: Path,
    output: Path,
    *,
    outcomes: dict[str, bool] | None = None,
    excluded: tuple[str, ...] = (),
    **settings: object,
) -> DatasetSummary:
    return convert_recording(
        recording,
        output,
        ConvertConfig.model_validate(settings),
        round_index=3,
        source="monday",
        outcomes=outcomes,
        excluded=excluded,
    )


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def greys(path: Path) -> list[int]:
    return [int(rgb(frame).mean()) for frame in read_frames_in_order(path)]


def test_every_row_is_the_recorded_one(recording: Path, dataset: Path) -> None:
    """State, action, environment and the five columns of every episode, in order."""
    table = read_frames(dataset)
    start = 0
    for episode in sorted(recording.iterdir()):
        raw = read_raw_episode(episode)
        rows = slice(start, start + len(raw.state))
        start = rows.stop
        np.testing.assert_array_equal(table.column("observation.state")[rows], raw.state)
        np.testing.assert_array_equal(table.column("action")[rows], raw.action)
        np.testing.assert_array_equal(
            table.column("observation.environment_state")[rows], raw.environment_state
        )
        expected = recap_columns(raw.phase, success=raw.success, demonstration=False)
        for name, values in expected.items():
            np.testing.assert_array_equal(table.column(name)[rows], values)
    assert start == table.num_frames


def test_indices_count_what_they_say(dataset: Path) -> None:
    """``index`` over the dataset, ``frame_index`` and ``timestamp`` within the episode."""
    table = read_frames(dataset)

    lengths = [12, 15, 10, 9]
    within = np.concatenate([np.arange(length) for length in lengths])
    np.testing.assert_array_equal(table.column("index"), np.arange(46))
    np.testing.assert_array_equal(table.column("frame_index"), within)
    np.testing.assert_array_equal(table.column("timestamp"), (within / 10).astype(np.float32))
    np.testing.assert_array_equal(table.column("episode_index"), np.repeat(range(4), lengths))
    np.testing.assert_array_equal(table.column("task_index"), np.repeat([0, 0, 0, 1], lengths))


def test_videos_are_the_recorded_packets(recording: Path, dataset: Path) -> None:
    """Nothing is encoded again: same pictures, as many as rows."""
    for number, episode in enumerate(sorted(recording.iterdir())):
        for camera in ("head_camera", "left_wrist_camera", "right_wrist_camera"):
            stored = dataset / f"videos/observation.images.{camera}/chunk-000/file-{number:03d}.mp4"
            raw = [rgb(frame) for frame in read_frames_in_order(episode / f"{camera}.mp4")]
            kept = [rgb(frame) for frame in read_frames_in_order(stored)]
            np.testing.assert_array_equal(np.stack(kept), np.stack(raw))


def test_the_summary_says_what_was_written(recording: Path, tmp_path: Path) -> None:
    """Counts, tasks, cameras and one round."""
    summary = convert(recording, tmp_path / "out")

    assert summary == DatasetSummary(
        num_episodes=4,
        num_frames=46,
        fps=10,
        tasks=("transfer cube", "insert peg"),
        cameras=tuple(
            f"observation.images.{name}_camera" for name in ("head", "left_wrist", "right_wrist")
        ),
        num_rounds=1,
    )
    table = read_frames(tmp_path / "out")
    assert table.rounds.tolist() == [3, 3, 3, 3]
    assert table.sources == ("monday",) * 4
    assert table.meta.episodes.column("raw_episode")[2].as_py() == "episode_20240101_120000_0002"


def test_the_same_recording_gives_the_same_bytes(recording: Path, tmp_path: Path) -> None:
    """Conversion is deterministic, and only reads the recording."""
    before = digests(recording)

    convert(recording, tmp_path / "a")
    convert(recording, tmp_path / "b")

    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert digests(recording) == before


def test_demonstrations_are_human_throughout(recording: Path, tmp_path: Path) -> None:
    """Intervention 1, positive and successful in every episode."""
    convert(recording, tmp_path / "out", demonstrations=True)

    table = read_frames(tmp_path / "out")
    assert table.is_demonstration.all()
    assert table.success.all()
    assert set(table.column("adv_ind")) == {"positive"}


def test_what_is_left_out(
    recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures on request, exclusions by annotation; corrected outcomes count."""
    name = "episode_20240101_120000_000"

    with caplog.at_level(logging.WARNING):
        convert(
            recording,
            tmp_path / "out",
            success_only=True,
            outcomes={f"{name}2": True},
            excluded=(f"{name}1",),
        )

    table = read_frames(tmp_path / "out")
    assert table.episode_lengths.tolist() == [12, 10]
    assert table.success.tolist() == [True, True]
    assert f"{name}1: excluded" in caplog.text
    assert f"{name}3: a failure" in caplog.text


def test_the_task_can_be_replaced(recording: Path, tmp_path: Path) -> None:
    """One prompt for all episodes."""
    convert(recording, tmp_path / "out", task="fold the shirt")

    assert read_frames(tmp_path / "out").tasks == ("fold the shirt",)


def test_resampling_to_half_the_rate(tmp_path: Path) -> None:
    """floor(1.1 s * 5) + 1 = 6 frames: joints and pictures of every second tick."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=12, interventions=(4, 5))], ONE_CAMERA
    )

    convert(recording, tmp_path / "out", target_fps=5)

    table = read_frames(tmp_path / "out")
    assert (table.num_frames, table.fps) == (6, 5)
    np.testing.assert_allclose(
        table.column("observation.state")[:, 0], 0.02 * np.arange(6), atol=1e-6
    )
    # Row 2 is tick 4. T is counted after resampling.
    assert table.column("intervention").tolist() == [0, 0, 1, 0, 0, 0]
    np.testing.assert_allclose(table.column("value_label")[0], -5 / 6)
    video = tmp_path / "out" / "videos" / HEAD / "chunk-000" / "file-000.mp4"
    np.testing.assert_allclose(greys(video), synthetic_grey(0, 12, 0)[::2], atol=3)


def test_grippers_are_held_between_ticks(tmp_path: Path) -> None:
    """At 20 fps, joints move every frame, grippers (6, 13) every second."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=3)], ONE_CAMERA._replace(cameras=())
    )

    convert(recording, tmp_path / "out", target_fps=20)

    action = read_frames(tmp_path / "out").column("action")
    np.testing.assert_allclose(action[:, 0], 0.01 + 0.005 * np.arange(5), atol=1e-5)
    np.testing.assert_allclose(action[:, 6], 0.61 + 0.01 * np.array([0, 0, 1, 1, 2]), atol=1e-5)
    np.testing.assert_allclose(action[:, 13], 1.31 + 0.01 * np.array([0, 0, 1, 1, 2]), atol=1e-5)


def test_a_rate_within_one_percent_is_kept(tmp_path: Path) -> None:
    """10 fps recorded, 10 wanted: packets are copied, no row is touched."""
    recording = write_synthetic_recording(tmp_path / "raw", [SyntheticEpisode()], ONE_CAMERA)

    convert(recording, tmp_path / "out", target_fps=10)

    assert read_frames(tmp_path / "out").num_frames == 12


def test_dropped_camera_frames_are_filled_with_the_one_before(tmp_path: Path) -> None:
    """Frames 3 and 4 never reached the encoder: rows 3 and 4 show frame 2."""
    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=8)], ONE_CAMERA
    )
    (episode,) = recording.iterdir()
    times = np.load(episode / "head_camera_timestamps.npy")
    kept = [0, 1, 2, 5, 6, 7]
    shades = synthetic_grey(0, 8, 0)
    frames = (np.full((32, 32, 3), shades[i], dtype=np.uint8) for i in kept)
    encode_video(frames, episode / "head_camera.mp4", fps=10)
    np.save(episode / "head_camera_timestamps.npy", times[kept])

    convert(recording, tmp_path / "out")

    video = tmp_path / "out" / "videos" / HEAD / "chunk-000" / "file-000.mp4"
    assert probe_video(video).num_frames == 8
    np.testing.assert_allclose(greys(video), shades[[0, 1, 2, 2, 2, 5, 6, 7]], atol=3)


def test_another_codec_is_encoded_again(tmp_path: Path) -> None:
    """Datasets hold H.264 in yuv420p, whatever the recorder used."""
    import av

    recording = write_synthetic_recording(
        tmp_path / "raw", [SyntheticEpisode(length=6)], ONE_CAMERA
    )
    (episode,) = recording.iterdir()
    with av.open(str(episode / "head_camera.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        for shade in synthetic_grey(0, 6, 0):
            image = np.full((32, 32, 3), shade, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())

    convert(recording, tmp_path / "out")

    video = tmp_path / "out" / "videos" / HEAD / "chunk-000" / "file-000.mp4"
    assert probe_video(video).codec == "h264"
    np.testing.assert_allclose(greys(video), synthetic_grey(0, 6, 0), atol=5)


def last_episode(recording: Path) -> Path:
    return max(recording.iterdir())


def cut_video(recording: Path) -> None:
    path = last_episode(recording) / "head_camera.mp4"
    path.write_bytes(path.read_bytes()[:-200])


def shorten_video(recording: Path) -> None:
    frames = (np.zeros((32, 32, 3), dtype=np.uint8) for _ in range(4))
    encode_video(frames, last_episode(recording) / "head_camera.mp4", fps=10)


def spoil_state(recording: Path) -> None:
    values = np.full((6, 6), np.inf)
    path = last_episode(recording) / "left_states.npz"
    np.savez(path, joint_pos=values, gripper_pos=np.zeros((6, 1)))


def drop_arm(recording: Path) -> None:
    path = last_episode(recording) / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"arms": ["left"]}))


def rename_arm(recording: Path) -> None:
    episode = last_episode(recording)
    for path in episode.glob("right_*"):
        if path.suffix == ".npz":
            path.rename(episode / path.name.replace("right", "middle"))
    path = episode / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"arms": ["left", "middle"]}))


def drop_camera(recording: Path) -> None:
    path = last_episode(recording) / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cameras": []}))


def grow_images(recording: Path) -> None:
    frames = (np.zeros((48, 48, 3), dtype=np.uint8) for _ in range(6))
    encode_video(frames, last_episode(recording) / "head_camera.mp4", fps=10)


def slow_down(recording: Path) -> None:
    for path in last_episode(recording).glob("*timestamps.npy"):
        times = np.load(path)
        np.save(path, times[0] + 2 * (times - times[0]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut_video, r"head_camera.mp4 (holds 1 frames|.*damaged|.*truncated)"),
        (shorten_video, r"0001: head_camera.mp4 holds 4 frames, but there are 6 camera timestamps"),
        (spoil_state, r"left_states.npz\[0\] of episode .*0001 is .*finite number"),
        (drop_arm, r"0001 has action \[7\], but the first episode has \[14\]"),
        (rename_arm, r"0001 has action \[.*'middle_gripper_0'\], but the first .*'right_joint_0'"),
        (drop_camera, rf"0001 has {HEAD} None, but the first episode has \[32, 32, 3\]"),
        (grow_images, rf"0001 has {HEAD} \[48, 48, 3\], but the first"),
        (slow_down, r"0001 was recorded at 5.00 frames per second.*Set target_fps"),
    ],
)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    """The second episode is broken: no dataset appears, not even the directory."""
    good = SyntheticEpisode(length=6)
    recording = write_synthetic_recording(tmp_path / "raw", [good, good], ONE_CAMERA)
    # The rate of the recording is the median; with two good episodes, the slow one stands out.
    if spoil is slow_down:
        first = min(recording.iterdir())
        shutil.copytree(first, recording / "episode_20240101_120000_0000b")
    spoil(recording)

    with pytest.raises(DataError, match=message):
        convert(recording, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_an_episode_of_one_frame_is_left_out(tmp_path: Path) -> None:
    """It has no duration; if nothing else is there, that is an error."""
    episodes = [SyntheticEpisode(length=1), SyntheticEpisode(length=5)]
    robot = ONE_CAMERA._replace(cameras=())
    recording = write_synthetic_recording(tmp_path / "raw", episodes, robot)

    assert convert(recording, tmp_path / "out").num_frames == 5

    shutil.rmtree(last_episode(recording))
    with pytest.raises(DataError, match=r"no episode of .* is left to convert \(.*0000: 1 frames"):
        convert(recording, tmp_path / "none")


def test_an_output_in_use_is_refused(recording: Path, tmp_path: Path) -> None:
    """Nothing is overwritten; an empty directory is fine, and stays when conversion fails."""
    taken, empty = tmp_path / "taken", tmp_path / "empty"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    empty.mkdir()

    with pytest.raises(DataError, match="exists and is not empty"):
        convert(recording, taken)
    assert (taken / "notes.txt").read_text() == "mine"

    broken = shutil.copytree(recording, tmp_path / "raw")
    cut_video(broken)
    with pytest.raises(EpisodeError):
        convert(broken, empty)
    assert list(empty.iterdir()) == []
    assert convert(recording, empty).num_episodes == 4
