"""Inverse kinematics of one arm by damped least squares."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.sim.aloha import TOOL_OFFSET_M
from recap_core.sim.engine import mujoco
from recap_core.sim.scene import Scene

ITERATIONS = 8
DAMPING = 1e-4
ORIENTATION_WEIGHT_M = 0.3
"""Metres of position error that one radian of orientation error is worth."""
MAX_STEP_RAD = 0.15
TOLERANCE_M = 1e-4


class Solution(NamedTuple):
    """Joint angles, and how good they are."""

    joints: Float[np.ndarray, "6"]
    miss_m: float
    """Distance of the tool from where it shall be."""


class InverseKinematics:
    """Finds joint angles that bring an arm's tool point to a pose.

    Each iteration solves ``dq = J^T (J J^T + damping I)^-1 e`` for the stacked position and
    weighted orientation error ``e``, with ``dq`` clipped per joint.

    Args:
        scene: The scene; a scratch copy of its state is kept here.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._scratch = mujoco.MjData(scene.model)
        self._jacobian = np.zeros((6, scene.model.nv))

    def solve(
        self,
        arm: str,
        start_qpos: Float[np.ndarray, " q"],
        *,
        position: Float[np.ndarray, "3"],
        rotation: Float[np.ndarray, "3 3"],
    ) -> Solution:
        """Joint angles near ``start_qpos``, within the joints' ranges.

        Args:
            arm: ``left`` or ``right``.
            start_qpos: State of the whole scene to start from.
            position: Where the tool point shall be, m.
            rotation: Orientation of ``gripper_link``; columns are its axes, x forward.
        """
        model, scratch = self._scene.model, self._scratch
        indices = self._scene.arms[arm]
        scratch.qpos[:] = start_qpos
        offset = np.full(3, np.inf)
        for iteration in range(ITERATIONS + 1):
            mujoco.mj_kinematics(model, scratch)
            mujoco.mj_comPos(model, scratch)
            present = scratch.xmat[indices.gripper_body].reshape(3, 3)
            tool = scratch.xpos[indices.gripper_body] + TOOL_OFFSET_M * present[:, 0]
            offset = position - tool
            turn = _rotation_vector(present, rotation)
            is_there = np.abs(offset).max() < TOLERANCE_M and np.abs(turn).max() < TOLERANCE_M
            if is_there or iteration == ITERATIONS:
                break
            mujoco.mj_jac(
                model, scratch, self._jacobian[:3], self._jacobian[3:], tool, indices.gripper_body
            )
            jacobian = self._jacobian[:, indices.qpos].copy()
            jacobian[3:] *= ORIENTATION_WEIGHT_M
            error = np.concatenate([offset, ORIENTATION_WEIGHT_M * turn])
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + DAMPING * np.eye(6), error)
            joints = scratch.qpos[indices.qpos] + np.clip(step, -MAX_STEP_RAD, MAX_STEP_RAD)
            scratch.qpos[indices.qpos] = np.clip(joints, *indices.joint_range.T)
        return Solution(scratch.qpos[indices.qpos].copy(), float(np.linalg.norm(offset)))


def _rotation_vector(
    present: Float[np.ndarray, "3 3"], wanted: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "3"]:
    """Small-angle rotation from ``present`` to ``wanted`` in world axes, rad."""
    return 0.5 * np.cross(present.T, wanted.T).sum(axis=0)
