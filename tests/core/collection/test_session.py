"""Collection sessions in simulation."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from recap_core.collection.partial import sweep_unfinished
from recap_core.collection.recorder import IN_PROGRESS, process_start_time
from recap_core.collection.session import RecordingSummary, collect
from recap_core.config.collection import CollectConfig
from recap_core.config.robot import (
    HEAD,
    RIGHT_WRIST,
    ExpertConfig,
    SimRobotConfig,
    SupervisorConfig,
)
from recap_core.errors import ConfigError, EpisodeError, RobotError
from recap_core.progress import Silent
from recap_core.rollout.frame import Observation
from recap_core.rollout.protocols import PolicyClient

STATE_ONLY = SimRobotConfig(cameras=())
WATCHED = SupervisorConfig(supervised_share=1, stall_frames=3, takeover_frames=2, grace_frames=2)
ROLLOUTS = CollectConfig(
    num_episodes=3, max_episode_frames=12, robot=STATE_ONLY, supervisor=WATCHED
)
DEMONSTRATIONS = CollectConfig(mode="demonstration", num_episodes=2, robot=STATE_ONLY)


def record(
    config: CollectConfig, policy: PolicyClient | None, output: Path, *, num_robots: int = 2
) -> RecordingSummary:
    return collect(config, policy, output, num_robots=num_robots, progress=Silent())


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_rollout_episode_has_the_files_of_the_raw_format(
    tmp_path: Path, policy: PolicyClient
) -> None:
    """Names, keys, shapes and dtypes of SPEC 2.4, with 12 frames."""
    record(ROLLOUTS, policy, tmp_path)
    episode = min(tmp_path.glob("episode_*"))

    assert episode.name == "episode_20250101_000000_0000"
    for arm in ("left", "right"):
        states = np.load(episode / f"{arm}_states.npz")
        shapes = {key: states[key].shape for key in states.files}
        assert shapes == {
            "joint_pos": (12, 6),
            "joint_vel": (12, 6),
            "gripper_pos": (12, 1),
            "ee_pose": (12, 7),
        }
        for name in ("actions", "policy_actions"):
            assert np.load(episode / f"{arm}_{name}.npz")["pos"].shape == (12, 7)
    times = np.load(episode / "timestamps.npy")
    assert times.dtype == np.float64
    np.testing.assert_allclose(np.diff(times), 0.1, atol=1e-6)
    assert np.load(episode / "phase.npy").dtype == np.dtype("<U16")
    assert np.load(episode / "interventions.npy").dtype == bool
    assert np.load(episode / "correction_index.npy").dtype == np.int32
    assert np.load(episode / "environment_state.npy").shape == (12, 7)
    assert [marker.name for marker in episode.glob("[A-Z]*")] == ["FAILURE"]
    metadata = json.loads((episode / "metadata.json").read_text())
    assert metadata["num_steps"] == 12
    assert metadata["recording_fps"] == 10
    assert metadata["task_instruction"] == "transfer cube"


def test_corrections_are_marked_and_never_paused(tmp_path: Path, policy: PolicyClient) -> None:
    """A stalling policy is helped for two frames at a time; a pause takes no frame."""
    summary = record(ROLLOUTS, policy, tmp_path)
    corrected = 0
    for episode in tmp_path.glob("episode_*"):
        phase = np.load(episode / "phase.npy")
        assert set(phase) <= {"autonomous", "correcting"}
        np.testing.assert_array_equal(np.load(episode / "interventions.npy"), phase == "correcting")
        starts = np.flatnonzero(np.diff((phase == "correcting").astype(int), prepend=0) == 1)
        assert np.load(episode / "correction_index.npy")[-1] == len(starts)
        corrected += int((phase == "correcting").sum())
    assert summary.num_intervention_frames == corrected > 0


def test_states_and_actions_are_paired_before_the_step(
    tmp_path: Path, policy: PolicyClient
) -> None:
    """The robot tracks well, so state t + 1 is nearer to action t than state t is, on average."""
    record(
        ROLLOUTS.model_copy(update={"supervisor": SupervisorConfig(supervised_share=0)}),
        policy,
        tmp_path,
    )
    episode = min(tmp_path.glob("episode_*"))
    joints = np.load(episode / "right_states.npz")["joint_pos"]
    actions = np.load(episode / "right_actions.npz")["pos"][:, :6]
    before = np.abs(actions[:-1] - joints[:-1]).mean()
    after = np.abs(actions[:-1] - joints[1:]).mean()
    assert after < before / 2


def test_the_policys_wishes_are_never_nan(tmp_path: Path, policy: PolicyClient) -> None:
    """The shadow stream is filled while the operator drives, and in demonstrations."""
    record(ROLLOUTS, policy, tmp_path / "rollouts")
    record(DEMONSTRATIONS, None, tmp_path / "demonstrations")
    for path in tmp_path.rglob("*_policy_actions.npz"):
        assert np.isfinite(np.load(path)["pos"]).all()


def test_demonstrations_are_successes_that_the_operator_drove(tmp_path: Path) -> None:
    """Two kept episodes, all frames correcting, marker SUCCESS."""
    summary = record(DEMONSTRATIONS, None, tmp_path)
    assert summary.num_episodes == summary.num_successes == 2
    assert summary.num_intervention_frames == summary.num_frames
    for episode in tmp_path.glob("episode_*"):
        assert (episode / "SUCCESS").exists()
        assert set(np.load(episode / "phase.npy")) == {"correcting"}


def test_failed_demonstrations_are_replaced(tmp_path: Path) -> None:
    """With 21 frames many attempts fail; they leave no directory, and the count is right."""
    config = DEMONSTRATIONS.model_copy(
        update={"max_episode_frames": 21, "num_episodes": 3, "seed": 4}
    )
    few = record(config, None, tmp_path / "few", num_robots=1)
    many = record(config, None, tmp_path / "many", num_robots=5)
    assert few.num_episodes == 3
    assert few.num_discarded > 0
    assert few == many
    assert contents(tmp_path / "few") == contents(tmp_path / "many")


def test_a_hopeless_expert_is_an_error(tmp_path: Path) -> None:
    """Nobody hands a cube over in 2 frames; the message names the settings."""
    config = DEMONSTRATIONS.model_copy(update={"max_episode_frames": 2, "num_episodes": 1})
    with pytest.raises(RobotError, match=r"0 of 20 demonstrations.*max_episode_frames \(2\)"):
        record(config, None, tmp_path)


def test_recordings_do_not_depend_on_the_number_of_robots(
    tmp_path: Path, policy: PolicyClient
) -> None:
    """One robot or three: every byte is the same."""
    record(ROLLOUTS, policy, tmp_path / "one", num_robots=1)
    record(ROLLOUTS, policy, tmp_path / "three", num_robots=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_rounds_and_seeds_give_other_episodes(tmp_path: Path, policy: PolicyClient) -> None:
    """The same settings in another round start from another cube."""
    record(ROLLOUTS, policy, tmp_path / "a")
    record(ROLLOUTS.model_copy(update={"round_index": 1}), policy, tmp_path / "b")
    name = "episode_20250101_000000_0000/environment_state.npy"
    assert not np.array_equal(np.load(tmp_path / "a" / name), np.load(tmp_path / "b" / name))


def interrupt(session: Path, *, keep: int) -> None:
    """Leave a session as a kill would: some episodes complete, the next one half written."""
    (session / "session_summary.json").unlink()
    episodes = sorted(session.glob("episode_*"))
    (episodes[keep] / "metadata.json").unlink()
    (episodes[keep] / IN_PROGRESS).write_text("999999999 12345\n")
    for episode in episodes[keep + 1 :]:
        shutil.rmtree(episode)


@pytest.mark.parametrize("config", [ROLLOUTS, DEMONSTRATIONS], ids=["rollout", "demonstration"])
def test_an_interrupted_session_is_finished_byte_for_byte(
    tmp_path: Path, policy: PolicyClient, config: CollectConfig
) -> None:
    """The complete episode is not touched; the rest is recorded as it would have been."""
    record(config, policy, tmp_path)
    whole = contents(tmp_path)
    kept = min(tmp_path.glob("episode_*")) / "metadata.json"
    stat = kept.stat()
    interrupt(tmp_path, keep=1)

    record(config, policy, tmp_path)

    assert contents(tmp_path) == whole
    assert kept.stat().st_mtime_ns == stat.st_mtime_ns


def test_a_complete_session_is_not_recorded_again(tmp_path: Path, policy: PolicyClient) -> None:
    """The second call returns the same summary and changes no byte."""
    first = record(ROLLOUTS, policy, tmp_path)
    whole = contents(tmp_path)
    assert record(ROLLOUTS, policy, tmp_path) == first
    assert contents(tmp_path) == whole


def test_a_marker_beside_metadata_is_only_dropped(tmp_path: Path, policy: PolicyClient) -> None:
    """Killed between the last two steps: the episode is whole."""
    record(ROLLOUTS, policy, tmp_path)
    episode = min(tmp_path.glob("episode_*"))
    (episode / IN_PROGRESS).write_text("999999999 12345\n")
    assert sweep_unfinished(tmp_path) == 0
    assert (episode / "metadata.json").exists()
    assert not (episode / IN_PROGRESS).exists()


def test_an_episode_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    """Somebody else is recording here: an error, and nothing is deleted."""
    episode = tmp_path / "episode_20250101_000000_0000"
    episode.mkdir()
    (episode / IN_PROGRESS).write_text(f"{os.getpid()} {process_start_time(os.getpid())}\n")
    with pytest.raises(EpisodeError, match="live process"):
        sweep_unfinished(tmp_path)
    assert episode.exists()


def test_a_session_of_other_settings_is_not_continued(tmp_path: Path, policy: PolicyClient) -> None:
    """A session has one config; the message names what differs."""
    record(ROLLOUTS, policy, tmp_path)
    with pytest.raises(EpisodeError, match=r"config differ"):
        record(ROLLOUTS.model_copy(update={"seed": 9}), policy, tmp_path)


def test_an_error_of_the_policy_leaves_a_session_that_can_go_on(
    tmp_path: Path, policy: PolicyClient
) -> None:
    """The policy breaks at its 5th call; in the same process, the session is finished later."""

    class Breaking:
        """Works four times."""

        num_calls = 0

        def reset(self) -> None:
            """Nothing to forget."""

        def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
            """The policy's chunks, until it breaks."""
            self.num_calls += 1
            if self.num_calls == 5:
                raise RobotError("the policy server has gone")
            return policy.infer(observations)

    with pytest.raises(RobotError, match="has gone"):
        record(ROLLOUTS, Breaking(), tmp_path / "broken")
    record(ROLLOUTS, policy, tmp_path / "broken")
    record(ROLLOUTS, policy, tmp_path / "whole")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_rollouts_need_a_policy(tmp_path: Path) -> None:
    """A config error, before anything is written."""
    with pytest.raises(ConfigError, match="need a policy"):
        record(ROLLOUTS, None, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_videos_need_an_even_image_size(tmp_path: Path, policy: PolicyClient) -> None:
    """65 px cannot be yuv420p."""
    config = CollectConfig(robot=SimRobotConfig(image_px=65))
    with pytest.raises(ConfigError, match="Use 66"):
        record(config, policy, tmp_path / "new")


@pytest.mark.usefixtures("gl")
def test_videos_have_one_packet_per_frame_and_keyframes_every_other(
    tmp_path: Path, policy: PolicyClient
) -> None:
    """Two cameras, 6 frames: h264, yuv420p, times k / 10 s, keys at 0, 2, 4; reproducible."""
    robot = SimRobotConfig(cameras=(HEAD, RIGHT_WRIST), image_px=32)
    config = CollectConfig(num_episodes=2, max_episode_frames=6, robot=robot)
    summary = record(config, policy, tmp_path / "a", num_robots=2)
    record(config, policy, tmp_path / "b", num_robots=1)

    assert summary.cameras == ("head_camera", "right_wrist_camera")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for path in tmp_path.glob("a/episode_*/*.mp4"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert [packet.is_keyframe for packet in packets] == [True, False] * 3
            assert stream.time_base is not None
            times = [float((packet.pts or 0) * stream.time_base) for packet in packets]
            np.testing.assert_allclose(times, np.arange(6) / 10)
        stamps = np.load(path.with_name(f"{path.stem}_timestamps.npy"))
        np.testing.assert_array_equal(stamps, np.load(path.with_name("timestamps.npy")))


def test_the_session_summary_lists_every_episode(tmp_path: Path, policy: PolicyClient) -> None:
    """Counts and one entry per episode."""
    record(ROLLOUTS, policy, tmp_path)
    summary = json.loads((tmp_path / "session_summary.json").read_text())
    assert summary["episodes"] == 3
    assert summary["discarded"] == 0
    assert [entry["step_count"] for entry in summary["per_episode"]] == [12, 12, 12]


def test_a_stalled_robot_is_rescued(tmp_path: Path) -> None:
    """The policy freezes but holds what it has; corrections alone bring at least 4 of 5 home."""

    class Frozen:
        """Stays where it is, and keeps a closed gripper closed."""

        def reset(self) -> None:
            """Nothing to forget."""

        def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
            """The present state; grippers around a cube squeeze."""
            chunks = []
            for observation in observations:
                action = observation["observation.state"].copy()
                grippers = action[[6, 13]]
                action[[6, 13]] = np.where((grippers > 0.5) & (grippers < 0.7), 0, grippers)
                chunks.append(action[None])
            return chunks

    config = CollectConfig(
        num_episodes=5,
        max_episode_frames=100,
        robot=STATE_ONLY,
        supervisor=SupervisorConfig(supervised_share=1),
        expert=ExpertConfig(noise_rad=0),
    )
    summary = record(config, Frozen(), tmp_path, num_robots=5)
    assert summary.num_successes >= 4
    assert summary.num_intervention_episodes == 5
