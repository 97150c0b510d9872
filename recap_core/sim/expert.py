"""A scripted operator that hands the cube from the right arm to the left.

What to do next is decided from the present state alone, so it can take over from any state that a
policy leaves behind.
"""

from enum import Enum, auto
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.config.robot import ExpertConfig
from recap_core.rollout.frame import Action
from recap_core.sim.aloha import SimAloha
from recap_core.sim.kinematics import InverseKinematics
from recap_core.sim.scene import LEFT_GRIPPER, RIGHT_GRIPPER, STATE_DIM

TOOL_SPEED_M_S = 0.7
NEAR_M, NEAR_SPEED_M_S = 0.08, 0.35
"""An open gripper this close to the cube goes slower: a cube that is clipped rolls away."""
HOVER_M = 0.10
MEETING_POINT_M = np.array([0.0, 0.5, 0.27])
LEFT_WAITS_M = np.array([-0.16, 0.0, 0.0])
"""Where the left tool waits, from the meeting point."""
LEFT_NEAR_M = 0.10
"""Within this distance of the cube the left arm goes on even if the cube drifts away a little."""
FUNNEL_SLOPE, FUNNEL_RADIUS_M = 5.0, 0.015
"""A tool comes in through a funnel: its distance from the cube follows its sideways miss."""
CLOSE_RIGHT_M, CLOSE_LEFT_M, KEEP_CLOSED_M = 0.018, 0.03, 0.04
MEETING_REACHED_M, LEFT_COMMITS_M = 0.04, 0.08
CLOSING_OPENING, HELD_OPENING, EMPTY_OPENING = 0.88, 0.66, 0.5
"""Gripper openings; the cube stops the fingers at 0.60."""
STILL_SPEED_HZ = 0.3
"""Gripper speed, openings per second, below which the fingers have stopped."""
STUCK_M, STUCK_RAD, UNFOLD_RAD = 0.02, 0.1, 0.5
"""A step that still misses by so much and moves no joint by more leads nowhere: the arm is folded
at its limits. It is unfolded by so much per frame instead."""
OPEN, CLOSED = 1.0, 0.0
RIGHT_PITCH_RAD = np.deg2rad(60)


class Grip(Enum):
    """What a gripper is doing about the cube."""

    OPEN = auto()
    """Open, or far from the cube."""
    CLOSING = auto()
    HELD = auto()
    EMPTY = auto()
    """Closed beside the cube, with nothing in between."""


class Plan(NamedTuple):
    """What an arm does next."""

    goal: Float[np.ndarray, "3"]
    """Where the tool goes, m."""
    gripper: float


def _right_rotation() -> Float[np.ndarray, "3 3"]:
    """Forward is towards -x and 60 degrees down; the fingers open along y."""
    forward = np.array([-np.cos(RIGHT_PITCH_RAD), 0.0, -np.sin(RIGHT_PITCH_RAD)])
    sideways = np.array([0.0, -1.0, 0.0])
    return np.column_stack([forward, sideways, np.cross(forward, sideways)])


def _left_rotation() -> Float[np.ndarray, "3 3"]:
    """Forward is towards +x; rolled by 90 degrees, so the fingers open along z."""
    forward, sideways = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    return np.column_stack([forward, sideways, np.cross(forward, sideways)])


