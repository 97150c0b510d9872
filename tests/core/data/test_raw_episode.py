"""Reading raw episode directories."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recap_core.data.raw_episode import episode_directories, read_outcome, read_raw_episode
from recap_core.data.synthetic import (
    SyntheticEpisode,
    SyntheticRobot,
    synthetic_state,
    write_synthetic_episode,
)
from recap_core.errors import ColumnError, ConfigError, DataError, EpisodeError


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    directory = tmp_path / "episode_0"
    write_synthetic_episode(
        directory,
        SyntheticEpisode(length=5, interventions=(3,), paused=(2,)),
        SyntheticRobot(cameras=("head_camera",), environment_dims=7),
        number=2,
    )
    return directory


def test_everything_is_read(episode: Path) -> None:
    """State, action, environment, phases, outcome and cameras of a known episode."""
    raw = read_raw_episode(episode)

    values = synthetic_state(2, 5, 14)
    np.testing.assert_allclose(raw.state, values[:-1])
    np.testing.assert_allclose(raw.action, values[1:])
    assert raw.environment_state is not None
    np.testing.assert_allclose(raw.environment_state, -synthetic_state(2, 5, 7)[:-1])
    assert raw.phase.tolist() == [*["autonomous"] * 2, "paused", "correcting", "autonomous"]
    assert raw.state_names[:7] == (*(f"left_joint_{i}" for i in range(6)), "left_gripper_0")
    assert raw.action_names == raw.state_names
    assert (raw.success, raw.task, list(raw.cameras)) == (True, "transfer cube", ["head_camera"])


def test_leader_arms_are_left_alone(episode: Path) -> None:
    """A recording of followers and leaders has the followers' 14 dimensions, left before right."""
    edit_metadata(episode, arms=["right", "leader_left", "left", "leader_right"])

    np.testing.assert_allclose(read_raw_episode(episode).state, synthetic_state(2, 5, 14)[:-1])


def test_four_arms_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    """28 dimensions, arms in the order given, each arm's gripper held; one arm has 7."""
    four = ("left", "right", "leader_left", "leader_right")
    episode = tmp_path / "episode_0"
    write_synthetic_episode(
        episode, SyntheticEpisode(length=4), SyntheticRobot(arms=four, cameras=())
    )

    every = read_raw_episode(episode, arms=four)
    np.testing.assert_allclose(every.state, synthetic_state(0, 4, 28)[:-1])
    assert every.held_action_dims == (6, 13, 20, 27)
    assert every.state_names[21] == "leader_right_joint_0"

    np.testing.assert_allclose(
        read_raw_episode(episode, arms=["right"]).action, synthetic_state(0, 4, 28)[1:, 7:14]
    )
    with pytest.raises(
        ConfigError, match=r"names 'middle', but .* recorded left, right, leader_left, leader_right"
    ):
        read_raw_episode(episode, arms=["middle"])


def test_what_older_and_newer_recorders_add_is_ignored(episode: Path) -> None:
    """Derived rewards, velocities, efforts and the shadow stream change nothing."""
    before = read_raw_episode(episode)

    np.save(episode / "reward.npy", np.full(5, np.nan))
    np.save(episode / "success.npy", np.zeros(2))
    states = dict(np.load(episode / "left_states.npz")) | {"joint_eff": np.full((3, 6), np.nan)}
    del states["joint_vel"]
    np.savez(episode / "left_states.npz", allow_pickle=False, **states)
    np.savez(episode / "left_policy_actions.npz", pos=np.zeros((1, 7)))

    after = read_raw_episode(episode)
    np.testing.assert_array_equal(after.state, before.state)
    np.testing.assert_array_equal(after.action, before.action)
    assert after.success == before.success


def test_a_silent_arm_keeps_the_command_that_it_had(episode: Path) -> None:
    """The recorder pads ticks without a command, so an arm may hold one for the whole episode."""
    np.savez(episode / "right_actions.npz", pos=np.full((5, 7), 0.25))

    assert (read_raw_episode(episode).action[:, 7:] == 0.25).all()


def test_phases_come_from_interventions_where_they_are_short(episode: Path) -> None:
    """Older recorders wrote only ``interventions.npy``; a short phase file does not count."""
    np.save(episode / "phase.npy", np.array(["autonomous"], dtype="U16"))
    expected = [*["autonomous"] * 3, "correcting", "autonomous"]
    assert read_raw_episode(episode).phase.tolist() == expected

    (episode / "phase.npy").unlink()
    assert read_raw_episode(episode).phase.tolist() == expected

    (episode / "interventions.npy").unlink()
    assert set(read_raw_episode(episode).phase) == {"autonomous"}


