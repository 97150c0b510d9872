"""Robots that fail on purpose."""

from collections.abc import Mapping
from typing import Any

from recap_core.config.live_robot import RobotFaults
from recap_core.errors import ConfigError, RobotError
from recap_core.rollout.frame import Action, Observation
from recap_core.rollout.live import CAMERA_TIMES, OBSERVED_AT, LiveRobot, RobotDescription

IMAGES = "observation.images."
OPTIONAL_ABILITIES = ("reset_episode", "emergency_stop")
"""Methods that a robot may have beyond those of every live robot."""


class FaultyRobot:
    """Another robot, with faults at given observations since connecting.

    It can reset its scene, or stop, if that robot can.

    Args:
        robot: The one that works; its observations must say when they were made.
        faults: What goes wrong, and when.
    """

    def __init__(self, robot: LiveRobot, faults: RobotFaults) -> None:
        self.robot = robot
        self._faults = faults
        self._num_observations = 0
        self._last: Mapping[str, Any] = {}
        for name in OPTIONAL_ABILITIES:
            if hasattr(robot, name):
                setattr(self, name, getattr(robot, name))

    @property
    def description(self) -> RobotDescription:
        """That of the robot."""
        return self.robot.description

    def connect(self) -> None:
        """Connect the robot.

        Raises:
            ConfigError: If a camera shall freeze that the robot does not have.
        """
        self.robot.connect()
        unknown = set(self._faults.frozen_cameras) - set(self.robot.description.cameras)
        if unknown:
            raise ConfigError(
                f"faults.frozen_cameras names {sorted(unknown)}, but the robot has "
                f"{sorted(self.robot.description.cameras)}"
            )
        self._num_observations, self._last = 0, {}

    def get_observation(self) -> Observation:
        """What the robot sees, or what is wrong with it at this tick.

        Raises:
            RobotError: At ``error_at``.
        """
        tick = self._num_observations
        self._num_observations += 1
        if tick == self._faults.error_at:
            raise RobotError(f"observation {tick} cannot be read, as faults.error_at asks for")
        if self._last and self._faults.stale_from is not None and tick >= self._faults.stale_from:
            return self._last
        observation = dict(self.robot.get_observation())
        times = dict(observation[CAMERA_TIMES])
        for camera, first in self._faults.frozen_cameras.items():
            if tick >= first and self._last:
                observation[IMAGES + camera] = self._last[IMAGES + camera]
                times[camera] = self._last[CAMERA_TIMES][camera]
        observation[CAMERA_TIMES] = times
        self._last = observation
        return observation

    def send_action(self, action: Action) -> Action:
        """Send it to the robot."""
        return self.robot.send_action(action)

    def disconnect(self) -> None:
        """Disconnect the robot."""
        self.robot.disconnect()


def observed(observation: dict[str, Any], at_s: float, times: Mapping[str, float]) -> Observation:
    """An observation with the time of its joints and of its cameras' images, Unix s."""
    return {**observation, OBSERVED_AT: at_s, CAMERA_TIMES: dict(times)}
