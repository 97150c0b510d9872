"""A standard Aloha in the space of openpi's base models."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recap_core.data.aloha_space import actions_from_pi, actions_to_pi, state_to_pi


def vector(value: float, gripper: float) -> np.ndarray:
    """Every joint at ``value``, both grippers at ``gripper``."""
    arm = [value] * 6 + [gripper]
    return np.array(arm * 2)


def test_three_joints_of_each_arm_count_the_other_way_round() -> None:
    """Joints 1 and 2 of either arm are flipped; one state, a batch, and a chunk alike."""
    flipped = [1, -1, -1, 1, 1, 1]

    for state in (vector(1, 0.5), np.tile(vector(1, 0.5), (2, 1)), np.ones((2, 3, 14))):
        for convert in (state_to_pi, actions_to_pi, actions_from_pi):
            converted = convert(state)
            assert converted.shape == state.shape
            np.testing.assert_array_equal(
                converted[..., :6], np.broadcast_to(flipped, converted[..., :6].shape)
            )
            np.testing.assert_array_equal(converted[..., 7:13], converted[..., :6])


def test_an_open_gripper_by_hand() -> None:
    """With the finger at 0.058 m the motor stands at a right angle.

    sin = (0.022^2 + 0.058^2 - 0.036^2) / (2 * 0.022 * 0.058) = 0.002552 / 0.002552
    """
    converted = state_to_pi(vector(0, 1))

    np.testing.assert_allclose(converted[[6, 13]], (np.pi / 2 - 0.5476) / 1.082, rtol=1e-9)


def test_a_closed_gripper_is_openpis_number() -> None:
    """Obtained by running openpi: openings 0 and 0.5 are -1.07986555 and -0.14005592."""
    openings = np.stack([vector(0, 0), vector(0, 0.5)])

    np.testing.assert_allclose(
        state_to_pi(openings)[:, 6], [-1.07986555, -0.14005592], rtol=0, atol=1e-8
    )


def test_gripper_actions_by_hand() -> None:
    """A model's 0 is 0.5476 rad, which is 1.1689 above the low end of the robot's 2.1123 rad.

    A robot's 1 is 1.4910 rad, 0.9434 above 0.5476; the state's gripper goes another way.
    """
    np.testing.assert_allclose(actions_from_pi(vector(0, 0))[6], 1.1689 / 2.1123, rtol=1e-12)
    np.testing.assert_allclose(actions_to_pi(vector(0, 1))[13], 0.9434, rtol=1e-12)
    assert abs(state_to_pi(vector(0, 1))[6] - actions_to_pi(vector(0, 1))[6]) > 1e-3


@given(st.lists(st.floats(-3, 3), min_size=14, max_size=14))
def test_targets_and_actions_are_inverse(values: list[float]) -> None:
    """What a model learns comes back as what the robot did."""
    actions = np.array(values)

    np.testing.assert_allclose(actions_from_pi(actions_to_pi(actions)), actions, atol=1e-12)


def test_inputs_are_left_alone() -> None:
    """Also those of whole numbers and of float32; results are float64."""
    for dtype in (np.int64, np.float32):
        values = np.ones(14, dtype)
        assert state_to_pi(values).dtype == np.float64
        np.testing.assert_array_equal(values, 1)
