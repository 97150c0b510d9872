"""Recording of live sessions: files, images that are lost, disks that are full."""

import json
import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from recap_core.collection.live_recorder import SessionRecorder
from recap_core.collection.live_session import SessionSettings
from recap_core.config.recording import GIB, RecordingConfig
from recap_core.errors import ConfigError, EpisodeError
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import (
    CAMERA_TIMES,
    OBSERVED_AT,
    ArmLayout,
    CameraFormat,
    LiveFrame,
    LiveRecorder,
    RobotDescription,
)
from recap_core.rollout.phase import Phase
from tests.core.collection.live_cell import FPS, START_S, frame_of, image_of, number_of, robot
from tests.core.data.small_disk import small_disk, why_no_disk


class Recorders:
    """Opens recorders in one base directory, on a disk of any size."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.free_bytes = 100 * GIB
        self.opened: list[SessionRecorder] = []

    def __call__(
        self,
        described: RobotDescription | None = None,
        *,
        base: Path | None = None,
        **config: Any,  # noqa: ANN401 - settings of a recording
    ) -> SessionRecorder:
        """A recorder; it is closed with the others."""
        recorder = SessionRecorder(
            RecordingConfig(base_dir=base or self.base, **{"finish_timeout_s": 600, **config}),
            SessionSettings("Fold the Shirt!", round_index=3),
            described or robot(),
            clock=lambda: START_S,
            measure=lambda _: self.free_bytes,
        )
        self.opened.append(recorder)
        return recorder


@pytest.fixture
def opened(tmp_path: Path) -> Generator[Recorders]:
    """Closes them at the end."""
    recorders = Recorders(tmp_path / "base")
    yield recorders
    for recorder in recorders.opened:
        recorder.close()


def recorded(recorder: SessionRecorder, frames: Sequence[LiveFrame]) -> Path:
    """Record an episode, a success; its directory."""
    recorder.start()
    for frame in frames:
        recorder.record(frame)
    return Path(recorder.finish(Outcome.SUCCESS).directory)


def metadata_of(episode: Path) -> dict[str, Any]:
    return json.loads((episode / "metadata.json").read_text())


def pictures(video: Path) -> list[int]:
    with closing(av.open(str(video))) as container:
        return [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def phases_of(number: int) -> Phase:
    return (Phase.AUTONOMOUS, Phase.PAUSED, Phase.CORRECTING)[number // 4]


def test_an_episode_has_the_files_of_the_raw_format(opened: Recorders) -> None:
    """12 ticks: names, shapes and dtypes of SPEC 2.4; a row and a picture for each."""
    recorder = opened(operator="Ada")
    assert isinstance(recorder, LiveRecorder)
    frames = [
        frame_of(n, phase=phases_of(n), correction_index=int(n >= 8), policy_id="ab"[n // 6])
        for n in range(12)
    ]
    recorder.start()
    assert {path.name for path in recorder.directory.glob("episode_*/R*")} == {
        "RECORDING_IN_PROGRESS"
    }
    for frame in frames:
        recorder.record(frame)
    summary = recorder.finish(Outcome.FAILURE)
    episode = Path(summary.directory)

    arms = {f"{arm}_{kind}.npz" for arm in ("left", "right") for kind in (
        "states", "actions", "policy_actions")}  # fmt: skip
    cameras = {f"{camera}{end}" for camera in ("head_camera", "wrist_camera")
               for end in (".mp4", "_timestamps.npy")}  # fmt: skip
    rows = {"timestamps.npy", "phase.npy", "interventions.npy", "correction_index.npy",
            "policy_id.npy"}  # fmt: skip
    assert {path.name for path in episode.iterdir()} == {
        *arms, *cameras, *rows, "FAILURE", "metadata.json"}  # fmt: skip
    states = np.load(episode / "left_states.npz")
    assert {key: states[key].shape for key in states.files} == {
        "joint_pos": (12, 6),
        "gripper_pos": (12, 1),
    }
    assert np.load(episode / "right_actions.npz")["pos"].shape == (12, 7)
    np.testing.assert_allclose(np.load(episode / "timestamps.npy"), [f.time_s for f in frames])
    phase = np.load(episode / "phase.npy")
    assert phase.dtype == np.dtype("<U16")
    assert phase.tolist() == [phases_of(n).value for n in range(12)]
    assert np.load(episode / "interventions.npy").tolist() == [n >= 8 for n in range(12)]
    corrections = np.load(episode / "correction_index.npy")
    assert (corrections.dtype, corrections.tolist()) == (np.int32, [0] * 8 + [1] * 4)
    assert np.load(episode / "policy_id.npy").tolist() == ["a"] * 6 + ["b"] * 6
    for camera in ("head_camera", "wrist_camera"):
        assert pictures(episode / f"{camera}.mp4") == list(range(12))
        assert len(np.load(episode / f"{camera}_timestamps.npy")) == 12
    found = metadata_of(episode)
    expected = {"task_instruction": "Fold the Shirt!", "mode": "rollout", "round_index": 3,
                "num_steps": 12, "recording_fps": 30, "arms": ["left", "right"], "leaders": [],
                "cameras": ["head_camera", "wrist_camera"], "success": False, "operator": "Ada",
                "intervention_count": 1, "num_intervention_steps": 4, "num_paused_steps": 4,
                "policy_ids": ["a", "b"], "padded_rows": 0, "clock_was_set": False,
                "dropped_images": {"head_camera": 0, "wrist_camera": 0}}  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert found["timing"]["mean_hz"] == pytest.approx(FPS)
    assert found["timing"]["jitter_p99_ms"] < 1e-2
    assert summary[1:] == (Outcome.FAILURE, 12, pytest.approx(11 / FPS), 1, 4, 0)


def test_what_not_every_tick_has_is_left_out(opened: Recorders) -> None:
    """Velocities of all ticks are kept, poses of some and efforts that are NaN are not."""
    frames = []
    for n in range(4):
        extra = {
            "observation.joint_velocity": np.full(14, n),
            "observation.joint_effort": np.full(14, np.nan if n == 2 else 0.0),
        }
        if n:
            extra["observation.ee_pose"] = np.zeros(14)
        frames.append(frame_of(n, observation=extra))
    states = np.load(recorded(opened(), frames) / "right_states.npz")
    assert sorted(states.files) == ["gripper_pos", "joint_pos", "joint_vel"]
    assert states["joint_vel"][:, 0].tolist() == [0, 1, 2, 3]


def test_poses_are_written_by_arm(opened: Recorders) -> None:
    """Seven numbers an arm, side by side in the observation."""
    poses = np.arange(14, dtype=np.float32)
    frames = [frame_of(n, observation={"observation.ee_pose": poses}) for n in range(2)]
    episode = recorded(opened(), frames)
    assert np.load(episode / "left_states.npz")["ee_pose"][0].tolist() == list(range(7))
    assert np.load(episode / "right_states.npz")["ee_pose"][1].tolist() == list(range(7, 14))


def test_a_policy_that_says_nothing_is_nan(opened: Recorders) -> None:
    """Rows without a wish; a silent policy throughout gives a whole file of them."""
    silent = {"policy_action": None, "policy_id": ""}
    frames = [frame_of(0), frame_of(1, **silent), frame_of(2)]
    recorder = opened()
    mixed = np.load(recorded(recorder, frames) / "left_policy_actions.npz")["pos"]
    assert np.isnan(mixed).all(axis=1).tolist() == [False, True, False]
    episode = recorded(recorder, [frame_of(n, **silent) for n in range(3)])
    assert np.isnan(np.load(episode / "right_policy_actions.npz")["pos"]).all()
    assert np.load(episode / "policy_id.npy").tolist() == ["", "", ""]


def test_a_silent_arm_repeats_its_row(opened: Recorders) -> None:
    """Left says nothing in ticks 0 and 2: the first row is the next one's, then the one before."""
    frames = [frame_of(n) for n in range(4)]
    for n in (0, 2):
        frames[n].action[:7] = np.nan
    episode = recorded(opened(), frames)
    left, right = (np.load(episode / f"{arm}_actions.npz")["pos"] for arm in ("left", "right"))
    np.testing.assert_allclose(left[:, 0], [0.015, 0.015, 0.015, 0.035])
    np.testing.assert_allclose(right[:, 0], [0.005, 0.015, 0.025, 0.035])
    assert metadata_of(episode)["padded_rows"] == 2


