"""The people around a simulated robot, as lerobot episode events."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from recap_core.config.robot import SupervisorConfig
from recap_core.sim.aloha import SUCCESS_STAGE, SimAloha

REACH_M = 0.3
"""Distance at which the approach of a stage counts as not begun."""
LIFTED_STAGE = 2


def progress_of(robot: SimAloha) -> float:
    """How far the task is: the stage, plus how close the tool that acts next is to the cube.

        stage + 1 - min(1, distance / 0.3 m)     in [0, 5]

    The right tool acts until the cube is lifted, then the left one.
    """
    arm = "right" if robot.stage < LIFTED_STAGE else "left"
    distance = float(np.linalg.norm(robot.tool_position(arm) - robot.cube_position))
    return robot.stage + 1 - min(1.0, distance / REACH_M)


class Judge:
    """Says how an episode ends and never touches the robot.

    Args:
        robot: The robot it watches.
        driver: Who drives throughout: the policy (evaluation), or the operator (demonstrations).
    """

    def __init__(self, robot: SimAloha, *, driver: Literal["policy", "operator"]) -> None:
        self._robot = robot
        self._is_intervention = driver == "operator"

    def get_teleop_events(self) -> Mapping[str, bool]:
        """Success when the cube is handed over, failure when it falls."""
        return {
            "is_intervention": self._is_intervention,
            "success": self._robot.stage == SUCCESS_STAGE,
            "failure": self._robot.has_dropped_cube,
        }


class Supervisor:
    """Watches a rollout, and takes over for a while when the robot stalls.

    The robot stalls when :func:`progress_of` has not risen by ``min_progress`` above its best for
    ``stall_frames`` frames. After a correction the count starts again.

    Args:
        robot: The robot it watches.
        config: See :class:`SupervisorConfig`.
        rng: Decides whether this episode is watched at all.
    """

    def __init__(self, robot: SimAloha, config: SupervisorConfig, rng: np.random.Generator) -> None:
        self._robot = robot
        self._judge = Judge(robot, driver="policy")
        self._config = config
        self._is_watching = bool(rng.random() < config.supervised_share)
        self._best = -np.inf
        self._num_stalled = 0
        self._num_seen = 0
        self._correction_left = 0

    def get_teleop_events(self) -> Mapping[str, bool]:
        """The judge's events, with ``is_intervention`` while a correction is needed."""
        events = self._judge.get_teleop_events()
        if not self._is_watching:
            return events
        return {**events, "is_intervention": self._wants_control()}

    def _wants_control(self) -> bool:
        if self._correction_left > 0:
            self._correction_left -= 1
            if self._correction_left > 0:
                return True
            self._best, self._num_stalled = -np.inf, 0
        progress = progress_of(self._robot)
        if progress >= self._best + self._config.min_progress:
            self._best, self._num_stalled = progress, 0
        else:
            self._num_stalled += 1
        self._num_seen += 1
        if (
            self._num_stalled < self._config.stall_frames
            or self._num_seen <= self._config.grace_frames
        ):
            return False
        self._correction_left = self._config.takeover_frames
        return True
