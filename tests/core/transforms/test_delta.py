import numpy as np

from recap_core.transforms.delta import delta_mask, to_absolute, to_delta


def test_run_lengths_of_two_arms() -> None:
    """(6, -1, 6, -1): fourteen dims, all relative but the grippers 6 and 13."""
    mask = delta_mask((6, -1, 6, -1))

    np.testing.assert_array_equal(np.flatnonzero(~mask), [6, 13])
    assert len(mask) == 14


def test_relative_actions_by_hand() -> None:
    """Both steps are relative to the one state; the absolute dim and those past the mask stay."""
    actions = np.array([[[1.0, 5.0, 7.0], [2.0, 6.0, 8.0]]])
    state = np.array([[10.0, 20.0, 30.0, 40.0]])

    relative = to_delta(actions, state, delta_mask((1, -1)))

    np.testing.assert_array_equal(relative, [[[-9, 5, 7], [-8, 6, 8]]])
    np.testing.assert_array_equal(to_absolute(relative, state, delta_mask((1, -1))), actions)


def test_no_mask_keeps_actions_absolute() -> None:
    """An empty run-length mask changes nothing."""
    actions = np.ones((2, 3, 4))

    np.testing.assert_array_equal(to_delta(actions, np.ones((2, 4)), delta_mask(())), actions)