def test_leaders_have_files_of_their_own(opened: Recorders) -> None:
    """They are no arms of the robot, so a conversion leaves them alone."""
    leaders = (ArmLayout("leader_left", (0, 1), (2,)), ArmLayout("leader_right", (3, 4)))
    frames = [frame_of(n, leader_state=np.arange(5.0) + n if n else None) for n in range(3)]
    episode = recorded(opened(robot(leaders=leaders)), frames)
    left = np.load(episode / "leader_left_states.npz")
    assert left["joint_pos"].tolist() == [[1, 2], [1, 2], [2, 3]]
    assert left["gripper_pos"][:, 0].tolist() == [3, 3, 4]
    assert np.load(episode / "leader_right_states.npz").files == ["joint_pos"]
    assert metadata_of(episode)["leaders"] == ["leader_left", "leader_right"]
    assert metadata_of(episode)["arms"] == ["left", "right"]


def test_the_robots_buffers_may_be_used_again(opened: Recorders) -> None:
    """A driver that gives the same arrays in every tick changes nothing that is recorded."""
    recorder = opened()
    recorder.start()
    shared = frame_of(0)
    for n in range(20):
        fresh = frame_of(n)
        for key, values in fresh.observation.items():
            shared.observation[key][...] = values
        shared.action[...] = fresh.action
        recorder.record(shared._replace(time_s=fresh.time_s))
    episode = Path(recorder.finish(Outcome.SUCCESS).directory)
    assert pictures(episode / "head_camera.mp4") == list(range(20))
    joints = np.load(episode / "left_states.npz")["joint_pos"][:, 0]
    np.testing.assert_allclose(joints, 0.01 * np.arange(20), rtol=1e-6)


