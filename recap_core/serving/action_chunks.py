"""From action chunks to one action per control tick (SPEC §11, client side). Pure.

A chunk answers the observation of the tick at which it was asked for. When it arrives, the robot
has gone on for ``steps_since_request`` ticks, so its first actions are past and dropped. Where it
overlaps with what is left of the old chunk, the first ``n = smoothing_window`` actions go over from
old to new:

    action[i] = w[i] * new[i] + (1 - w[i]) * old[i]        w = linspace(1/n, 1, n)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from recap_core.errors import RobotError

DEFAULT_SMOOTHING_WINDOW = 4


class ActionChunks:
    """The actions that are still to be executed.

    Args:
        smoothing_window: Longest transition between two chunks, ticks; 0 switches at once.
        action_horizon: Actions of a chunk that are used at most; None: all of them.

    Raises:
        ValueError: If ``smoothing_window`` is negative or ``action_horizon`` below 1.
    """

    def __init__(
        self,
        *,
        smoothing_window: int = DEFAULT_SMOOTHING_WINDOW,
        action_horizon: int | None = None,
    ) -> None:
        if smoothing_window < 0:
            raise ValueError(f"smoothing_window must be at least 0 ticks, got {smoothing_window}")
        if action_horizon is not None and action_horizon < 1:
            raise ValueError(f"action_horizon must be at least 1 action, got {action_horizon}")
        self._smoothing_window = smoothing_window
        self._action_horizon = action_horizon
        self._rest: np.ndarray | None = None
        self._last: np.ndarray | None = None

    @property
    def num_left(self) -> int:
        """Actions that have not been executed."""
        return 0 if self._rest is None else len(self._rest)

    def add(self, chunk: np.ndarray, *, steps_since_request: int) -> None:
        """Go over to a new chunk.

        One that is past as a whole changes nothing.

        Args:
            chunk: (h, a), actions from the tick of the observation on.
            steps_since_request: Ticks between that observation and the next action.

        Raises:
            RobotError: If the chunk is empty, not finite, or has another width than the last one.
            ValueError: If ``steps_since_request`` is negative.
        """
        if steps_since_request < 0:
            raise ValueError(f"steps_since_request must be at least 0, got {steps_since_request}")
        self._check(chunk)
        new = np.array(chunk[: self._action_horizon][steps_since_request:], np.float64)
        if not len(new):
            return
        num_blended = min(self._smoothing_window, self.num_left, len(new))
        if num_blended and self._rest is not None:
            weight = np.linspace(1 / num_blended, 1, num_blended)[:, None]
            old = self._rest[:num_blended]
            new[:num_blended] = weight * new[:num_blended] + (1 - weight) * old
        self._rest = new

    def next(self) -> Float[np.ndarray, " a"]:
        """The action of this tick; the last one again where none are left.

        Raises:
            RobotError: If there has never been a chunk.
        """
        if self._rest is not None and len(self._rest):
            self._last, self._rest = self._rest[0], self._rest[1:]
        if self._last is None:
            raise RobotError("there is no action yet: ask the policy for a chunk first.")
        return self._last.copy()

    def clear(self) -> None:
        """Forget everything, as at the start of an episode."""
        self._rest = self._last = None

    def _check(self, chunk: np.ndarray) -> None:
        width = None if self._last is None else len(self._last)
        if self._rest is not None:
            width = self._rest.shape[1]
        is_whole = chunk.ndim == 2 and len(chunk) and width in (None, chunk.shape[1])
        if not is_whole or not np.isfinite(chunk).all():
            raise RobotError(
                f"an action chunk has shape {chunk.shape} and "
                f"{np.count_nonzero(~np.isfinite(chunk))} values that are not finite; it must be "
                f"(h, {width or 'a'}), h >= 1, finite. Check what the policy was trained on."
            )


def split_arms(
    action: Float[np.ndarray, " a"], widths: Sequence[int] = (7, 7)
) -> list[Float[np.ndarray, " d"]]:
    """The action of every arm, in order.

    Args:
        action: All arms side by side.
        widths: Dims of every arm.

    Raises:
        RobotError: If the widths do not add up to the action's.
    """
    if sum(widths) != len(action):
        raise RobotError(
            f"an action of {len(action)} dims cannot be split into arms of {list(widths)} dims."
        )
    return np.split(action, np.cumsum(widths)[:-1])


def clip_grippers(
    action: Float[np.ndarray, "*h a"],
    *,
    dims: Sequence[int] = (6, 13),
    low: float = 0.0,
    high: float = 1.0,
) -> Float[np.ndarray, "*h a"]:
    """A copy of ``action`` whose gripper dims lie in [low, high]; YAM's go from 0 to 2.4."""
    clipped = np.array(action)
    clipped[..., list(dims)] = np.clip(clipped[..., list(dims)], low, high)
    return clipped
