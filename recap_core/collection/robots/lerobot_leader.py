"""lerobot's teleoperators as leaders: who can be made stiff, compliant, or follow the robot."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from recap_core.collection.robots.key_mapping import no_such_key
from recap_core.collection.robots.lerobot_devices import LoadedDevice
from recap_core.collection.robots.lerobot_release import parts_of
from recap_core.errors import RobotError
from recap_core.rollout.frame import Action

logger = logging.getLogger(__name__)

FOLLOW_RAMP_S = 2.0
"""A leader that begins to follow goes from where it is to where the robot is in this time."""
FOLLOW_GAP_S = 0.5
"""It begins anew when it was not asked to follow for so long."""


class LerobotLeader:
    """One of lerobot's teleoperators, by the robot's action keys.

    It can be moved if it says so (``feedback_features`` is not empty) and has torque to switch:
    ``enable_torque`` and ``disable_torque`` of its own, of its arms, or of its bus. Otherwise the
    hooks do nothing, which is logged once: such a leader is moved to the robot by hand.

    Args:
        loaded: lerobot's ``Teleoperator``, not yet connected.
        action_keys: The robot's, in order.
        renamed: The teleoperator's key by the robot's, where they differ.
        now: Seconds that pass.
    """

    def __init__(
        self,
        loaded: LoadedDevice,
        action_keys: Sequence[str],
        renamed: Mapping[str, str],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loaded = loaded
        self.device = device = loaded.device
        self._keys = [renamed.get(key, key) for key in action_keys]
        self._now = now
        self._last = np.full(len(self._keys), np.nan, dtype=np.float32)
        self._switches = torque_switches(device) if device.feedback_features else []
        self._is_stiff = False
        self._ramp_from: Float[np.ndarray, " a"] | None = None
        self._ramp_start_s = self._followed_s = -np.inf
        self._has_told = False

    @property
    def can_move(self) -> bool:
        """Whether it has motors that follow."""
        return bool(self._switches)

    def check_keys(self) -> None:
        """Compare the keys.

        Raises:
            ConfigError: If it lacks one of the robot's action keys.
        """
        available = list(self.device.action_features)
        for key in self._keys:
            if key not in available:
                raise no_such_key(key, available, "the robot's action, for its teleoperator,")

    def hold_where(self, joints: Float[np.ndarray, " a"]) -> None:
        """Where joints stay that had no number since a correction began; NaN: not known."""
        self._last = np.where(np.isnan(self._last), joints, self._last)

    def get_action(self) -> Action:
        """Its pose. A joint without a number (NaN: out of its range) keeps the last one.

        Raises:
            RobotError: If it cannot be read.
        """
        try:
            read = self.device.get_action()
            pose = np.array([read[key] for key in self._keys], dtype=np.float32)
        except Exception as error:
            raise RobotError(
                f"the teleoperator cannot be read ({type(error).__name__}: {error}). Look at its "
                "cable and power"
            ) from error
        self._last = np.where(np.isfinite(pose), pose, self._last)
        if not np.isfinite(self._last).all():
            silent = [
                key for key, value in zip(self._keys, self._last, strict=True) if np.isnan(value)
            ]
            raise RobotError(
                f"the teleoperator has no position for {', '.join(silent)}: move it back into "
                "its range, or calibrate it"
            )
        return {"action": self._last.copy()}

    def set_compliant(self) -> None:
        """A hand can move it; where its joints were in an earlier correction is forgotten."""
        self._last[:] = np.nan
        self._ramp_from = None
        if self._is_active():
            self._switch("disable_torque")
            self._is_stiff = False

    def set_stiff(self) -> None:
        """It holds the pose it has."""
        self._ramp_from = None
        if self._is_active():
            self._stiffen(self.get_action()["action"])

    def follow(self, action: Float[np.ndarray, " a"]) -> None:
        """Go where the robot goes; at first slowly, from where it is."""
        if not self._is_active():
            return
        now = self._now()
        if self._ramp_from is None or now - self._followed_s > FOLLOW_GAP_S:
            self._ramp_from, self._ramp_start_s = self.get_action()["action"], now
            if not self._is_stiff:
                self._stiffen(self._ramp_from)
        self._followed_s = now
        share = min(1.0, (now - self._ramp_start_s) / FOLLOW_RAMP_S)
        self._feed((1 - share) * self._ramp_from + share * action)

    def _is_active(self) -> bool:
        if not self.can_move and not self._has_told:
            self._has_told = True
            logger.info(
                "the teleoperator has no motors to switch: move it to the robot's pose by hand "
                "before a correction"
            )
        return self.can_move

    def _stiffen(self, pose: Float[np.ndarray, " a"]) -> None:
        # First the goal, then the torque: a motor would run to the goal it had long ago.
        self._feed(pose)
        self._switch("enable_torque")
        self._feed(pose)
        self._is_stiff = True

    def _feed(self, pose: Float[np.ndarray, " a"]) -> None:
        feedback = dict(zip(self._keys, pose.tolist(), strict=True))
        try:
            self.device.send_feedback(feedback)
        except Exception as error:
            raise RobotError(f"the teleoperator does not take a pose: {error}") from error

    def _switch(self, name: str) -> None:
        try:
            for switch in self._switches:
                getattr(switch, name)()
        except Exception as error:
            raise RobotError(f"the teleoperator's {name} failed: {error}") from error


def torque_switches(device: Any) -> list[Any]:  # noqa: ANN401 - lerobot is not imported here
    """What turns a device's torque on and off: itself, its arms, or its motor bus."""
    if hasattr(device, "enable_torque") and hasattr(device, "disable_torque"):
        return [device]
    if arms := parts_of(device):
        switches = [torque_switches(arm) for arm in arms]
        return [part for own in switches for part in own] if all(switches) else []
    bus = getattr(device, "bus", None)
    return torque_switches(bus) if bus is not None else []
