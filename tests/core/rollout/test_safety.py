"""What may be sent to a robot."""

import numpy as np
import pytest

from recap_core.errors import ConfigError
from recap_core.rollout.safety import ActionGuard, ResumeRamp


def test_limits_clip() -> None:
    """Dim by dim, and the number of changed dims is told."""
    guard = ActionGuard(low=[-1, -1, 0], high=[1, 1, 1])

    found = guard.check(np.array([-2, 0.5, 3], np.float32), None, may_be_far=False)

    assert found.action is not None
    assert found.action.tolist() == [-1, 0.5, 1]
    assert found.num_limited == 2
    assert found.problem is None


def test_a_policy_that_jumps_is_not_followed() -> None:
    """The dim, the jump and the limit are named."""
    guard = ActionGuard(max_step=[0.1, np.inf])
    last = np.zeros(2, np.float32)

    assert guard.check(np.array([0.1, 9], np.float32), last, may_be_far=False).action is not None
    found = guard.check(np.array([-0.3, 9], np.float32), last, may_be_far=False)

    assert found.action is None
    assert found.problem is not None
    assert "dim 0" in found.problem
    assert "0.3" in found.problem
    assert "0.1" in found.problem


def test_a_leader_that_is_far_is_approached() -> None:
    """At the largest step per tick, until the robot is there."""
    guard = ActionGuard(max_step=0.1)
    leader = np.array([0.25, -0.05], np.float32)
    sent = [np.zeros(2, np.float32)]
    for _ in range(4):
        found = guard.check(leader, sent[-1], may_be_far=True)
        assert found.action is not None
        sent.append(found.action)

    assert np.allclose([action[0] for action in sent], [0, 0.1, 0.2, 0.25, 0.25])
    assert np.allclose([action[1] for action in sent], [0, -0.05, -0.05, -0.05, -0.05])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (np.array([0, np.nan], np.float32), "dim 1 of an action is nan"),
        (np.array([np.inf, 0], np.float32), "dim 0 of an action is inf"),
        (np.zeros(3, np.float32), r"shape \(3,\); it must be \(2,\)"),
        (np.zeros((1, 2), np.float32), r"shape \(1, 2\)"),
    ],
)
@pytest.mark.parametrize("may_be_far", [True, False])
def test_what_is_no_action_is_not_sent(target: np.ndarray, said: str, may_be_far: bool) -> None:  # noqa: FBT001
    """Neither the policy's nor the operator's."""
    found = ActionGuard().check(target, np.zeros(2, np.float32), may_be_far=may_be_far)

    assert found.action is None
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(found.problem)


def test_limits_that_contradict_each_other() -> None:
    """The dim is named."""
    with pytest.raises(ConfigError, match=r"dim 1 are 2 to 1"):
        ActionGuard(low=[0, 2], high=[1, 1])


def test_the_ramp_of_the_reference() -> None:
    """The weight of the pose is 1 - elapsed / ramp."""
    ramp, pose = ResumeRamp(4), np.array([1.0], np.float32)
    ramp.begin(pose)

    sent = [float(ramp.blend(np.array([3.0], np.float32))[0]) for _ in range(6)]

    assert sent == [1.0, 1.5, 2.0, 2.5, 3.0, 3.0]


def test_no_ramp() -> None:
    """Where it has no length, no pose, or a pose of other width."""
    target = np.array([3.0], np.float32)
    for ramp, pose in (
        (ResumeRamp(0), np.zeros(1, np.float32)),
        (ResumeRamp(4), None),
        (ResumeRamp(4), np.zeros(2, np.float32)),
    ):
        ramp.begin(pose)
        assert ramp.blend(target) is target
