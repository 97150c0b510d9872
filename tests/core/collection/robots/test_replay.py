"""A recording as a robot."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recap_core.collection.robots import replay_images
from recap_core.collection.robots.faults import FaultyRobot
from recap_core.collection.robots.opening import open_robot, scripted_policy
from recap_core.collection.robots.replay import ReplayRobot
from recap_core.config.live_robot import ReplayConfig, ScriptedPolicyConfig
from recap_core.data.synthetic import START_S, synthetic_grey, synthetic_state
from recap_core.errors import ConfigError, DataError, RobotError
from recap_core.rollout.live import CAMERA_TIMES, OBSERVED_AT, CameraFormat, LiveRobot

LENGTHS = (12, 9)
HEAD = "observation.images.head"
BLUR = 3
"""Grey levels that video compression may change."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On however slow a machine, images that are decoded ahead come in time."""
    monkeypatch.setattr(replay_images, "STARVED_S", 300.0)


class Ticks:
    """Unix time that goes on by a tenth of a second per call."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self) -> float:
        """The time."""
        self._next += 1
        return 1000 + self._next / 10


def expected_rows() -> Iterator[tuple[np.ndarray, int]]:
    """State and grey level of every row of both episodes."""
    for number, length in enumerate(LENGTHS):
        states = synthetic_state(number, length, 14)[:-1]
        yield from zip(states, synthetic_grey(number, length, 0).tolist(), strict=True)


@pytest.mark.parametrize("memory_mib", [256, 0], ids=["in memory", "decoded ahead"])
def test_rows_come_in_order_and_over_again(recording: Path, memory_mib: int) -> None:
    """Each tick shows one recorded row, joints and image; after the last comes the first."""
    robot = ReplayRobot(ReplayConfig(kind="replay", path=recording, memory_mib=memory_mib))
    robot.connect()
    assert isinstance(robot, LiveRobot)
    assert robot.description.fps == 10
    assert robot.description.cameras == {"head": CameraFormat(32, 32)}
    left, right = robot.description.arms
    assert (left.name, left.joints, left.gripper) == ("left", (0, 1, 2, 3, 4, 5), (6,))
    assert (right.name, right.joints, right.gripper) == ("right", (7, 8, 9, 10, 11, 12), (13,))

    rows = list(expected_rows())
    for state, grey in rows + rows[:5]:
        observation = robot.get_observation()
        np.testing.assert_array_equal(observation["observation.state"], state)
        assert abs(int(observation[HEAD][16, 16, 0]) - grey) <= BLUR
    robot.disconnect()


def test_images_keep_the_ages_they_had(recording: Path, tmp_path: Path) -> None:
    """A camera of half the rate, 40 ms late: every other row shows the image before, as old."""
    episode = tmp_path / "episode_0"
    shutil.copytree(min(recording.glob("episode_*")), episode)
    taken = START_S + np.arange(6) / 5 - 0.04
    np.save(episode / "head_timestamps.npy", taken)
    robot = ReplayRobot(ReplayConfig(kind="replay", path=episode), now=Ticks())
    robot.connect()

    seen = [robot.get_observation() for _ in range(4)]
    ages = [observation[OBSERVED_AT] - observation[CAMERA_TIMES]["head"] for observation in seen]
    # Unix times of 1.7e9 s are exact to 2.4e-7 s.
    np.testing.assert_allclose(ages, [0.04, 0.14, 0.04, 0.14], atol=1e-6)
    assert seen[1][CAMERA_TIMES]["head"] == seen[0][CAMERA_TIMES]["head"]
    assert seen[1][HEAD] is seen[0][HEAD]
    assert seen[2][HEAD] is not seen[1][HEAD]
    robot.disconnect()


def test_follow_shows_the_last_action_as_the_state(recording: Path) -> None:
    """An action is kept, and with ``follow`` it is where the robot then is."""
    robot = ReplayRobot(ReplayConfig(kind="replay", path=recording, follow=True))
    robot.connect()
    robot.get_observation()
    action = np.linspace(0, 1, 14, dtype=np.float32)

    sent = robot.send_action({"action": action})

    np.testing.assert_array_equal(sent["action"], action)
    np.testing.assert_array_equal(robot.last_action, action)
    np.testing.assert_array_equal(robot.get_observation()["observation.state"], action)
    with pytest.raises(RobotError, match=r"must be \(14,\) and finite"):
        robot.send_action({"action": action[:7]})
    robot.disconnect()


def test_a_truncated_video_is_an_error_of_the_robot(recording: Path, tmp_path: Path) -> None:
    """Decoded ahead, a video that is too short stops the tick that needs it, and the next ones."""
    episode, other = sorted(recording.glob("episode_*"))
    cut = tmp_path / episode.name
    shutil.copytree(episode, cut)
    shutil.copy(other / "head.mp4", cut / "head.mp4")  # 9 frames for 12 rows
    robot = ReplayRobot(ReplayConfig(kind="replay", path=cut, memory_mib=0))
    robot.connect()
    for _ in range(9):
        robot.get_observation()
    for _ in range(2):
        with pytest.raises(RobotError, match="ends after 9 frames, but row 9 shows frame 9"):
            robot.get_observation()
    robot.disconnect()


def test_what_cannot_be_replayed_says_so(recording: Path, tmp_path: Path) -> None:
    """An empty directory, and episodes of two robots."""
    with pytest.raises(DataError, match="no finished episode"):
        ReplayRobot(ReplayConfig(kind="replay", path=tmp_path)).connect()
    mixed = tmp_path / "mixed"
    shutil.copytree(recording, mixed)
    metadata = max(mixed.glob("episode_*")) / "metadata.json"
    metadata.write_text(metadata.read_text().replace('["left", "right"]', '["left"]'))
    with pytest.raises(ConfigError, match="cannot be replayed as one robot"):
        ReplayRobot(ReplayConfig(kind="replay", path=mixed)).connect()


def test_faults_happen_when_they_shall(recording: Path) -> None:
    """One read fails, a camera freezes, and then everything is stale."""
    faults = {"error_at": 1, "frozen_cameras": {"head": 3}, "stale_from": 5}
    config = ReplayConfig.model_validate({"kind": "replay", "path": recording, "faults": faults})
    robot, leader = open_robot(config)
    assert leader is None
    assert isinstance(robot, FaultyRobot)
    assert isinstance(robot.robot, ReplayRobot)
    robot.robot._now = Ticks()
    robot.connect()
    seen = [robot.get_observation()]
    with pytest.raises(RobotError, match="observation 1 cannot be read"):
        robot.get_observation()
    seen += [robot.get_observation() for _ in range(5)]

    times = [observation[CAMERA_TIMES]["head"] for observation in seen]
    assert times[0] < times[1]
    assert times[1] == times[2] == times[3]
    assert seen[1][HEAD] is seen[3][HEAD]
    observed_at = [observation[OBSERVED_AT] for observation in seen]
    assert observed_at[1] < observed_at[2] < observed_at[3] == observed_at[4] == observed_at[5]
    robot.disconnect()


def test_a_camera_that_does_not_exist_cannot_freeze(recording: Path) -> None:
    """The error names the cameras that there are."""
    faults = {"frozen_cameras": {"hat": 3}}
    config = ReplayConfig.model_validate({"kind": "replay", "path": recording, "faults": faults})
    robot, _ = open_robot(config)
    with pytest.raises(ConfigError, match=r"\['hat'\].*\['head'\]"):
        robot.connect()
    robot.disconnect()


def test_the_built_in_policy_waves_around_the_state(recording: Path) -> None:
    """A replayed robot needs no policy server either: joints wave a little around the start."""
    robot, _ = open_robot(ReplayConfig(kind="replay", path=recording))
    robot.connect()
    policy = scripted_policy(robot, ScriptedPolicyConfig())
    start = robot.get_observation()
    answer = policy.action(start)
    assert answer.action is not None
    np.testing.assert_allclose(answer.action, start["observation.state"], atol=0.06)
    assert policy.status().where == "scripted"
    policy.close()
    robot.disconnect()