class ScriptedExpert:
    """Drives one simulated robot; the :class:`Teleoperator` of a rollout.

    Args:
        robot: The robot it looks at and drives.
        kinematics: May be shared between experts of one thread.
    """

    def __init__(self, robot: SimAloha, kinematics: InverseKinematics) -> None:
        self._robot = robot
        self._kinematics = kinematics
        self._rotations = {"right": _right_rotation(), "left": _left_rotation()}

    def get_action(self) -> Action:
        """Joint targets of both arms for the next frame."""
        left, right = self._left_plan(), self._right_plan()
        action = np.empty(STATE_DIM, dtype=np.float32)
        action[:LEFT_GRIPPER] = self._towards("left", left)
        action[LEFT_GRIPPER] = left.gripper
        action[LEFT_GRIPPER + 1 : RIGHT_GRIPPER] = self._towards("right", right)
        action[RIGHT_GRIPPER] = right.gripper
        return {"action": action}

    def _right_plan(self) -> Plan:
        """Above the cube, down to it, close, and lift to the meeting point."""
        cube, tool = self._robot.cube_position, self._robot.tool_position("right")
        hover = cube + np.array([0.0, 0.0, HOVER_M])
        grip = self._grip("right")
        if grip is Grip.HELD:
            return Plan(MEETING_POINT_M, CLOSED)
        if grip is Grip.EMPTY:
            return Plan(hover, OPEN)
        if grip is Grip.CLOSING or np.linalg.norm(tool - cube) < CLOSE_RIGHT_M:
            return Plan(cube, CLOSED)
        miss = np.linalg.norm((tool - cube)[:2])
        height = np.clip(FUNNEL_SLOPE * (miss - FUNNEL_RADIUS_M), 0.0, HOVER_M)
        return Plan(cube + np.array([0.0, 0.0, height]), OPEN)

    def _left_plan(self) -> Plan:
        """Wait beside the meeting point, then take the cube there."""
        cube, tool = self._robot.cube_position, self._robot.tool_position("left")
        grip = self._grip("left")
        reached = LEFT_COMMITS_M if np.linalg.norm(tool - cube) < LEFT_NEAR_M else MEETING_REACHED_M
        is_offered = np.linalg.norm(cube - MEETING_POINT_M) < reached
        if not is_offered or grip is Grip.EMPTY:
            return Plan(MEETING_POINT_M + LEFT_WAITS_M, OPEN)
        if grip is not Grip.OPEN or np.linalg.norm(tool - cube) < CLOSE_LEFT_M:
            return Plan(cube, CLOSED)
        miss = np.linalg.norm((tool - cube)[1:])
        backwards = np.clip(FUNNEL_SLOPE * (miss - FUNNEL_RADIUS_M), 0.0, -LEFT_WAITS_M[0])
        return Plan(cube - np.array([backwards, 0.0, 0.0]), OPEN)

    def _grip(self, arm: str) -> Grip:
        """What the arm's fingers have between them.

        Fingers that meet the cube stop at 0.60, or wider if it is tilted; below that there is
        nothing between them.
        """
        distance = np.linalg.norm(self._robot.tool_position(arm) - self._robot.cube_position)
        if distance > KEEP_CLOSED_M:
            return Grip.OPEN
        touches = self._robot.finger_touches_cube(arm)
        opening = self._robot.gripper_opening(arm)
        is_wedged = all(touches) and abs(self._robot.gripper_speed(arm)) < STILL_SPEED_HZ
        if is_wedged or (any(touches) and EMPTY_OPENING < opening < HELD_OPENING):
            return Grip.HELD
        if opening > CLOSING_OPENING:
            return Grip.OPEN
        return Grip.EMPTY if opening < EMPTY_OPENING else Grip.CLOSING

    def _towards(self, arm: str, plan: Plan) -> Float[np.ndarray, "6"]:
        """Joint angles one frame's way from the tool towards the goal."""
        tool = self._robot.tool_position(arm)
        way = plan.goal - tool
        distance = float(np.linalg.norm(way))
        is_near = np.linalg.norm(tool - self._robot.cube_position) < NEAR_M
        speed = NEAR_SPEED_M_S if is_near and plan.gripper == OPEN else TOOL_SPEED_M_S
        share = min(1.0, speed / self._robot.config.fps / max(distance, 1e-9))
        solution = self._kinematics.solve(
            arm,
            self._robot.data.qpos,
            position=tool + share * way,
            rotation=self._rotations[arm],
        )
        present = self._robot.data.qpos[self._robot.scene.arms[arm].qpos]
        is_still = np.abs(solution.joints - present).max() < STUCK_RAD
        is_stuck = is_still and solution.miss_m > STUCK_M
        return self._homewards(arm) if is_stuck else solution.joints

    def _homewards(self, arm: str) -> Float[np.ndarray, "6"]:
        """Joint angles closer to the start pose."""
        joints = self._robot.scene.arms[arm].qpos
        present = self._robot.data.qpos[joints]
        way = self._robot.scene.start_qpos[joints] - present
        return present + np.clip(way, -UNFOLD_RAD, UNFOLD_RAD)


class TremblingExpert:
    """An expert whose arm joints tremble, so that demonstrations visit more than one path.

        noise[t] = c noise[t-1] + sqrt(1 - c^2) sigma e[t],  e ~ N(0, 1)

    Grippers do not tremble: a cube held half is dropped.

    Args:
        expert: Who drives.
        config: ``noise_rad`` (sigma) and ``noise_correlation`` (c).
        rng: This episode's noise.
    """

    def __init__(
        self, expert: ScriptedExpert, config: ExpertConfig, rng: np.random.Generator
    ) -> None:
        self._expert = expert
        self._correlation = config.noise_correlation
        self._rng = rng
        self._scale = np.full(STATE_DIM, config.noise_rad)
        self._scale[[LEFT_GRIPPER, RIGHT_GRIPPER]] = 0.0
        self._noise = np.zeros(STATE_DIM)

    def get_action(self) -> Action:
        """The expert's action plus the present noise."""
        fresh = self._scale * self._rng.standard_normal(STATE_DIM)
        self._noise = self._correlation * self._noise + (1 - self._correlation**2) ** 0.5 * fresh
        action = self._expert.get_action()["action"] + self._noise
        return {"action": action.astype(np.float32)}
