"""Between a standard Aloha and the space that openpi's base models were trained in.

Fourteen dims: six joints and a gripper of the left arm, then of the right. Three joints count the
other way round. Grippers are openings (0-1) on the robot; the base models know them as angles of
the gripper motor, scaled so that 0.5476 rad is 0 and 1.6296 rad is 1 in the *state*. *Actions* are
motor angles above 0.5476 rad, and the robot takes them as a share of its own range of joint
positions, -0.6213 to 1.4910 rad. So the conversion of actions is not the inverse of that of states
(OPENPI_CONTRACT §6).
"""

import numpy as np
from jaxtyping import Float, Shaped

GRIPPERS = (6, 13)

_SIGNS = np.array([1.0, -1, -1, 1, 1, 1, 1] * 2)
_FINGER_CLOSED_M, _FINGER_OPEN_M = 0.01844, 0.05800
_ARM_M, _HORN_M = 0.036, 0.022
_ANGLE_CLOSED, _ANGLE_OPEN = 0.5476, 1.6296
_JOINT_CLOSED, _JOINT_OPEN = -0.6213, 1.4910


def state_to_pi(state: Shaped[np.ndarray, "*b 14"]) -> Float[np.ndarray, "*b 14"]:
    """The robot's state as the base models know it; float64."""
    return _converted(state, _opening_to_angle(state[..., GRIPPERS]))


def actions_to_pi(actions: Shaped[np.ndarray, "*b 14"]) -> Float[np.ndarray, "*b 14"]:
    """The robot's actions as training targets; float64. Inverse of :func:`actions_from_pi`."""
    grippers = actions[..., GRIPPERS] * (_JOINT_OPEN - _JOINT_CLOSED) + _JOINT_CLOSED
    return _converted(actions, grippers - _ANGLE_CLOSED)


def actions_from_pi(actions: Shaped[np.ndarray, "*b 14"]) -> Float[np.ndarray, "*b 14"]:
    """A base model's actions as the robot takes them; float64."""
    grippers = actions[..., GRIPPERS] + _ANGLE_CLOSED
    return _converted(actions, (grippers - _JOINT_CLOSED) / (_JOINT_OPEN - _JOINT_CLOSED))


def _opening_to_angle(opening: Shaped[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b 2"]:
    """Finger opening (0-1) to the scaled angle of the motor that drives it.

    The horn, the connecting arm and the finger's rail form a triangle; the law of cosines gives the
    horn's angle for every position of the finger.
    """
    finger_m = opening * (_FINGER_OPEN_M - _FINGER_CLOSED_M) + _FINGER_CLOSED_M
    sine = (_HORN_M**2 + finger_m**2 - _ARM_M**2) / (2 * _HORN_M * finger_m)
    angle = np.arcsin(np.clip(sine, -1.0, 1.0))
    return (angle - _ANGLE_CLOSED) / (_ANGLE_OPEN - _ANGLE_CLOSED)


def _converted(
    values: Shaped[np.ndarray, "*b 14"], grippers: Float[np.ndarray, "*b 2"]
) -> Float[np.ndarray, "*b 14"]:
    converted = _SIGNS * values
    converted[..., GRIPPERS] = grippers
    return converted