def test_no_mark_is_a_failure(episode: Path) -> None:
    """Only a SUCCESS file makes a success."""
    (episode / "SUCCESS").unlink()

    assert not read_outcome(episode)


@pytest.mark.parametrize(
    ("file", "num_rows", "expected"),
    [
        ("environment_state.npy", 6, 5),
        ("environment_state.npy", 4, 4),
        ("timestamps.npy", 4, 4),
        ("timestamps.npy", 6, 5),
        ("phase.npy", 4, 4),
        ("correction_index.npy", 6, 5),
        ("correction_index.npy", 4, 4),
    ],
)
def test_a_row_that_not_every_file_has_is_cut(
    episode: Path, file: str, num_rows: int, expected: int
) -> None:
    """A recorder stopped in the middle of a tick leaves one row more in some files."""
    rows = np.load(episode / file)
    longer = np.concatenate([rows, rows[-1:] + 1 if rows.dtype.kind == "f" else rows[-1:]])
    np.save(episode / file, longer[:num_rows])

    raw = read_raw_episode(episode)
    assert raw.environment_state is not None
    assert raw.correction_index is not None
    parts = (raw.timestamps, raw.state, raw.action, raw.phase)
    assert {len(part) for part in (*parts, raw.environment_state, raw.correction_index)} == {
        expected
    }


def test_a_row_more_here_and_a_row_less_there_is_no_stopped_tick(episode: Path) -> None:
    """Lengths of 4, 5 and 6: something is truncated."""
    np.save(episode / "environment_state.npy", np.zeros((6, 7)))
    np.save(episode / "correction_index.npy", np.zeros(4, dtype=np.int32))

    with pytest.raises(
        EpisodeError, match=r"correction_index.npy has 4 rows, but environment_state.npy has 6"
    ):
        read_raw_episode(episode)


def edit_metadata(episode: Path, **values: object) -> None:
    path = episode / "metadata.json"
    metadata = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in metadata.items() if value}))


def save(file: str, **arrays: np.ndarray) -> Callable[[Path], None]:
    def change(episode: Path) -> None:
        if file.endswith(".npz"):
            np.savez(episode / file, allow_pickle=False, **arrays)
        else:
            np.save(episode / file, next(iter(arrays.values())))

    return change


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (lambda e: (e / "timestamps.npy").unlink(), "timestamps.npy is missing"),
    (lambda e: (e / "left_states.npz").unlink(), "left_states.npz is missing"),
    (lambda e: (e / "head_camera.mp4").unlink(), "head_camera.mp4 is missing"),
    (lambda e: (e / "right_actions.npz").write_bytes(b"PK"), "right_actions.npz cannot be read"),
    (lambda e: (e / "phase.npy").write_bytes(b""), "phase.npy cannot be read"),
    (lambda e: (e / "metadata.json").write_text("{"), "metadata.json cannot be read"),
    (lambda e: (e / "FAILURE").touch(), "SUCCESS and FAILURE are both there"),
    (lambda e: edit_metadata(e, arms=None), "metadata.json has no 'arms'"),
    (lambda e: edit_metadata(e, arms=["leader_left"]), "names no follower arm"),
    (lambda e: edit_metadata(e, arms=["../left"]), "must list plain names"),
    (lambda e: edit_metadata(e, cameras=["/etc/head"]), "must list plain names"),
    (lambda e: edit_metadata(e, cameras="head_camera"), "must list plain names"),
    (lambda e: edit_metadata(e, cameras=None), "metadata.json has no 'cameras'"),
    (lambda e: (e / "metadata.json").write_text("[]"), "holds a list, but must be an object"),
    (lambda e: (e / "metadata.json").write_text("[" * 20_000), "metadata.json cannot be read"),
    (lambda e: edit_metadata(e, task_instruction=" "), "has an empty 'task_instruction'"),
    (save("left_states.npz", pos=np.zeros((5, 7))), "has no array 'joint_pos', only"),
    (save("left_actions.npz", pos=np.zeros((3, 7))), "pos has 3 rows, but timestamps.npy has 5"),
    (save("left_actions.npz", pos=np.zeros((7, 7))), "timestamps.npy has 5 rows, but left_actions"),
    (save("left_actions.npz", pos=np.zeros((5, 7), dtype=complex)), "must be a matrix of numbers"),
    (save("left_actions.npz", pos=np.zeros(5)), r"is float64 \(5,\), but must be a matrix"),
    (save("left_actions.npz", pos=np.full((5, 7), "x")), "must be a matrix of numbers"),
    (save("timestamps.npy", t=np.array([0, 1, 1, 2, 3.0])), "does not rise between rows 1 and 2"),
    (save("timestamps.npy", t=np.array([0, 1, np.nan])), "holds a time that is not finite"),
    (save("timestamps.npy", t=np.zeros((5, 2))), r"must be seconds \(N,\)"),
    (save("phase.npy", p=np.array([["paused"]] * 5)), r"must be text \(N,\)"),
    (save("phase.npy", p=np.array(["paused"] * 7)), "timestamps.npy has 5 rows, but phases has 7"),
    (save("correction_index.npy", c=np.zeros(5)), r"must count corrections \(N,\)"),
    (save("correction_index.npy", c=np.zeros(3, dtype=int)), "correction_index.npy has 3 rows"),
    (lambda e: (e / "left_actions.npz").rename(e / "phase.npy"), "left_actions.npz is missing"),
    (lambda e: shutil.copy(e / "left_actions.npz", e / "phase.npy"), "is no .npy file"),
    (lambda e: shutil.copy(e / "phase.npy", e / "left_actions.npz"), "is no .npz file"),
    (save("phase.npy", p=np.array(["flying"] * 5)), "holds 'flying', but phases are autonomous"),
]