def test_a_lost_image_is_counted_and_has_no_time(opened: Recorders) -> None:
    """Ticks 3 and 4 of one camera: 8 pictures with their times for 10 rows."""
    frames = [frame_of(n, without=["head_camera"] if n in {3, 4} else []) for n in range(10)]
    recorder = opened()
    episode = recorded(recorder, frames)
    seen = [0, 1, 2, 5, 6, 7, 8, 9]
    assert pictures(episode / "head_camera.mp4") == seen
    times = np.load(episode / "head_camera_timestamps.npy")
    np.testing.assert_allclose(times, [frames[n].time_s for n in seen])
    assert metadata_of(episode)["dropped_images"] == {"head_camera": 2, "wrist_camera": 0}
    assert recorder.status().num_dropped == 2
    summary = json.loads((recorder.directory / "session_summary.json").read_text())
    assert summary["dropped_images"] == {"head_camera": 2, "wrist_camera": 0}


def test_an_image_that_is_seen_again_is_not_encoded_again(opened: Recorders) -> None:
    """A camera at half the rate: every second tick shows the picture before; nothing is dropped."""
    frames = []
    for n in range(8):
        shown = n - n % 2
        times = {"head_camera": START_S + shown / FPS - 0.004}
        images = {"observation.images.head_camera": frame_of(shown).observation[
            "observation.images.head_camera"]}  # fmt: skip
        frames.append(frame_of(n, observation={**images, CAMERA_TIMES: times}))
    episode = recorded(opened(), frames)
    assert pictures(episode / "head_camera.mp4") == [0, 2, 4, 6]
    times = np.load(episode / "head_camera_timestamps.npy")
    np.testing.assert_allclose(times, [frames[n].time_s - 0.004 for n in (0, 2, 4, 6)])
    assert pictures(episode / "wrist_camera.mp4") == list(range(8))
    assert metadata_of(episode)["dropped_images"] == {"head_camera": 0, "wrist_camera": 0}


def test_an_image_is_never_later_than_the_tick_that_saw_it(opened: Recorders) -> None:
    """Joints are read 5 ms after the tick's time; its image still belongs to this tick."""
    frames = [frame_of(n, observation={OBSERVED_AT: START_S + n / FPS + 0.005}) for n in range(3)]
    episode = recorded(opened(), frames)
    np.testing.assert_array_equal(
        np.load(episode / "head_camera_timestamps.npy"), np.load(episode / "timestamps.npy")
    )


def test_a_clock_that_is_set_back_does_not_turn_time(opened: Recorders) -> None:
    """One second back after tick 4: times go on by one tick, and the metadata says so."""
    frames = [frame_of(n) for n in range(10)]
    frames[5:] = [frame._replace(time_s=frame.time_s - 1) for frame in frames[5:]]
    episode = recorded(opened(), frames)
    for name in ("timestamps", "head_camera_timestamps"):
        np.testing.assert_allclose(np.diff(np.load(episode / f"{name}.npy")), 1 / FPS, atol=1e-6)
    assert pictures(episode / "head_camera.mp4") == list(range(10))
    assert metadata_of(episode)["clock_was_set"]


