"""What a policy would do on recorded frames."""

import numpy as np
import pytest

from recap_core.config.offline import CheckPolicyConfig
from recap_core.evaluation.offline import (
    CLASSES,
    Measured,
    Recorded,
    choose_frames,
    find_faults,
    measure,
)

CONFIG = CheckPolicyConfig(execute_frames=2)


def recorded(num_classes: int = 1) -> Recorded:
    """Two episodes of 6 frames; one dimension counts frames, the other stands still."""
    actions = np.stack([np.tile(np.arange(6.0), 2), np.zeros(12)], axis=1)
    classes = np.arange(12) % num_classes
    return Recorded(actions, np.array([6, 12]), classes)


def answers(data: Recorded, frames: np.ndarray) -> np.ndarray:
    """Chunks of 3: what was done, held at the end of the episode."""
    ends = data.episode_ends[np.searchsorted(data.episode_ends, frames, side="right")]
    return data.actions[np.minimum(frames[:, None] + np.arange(3), ends[:, None] - 1)]


def test_frames_have_a_next_one_within_their_episode() -> None:
    """Of 6 frames the last two are followed by none two steps later; every class has its share."""
    data = recorded(num_classes=2)

    asked = choose_frames(data, np.ones(12, bool), most_per_class=3, num_steps=2)

    assert set(asked.first) <= {0, 1, 2, 3, 6, 7, 8, 9}
    assert np.bincount(data.frame_class[asked.first]).tolist() == [3, 3]
    again = choose_frames(data, np.ones(12, bool), most_per_class=3, num_steps=2)
    assert asked.first.tolist() == again.first.tolist()


def test_a_policy_that_does_what_was_done_has_no_error() -> None:
    """Nor a jump: its steps from chunk to chunk are the recorded ones."""
    data = recorded()
    asked = choose_frames(data, np.ones(12, bool), most_per_class=99, num_steps=2)

    found = measure(data, asked, answers(data, asked.frames), CONFIG)

    assert found == Measured({"demonstration": 0.0}, 0, 0.0, (), pytest.approx(1.0))


def test_a_hand_computed_error() -> None:
    """One deviation in one of two dimensions is sqrt(1/2); past an episode's end nothing counts."""
    data = recorded()
    asked = choose_frames(data, np.ones(12, bool), most_per_class=99, num_steps=2)
    chunks = answers(data, asked.frames) + np.array([data.scale[0], 0])

    found = measure(data, asked, chunks, CONFIG)

    assert data.scale[0] == pytest.approx(np.sqrt(35 / 12))
    assert data.scale[1] == pytest.approx(0.01 * data.scale[0])
    assert found.errors["demonstration"] == pytest.approx(np.sqrt(0.5))
    assert found.outside_dims == (0,)


def test_every_fault_has_its_name_and_a_sentence() -> None:
    """Numbers that are none, an action never seen, a jerk, and a larger error than before."""
    data = recorded()
    asked = choose_frames(data, np.ones(12, bool), most_per_class=99, num_steps=2)
    chunks = answers(data, asked.frames)
    chunks[0] = np.nan
    chunks[4:, :, 1] = np.where(np.arange(len(chunks) - 4) % 2, 9.0, -9.0)[:, None]
    new = measure(data, asked, chunks, CONFIG)

    faults = find_faults(new, Measured({"demonstration": 0.1}, 0, 0.0, (), 1.0), 12, CONFIG)

    assert faults.failed == ("finite", "range", "jumps", "error")
    assert faults.warnings[0].startswith("1 of 12 action chunks hold numbers that are not finite")
    assert "dimensions 1" in faults.warnings[1]
    assert "% larger (at most 20 %)" in faults.warnings[3]
    assert np.isfinite(list(new.errors.values())).all()


def test_an_error_may_grow_where_the_label_is_negative() -> None:
    """That is what labels are for."""
    one = Measured(dict.fromkeys(CLASSES, 1.0), 0, 0.0, (), 1.0)

    new = one._replace(errors=dict.fromkeys(CLASSES, 1.0) | {"negative": 9.0})

    assert find_faults(new, one, 1, CONFIG).failed == ()