@pytest.mark.parametrize(("break_it", "message"), BROKEN, ids=[text for _, text in BROKEN])
def test_a_broken_rule_is_named(
    episode: Path, break_it: Callable[[Path], object], message: str
) -> None:
    """Episode, file, value and rule are in the message, and what to do next."""
    break_it(episode)

    with pytest.raises(EpisodeError, match=rf"episode episode_0: .*{message}.*(annotation|keep)"):
        read_raw_episode(episode)


def test_phases_that_are_short_everywhere_are_refused(episode: Path) -> None:
    """Without a full ``interventions.npy`` nothing can stand in for short phases."""
    np.save(episode / "phase.npy", np.array(["autonomous"], dtype="U16"))
    np.save(episode / "interventions.npy", np.array([True]))
    with pytest.raises(EpisodeError, match=r"interventions.npy has 1 of 5 rows"):
        read_raw_episode(episode)

    (episode / "interventions.npy").unlink()
    with pytest.raises(EpisodeError, match=r"phase.npy has 1 of 5 rows"):
        read_raw_episode(episode)


def test_flags_that_are_neither_0_nor_1_are_refused(episode: Path) -> None:
    """A probability of being corrected is no correction."""
    (episode / "phase.npy").unlink()
    np.save(episode / "interventions.npy", np.full(5, 0.4))

    with pytest.raises(EpisodeError, match=r"interventions.npy is float64 .* must be 0 or 1"):
        read_raw_episode(episode)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_value_that_is_not_a_number_is_refused(episode: Path, value: float) -> None:
    """NaN in an action, or what float32 cannot hold, stops here, not in a norm statistic."""
    actions = np.zeros((5, 7))
    actions[3, 2] = value
    np.savez(episode / "left_actions.npz", pos=actions)

    with pytest.raises(ColumnError, match=r"left_actions.npz\[3\] of episode episode_0.*finite"):
        read_raw_episode(episode)


def test_unfinished_episodes_are_left_out(episode: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Still recording, or without metadata: a warning each; nothing left is an error."""
    root = episode.parent
    shutil.copytree(episode, root / "episode_1")
    (root / "episode_1" / "RECORDING_IN_PROGRESS").touch()
    (root / "episode_2").mkdir()

    with caplog.at_level(logging.WARNING):
        assert episode_directories(root) == [episode]
    assert "episode_1: it is still being recorded" in caplog.text
    assert "episode_2: it has no metadata" in caplog.text

    shutil.rmtree(episode)
    with pytest.raises(DataError, match="holds no finished episode"):
        episode_directories(root)
    with pytest.raises(DataError, match="there is no recording at"):
        episode_directories(root / "elsewhere")
