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
from recap_core.errors import ColumnError, DataError, EpisodeError


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


def test_one_row_too_many_is_cut(episode: Path) -> None:
    """A recorder stopped in the middle of a tick leaves one row more."""
    np.save(episode / "environment_state.npy", np.zeros((6, 7)))

    environment = read_raw_episode(episode).environment_state
    assert environment is not None
    assert environment.shape == (5, 7)


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
    (lambda e: edit_metadata(e, task_instruction=" "), "has an empty 'task_instruction'"),
    (save("left_states.npz", pos=np.zeros((5, 7))), "has no array 'joint_pos', only"),
    (save("left_actions.npz", pos=np.zeros((3, 7))), "has 3 rows, but timestamps.npy has 5"),
    (save("left_actions.npz", pos=np.zeros(5)), r"is float64 \(5,\), but must be a matrix"),
    (save("left_actions.npz", pos=np.full((5, 7), "x")), "must be a matrix of numbers"),
    (save("timestamps.npy", t=np.array([0, 1, 1, 2, 3.0])), "does not rise between rows 1 and 2"),
    (save("timestamps.npy", t=np.array([0, 1, np.nan])), "holds a time that is not finite"),
    (save("timestamps.npy", t=np.zeros((5, 2))), r"must be seconds \(N,\)"),
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


def test_a_value_that_is_not_a_number_is_refused(episode: Path) -> None:
    """NaN in an action stops here, not in a norm statistic."""
    actions = np.zeros((5, 7))
    actions[3, 2] = np.nan
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
