"""Which arm stood still in a correction, by hand."""

import numpy as np
import pytest

from recap_core.labels.frozen_arms import frozen_arms, motion_energy

ARMS = ((0, 2), (2, 4))


def test_the_energy_of_two_arms() -> None:
    """Left: steps (1, 0) and (2, 1), energy 1 + 4 + 1; right: one step of 0.5, energy 0.25."""
    actions = np.array([[0, 0, 1, 1], [1, 0, 1, 1.5], [3, 1, 1, 1.5]])

    np.testing.assert_array_equal(motion_energy(actions, ARMS), [6, 0.25])


def _flags(actions: np.ndarray, human: list[int], ends: list[int], **options: float) -> np.ndarray:
    is_human = np.zeros(len(actions), dtype=bool)
    is_human[human] = True
    return frozen_arms(actions, is_human, np.array(ends), arms=ARMS, **options)


def _moving(left: list[float], right: list[float]) -> np.ndarray:
    actions = np.zeros((len(left), 4))
    actions[:, 0], actions[:, 3] = left, right
    return actions


def test_the_idle_arm_of_a_correction_is_frozen() -> None:
    """Frames 2-4 are human; left moves 1 and 1 (energy 2), right 0.5 once (0.25 < 0.25 x 2)."""
    actions = _moving([0, 9, 0, 1, 2, 7], [0, 0, 0, 0.5, 0.5, 9])

    found = _flags(actions, [2, 3, 4], [6])

    assert not found[:, 0].any()
    np.testing.assert_array_equal(found[:, 1], [False, False, True, True, True, False])


def test_the_bar_itself_is_not_below_the_bar() -> None:
    """Right's energy is exactly a quarter of left's: it moved; at a ratio of 0.3 it did not."""
    actions = _moving([0, 2], [0, 1])

    assert not _flags(actions, [0, 1], [2]).any()
    np.testing.assert_array_equal(_flags(actions, [0, 1], [2], ratio=0.3)[0], [False, True])


def test_every_run_is_judged_on_its_own() -> None:
    """Left is corrected first, right later; the episode's end cuts a run in two."""
    actions = _moving([0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 5, 6])

    found = _flags(actions, [0, 1, 3, 4, 5, 6], [5, 7])

    # Runs: 0-1 (left moves), 3-4 (right moves), and 5-6 of the next episode (right moves).
    assert found.tolist() == [
        [False, True],
        [False, True],
        [False, False],
        [True, False],
        [True, False],
        [True, False],
        [True, False],
    ]


def test_no_motion_and_single_frames_freeze_nothing() -> None:
    """Without motion to compare there is nothing to say."""
    still = _moving([3, 3, 3], [1, 1, 1])

    assert not _flags(still, [0, 1, 2], [3]).any()
    assert not _flags(_moving([0, 9, 0], [0, 0, 0]), [1], [3]).any()


def test_three_arms_are_compared_with_the_busiest() -> None:
    """Energies 4, 1 and 0.25 of three one-dim arms: only the last is below a quarter of 4."""
    actions = np.array([[0, 0, 0], [2, 1, 0.5]])
    arms = ((0, 1), (1, 2), (2, 3))

    found = frozen_arms(actions, np.ones(2, bool), np.array([2]), arms=arms)

    assert found.tolist() == [[False, False, True]] * 2


def test_an_arm_beyond_the_actions_is_refused() -> None:
    """Dims are named by the message."""
    with pytest.raises(ValueError, match=r"arms .* reach beyond the actions' 3 dims"):
        frozen_arms(np.zeros((2, 3)), np.ones(2, bool), np.array([2]), arms=ARMS)
