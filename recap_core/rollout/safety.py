"""What stands between a wish and a motor: limits, jumps, and old observations. Pure.

A policy that jumps has gone wrong, so the robot is stopped; a person's leader arm may be far from
the robot when a correction begins, so the robot goes there at a limited speed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.errors import ConfigError
from recap_core.rollout.live import CAMERA_TIMES, OBSERVED_AT

type Limits = Sequence[float | int] | np.ndarray | float | int
"""One number per dim, or one for all."""


class Guarded(NamedTuple):
    """An action that may be sent, or why none may."""

    action: Float[np.ndarray, " a"] | None
    """None: nothing may be sent, and the robot is to be paused."""
    problem: str | None = None
    num_limited: int = 0
    """Dims that were changed."""


class ActionGuard:
    """Checks every action of one robot.

    Args:
        low: Lowest action, (a,) in the robot's units; None: no limit.
        high: Highest action.
        max_step: Largest change from one tick to the next, (a,) or one for all; None: any.

    Raises:
        ConfigError: If the limits contradict each other.
    """

    def __init__(
        self,
        low: Limits | None = None,
        high: Limits | None = None,
        max_step: Limits | None = None,
    ) -> None:
        self._low = None if low is None else np.asarray(low, np.float32)
        self._high = None if high is None else np.asarray(high, np.float32)
        self._max_step = None if max_step is None else np.asarray(max_step, np.float32)
        if self._low is not None and self._high is not None and (self._low > self._high).any():
            low, high = np.broadcast_arrays(self._low, self._high)
            dim = int(np.argmax(low > high))
            raise ConfigError(
                f"action limits of dim {dim} are {low.flat[dim]:g} to {high.flat[dim]:g}; the "
                "lower one must not be above the upper one"
            )

    def check(
        self,
        target: np.ndarray,
        last: np.ndarray | None,
        *,
        may_be_far: bool,
    ) -> Guarded:
        """The action to send in place of ``target``.

        Args:
            target: What the policy or the operator wants, (a,); anything else is refused.
            last: The action sent last, or the pose where none was; None: not known.
            may_be_far: True: a jump is cut to the largest step (a leader arm); False: it stops the
                robot (a policy).
        """
        width = None if last is None else last.shape
        if target.ndim != 1 or (width is not None and target.shape != width):
            expected = "(a,)" if width is None else str(width)
            return Guarded(None, f"an action has shape {target.shape}; it must be {expected}")
        if not np.isfinite(target).all():
            dim = int(np.argmin(np.isfinite(target)))
            return Guarded(None, f"dim {dim} of an action is {target[dim]}; it must be a number")
        action = self._limited(target.astype(np.float32))
        if last is not None and self._max_step is not None:
            step = np.abs(action - last)
            excess = step > self._max_step * 1.0001
            if excess.any() and not may_be_far:
                dim = int(np.argmax(step - self._max_step))
                limit = float(np.broadcast_to(self._max_step, step.shape)[dim])
                return Guarded(
                    None,
                    f"dim {dim} of an action jumps by {step[dim]:.3g} in one tick; at most "
                    f"{limit:.3g} is allowed (safety.max_step)",
                )
            action = np.clip(action, last - self._max_step, last + self._max_step)
        return Guarded(
            action.astype(np.float32), num_limited=int(np.count_nonzero(action != target))
        )

    def _limited(self, target: np.ndarray) -> np.ndarray:
        return np.clip(target, self._low, self._high)


class ResumeRamp:
    """From where the robot stands to what the policy wants (SPEC §2.1).

        alpha * pose + (1 - alpha) * target,    alpha = 1 - elapsed / ramp

    The first action after the resume is at ``elapsed`` 0; poses and actions of different width are
    not blended.

    Args:
        num_ticks: Length of the ramp; 0: no ramp.
    """

    def __init__(self, num_ticks: int) -> None:
        self._num_ticks = num_ticks
        self._pose: np.ndarray | None = None
        self._elapsed = 0

    def begin(self, pose: Float[np.ndarray, " a"] | None) -> None:
        """Control goes to the policy while the robot stands at ``pose``."""
        self._pose, self._elapsed = pose, 0

    def blend(self, target: Float[np.ndarray, " a"]) -> Float[np.ndarray, " a"]:
        """The command for this tick's target."""
        elapsed, pose = self._elapsed, self._pose
        if pose is None or elapsed >= self._num_ticks or pose.shape != target.shape:
            return target
        self._elapsed += 1
        alpha = np.float32(1 - elapsed / self._num_ticks)
        return alpha * pose.astype(np.float32) + (1 - alpha) * target.astype(np.float32)


def oldest_part(observation: Mapping[str, object], now_s: float) -> tuple[float, str]:
    """Age of the oldest thing in an observation, s, and what it is, as the subject of a sentence.

    Args:
        observation: As a :class:`~recap_core.rollout.live.LiveRobot` gives it.
        now_s: Unix time, s.
    """
    observed_at = observation.get(OBSERVED_AT)
    ages = {"the joints are": now_s - observed_at if isinstance(observed_at, float) else 0.0}
    times = observation.get(CAMERA_TIMES)
    if isinstance(times, Mapping):
        ages |= {f"the image of {name} is": now_s - float(time) for name, time in times.items()}
    what = max(ages, key=lambda name: ages[name])
    return ages[what], what