def test_facts_of_the_caller_are_kept_with_one_episode(opened: Recorders) -> None:
    """Statistics of the loop, a seed; also what is no JSON. They replace nothing of ours."""
    recorder = opened()
    recorder.start()
    for n in range(3):
        recorder.record(frame_of(n))
    recorder.describe_episode(loop={"p99_ms": 1.5}, where=Path("/here"), num_steps=99)
    found = metadata_of(Path(recorder.finish(Outcome.SUCCESS).directory))
    assert (found["loop"], found["where"], found["num_steps"]) == ({"p99_ms": 1.5}, "/here", 3)
    assert "loop" not in metadata_of(recorded(recorder, [frame_of(n) for n in range(3)]))


def test_discarded_episodes_leave_no_trace_but_their_count(opened: Recorders) -> None:
    """Also between episodes nothing is recorded, and a second discard does nothing."""
    recorder = opened()
    recorder.start()
    recorder.record(frame_of(0))
    assert recorder.status()[:2] == (True, 1)
    recorder.discard()
    recorder.discard()
    recorder.record(frame_of(1))
    assert recorder.status()[:2] == (False, 0)
    assert [path.name for path in recorder.directory.iterdir() if path.is_dir()] == []
    summary = json.loads((recorder.directory / "session_summary.json").read_text())
    assert (summary["episodes"], summary["discarded"]) == (0, 1)


def test_an_episode_without_frames_is_not_saved(opened: Recorders) -> None:
    """One tick has no rate; the next episode is not harmed."""
    recorder = opened()
    with pytest.raises(EpisodeError, match="1 frames, fewer than 2"):
        recorded(recorder, [frame_of(0)])
    assert list(recorder.directory.glob("*episode_*")) == []
    assert recorder.status().problem is None
    recorded(recorder, [frame_of(n) for n in range(2)])


def test_closing_saves_the_open_episode_as_a_failure(opened: Recorders) -> None:
    """Never silently a success; closing twice is once."""
    recorder = opened()
    recorder.start()
    for n in range(3):
        recorder.record(frame_of(n))
    recorder.close()
    recorder.close()
    (episode,) = recorder.directory.glob("episode_*")
    assert (episode / "FAILURE").exists()
    summary = json.loads((recorder.directory / "session_summary.json").read_text())
    assert (summary["is_open"], summary["episodes"], summary["successful"]) == (False, 1, 0)
    assert not (recorder.directory / "SESSION_IN_PROGRESS").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"observation": {"observation.images.head_camera": np.zeros((8, 8, 3), np.uint8)}},
         r"head_camera gives uint8 \(8, 8, 3\)"),
        ({"action": np.zeros(3)}, r"the action has shape \(3,\), and had \(14,\)"),
        ({"time_s": float("nan")}, "its time is nan"),
    ],
    ids=["image", "action", "time"],
)  # fmt: skip
def test_a_wrong_frame_is_told_and_never_raises(
    opened: Recorders, change: dict[str, Any], problem: str
) -> None:
    """The control loop goes on; what came before is saved, and says so; the next one is whole."""
    recorder = opened()
    recorder.start()
    for n in range(3):
        recorder.record(frame_of(n))
    recorder.record(frame_of(3, **change))
    recorder.record(frame_of(4))
    assert "frame 3 cannot be recorded" in (recorder.status().problem or "")

    episode = Path(recorder.finish(Outcome.FAILURE).directory)

    assert re.search(problem, metadata_of(episode)["cut_short"])
    assert len(np.load(episode / "timestamps.npy")) == 3
    assert pictures(episode / "head_camera.mp4") == [0, 1, 2]
    whole = recorded(recorder, [frame_of(n) for n in range(3)])
    assert metadata_of(whole)["cut_short"] is None
    assert recorder.status().problem is None


def test_an_episode_whose_first_frame_is_wrong_says_so(opened: Recorders) -> None:
    """There is nothing to save."""
    recorder = opened()
    with pytest.raises(EpisodeError, match=r"0 frames, fewer than 2: .*its time is nan"):
        recorded(recorder, [frame_of(0, time_s=float("nan")), frame_of(1), frame_of(2)])


def test_arms_that_name_missing_dims_are_told_at_once(opened: Recorders) -> None:
    """In the first frame, not when the episode is over."""
    recorder = opened(robot(arms=(ArmLayout("left", (0, 14)),)))
    recorder.start()
    recorder.record(frame_of(0))
    assert "has shape (14,), but arms name 15 dims" in (recorder.status().problem or "")


def test_a_camera_that_shows_nothing_is_an_error(opened: Recorders) -> None:
    """It would be a video without pictures."""
    frames = [frame_of(n, without=["wrist_camera"]) for n in range(3)]
    with pytest.raises(EpisodeError, match="wrist_camera has shown no image"):
        recorded(opened(), frames)


def test_an_encoder_that_fails_is_told_until_it_works_again(opened: Recorders) -> None:
    """A video whose name no disk takes: no episode is saved, and no other begins."""
    name = "c" * 300
    recorder = opened(robot(cameras={name: CameraFormat(32, 128)}))
    recorder.start()
    for n in range(3):
        image = {f"observation.images.{name}": image_of(n)}
        recorder.record(frame_of(n, observation=image))
    while recorder.status().problem is None:
        os.sched_yield()
    assert "cannot be written" in (recorder.status().problem or "")
    recorder.record(frame_of(3))
    with pytest.raises(EpisodeError, match="not saved"):
        recorder.finish(Outcome.SUCCESS)
    with pytest.raises(EpisodeError, match="can still not be written"):
        recorder.start()
    assert recorder.status().problem is not None
    assert list(recorder.directory.glob("*episode_*")) == []


def test_little_room_ends_recording_in_time(opened: Recorders) -> None:
    """No episode begins below 2 GiB; an open one must end below 1 GiB, and is saved."""
    recorder = opened()
    recorder.start()
    for n in range(40):
        recorder.record(frame_of(n))
    opened.free_bytes = int(1.5 * GIB)
    recorder._disk.look()
    assert recorder.status().problem is None
    opened.free_bytes = int(0.9 * GIB)
    recorder._disk.look()
    assert "0.90 GiB left, less than 1.00 GiB" in (recorder.status().problem or "")
    assert recorder.status().seconds_left == 0
    recorder.finish(Outcome.SUCCESS)
    with pytest.raises(EpisodeError, match=r"less than 2\.00 GiB.*base_dir"):
        recorder.start()
    opened.free_bytes = 12 * GIB
    recorder.start()
    status = recorder.status()
    assert (status.problem, status.free_bytes) == (None, 12 * GIB)
    assert status.seconds_left is not None
    assert status.seconds_left > 3600


def test_a_full_disk_costs_one_episode(opened: Recorders, tmp_path: Path) -> None:
    """On a real one: nothing is left of the episode, and with room the next one is recorded."""
    if reason := why_no_disk(tmp_path / "probe"):
        pytest.skip(reason)
    with small_disk(tmp_path / "disk", size_kb=400) as disk:
        recorder = opened(base=disk / "base", disk_reserve_bytes=0)
        ballast = disk / "ballast"
        recorder.start()
        ballast.write_bytes(bytes(390 * 1024 - 40 * 1024))
        for n in range(120):
            recorder.record(frame_of(n))
        with pytest.raises(EpisodeError, match="No space left"):
            recorder.finish(Outcome.SUCCESS)
        assert list(recorder.directory.glob("*episode_*")) == []
        assert recorder.status().problem is not None
        ballast.unlink()
        recorded(recorder, [frame_of(n) for n in range(3)])
        assert recorder.status().problem is None
        recorder.close()


def test_an_endless_episode_must_end(opened: Recorders) -> None:
    """What is over the limit is not recorded; what came before is saved."""
    recorder = opened(max_episode_frames=5)
    recorder.start()
    for n in range(9):
        recorder.record(frame_of(n))
    assert "max_episode_frames" in (recorder.status().problem or "")
    assert recorder.finish(Outcome.SUCCESS).num_frames == 5
    assert recorder.status().problem is None


def test_one_episode_is_open_at_a_time(opened: Recorders) -> None:
    """Starting twice, and finishing nothing, are errors."""
    recorder = opened()
    with pytest.raises(EpisodeError, match="no episode is open"):
        recorder.finish(Outcome.SUCCESS)
    recorder.start()
    with pytest.raises(EpisodeError, match="is still open"):
        recorder.start()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": {"head": CameraFormat(33, 64)}}, "33 x 64.*even"),
        ({"cameras": {"../head": CameraFormat(32, 64)}}, "names of files"),
        ({"cameras": {"left": CameraFormat(32, 64)}}, "there once"),
    ],
)
def test_robots_that_cannot_be_recorded(
    opened: Recorders, changes: dict[str, Any], message: str
) -> None:
    """Odd sizes, names that are paths, names that are there twice; nothing is made."""
    with pytest.raises(ConfigError, match=message):
        opened(robot(**changes))
