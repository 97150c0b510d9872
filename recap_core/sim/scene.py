"""gym-aloha's cube-transfer scene: one compiled model, shared by every simulated robot.

The scene file and its constants are gym-aloha's. Its environment class is not used: it renders
three 480x640 images at every control step, and keeps the cube's start pose in a module global.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.sim.engine import mujoco

CONTROL_HZ = 50
NUM_ARM_JOINTS = 6
STATE_DIM = 14
CUBE_POSE_DIM = 7
LEFT_GRIPPER, RIGHT_GRIPPER = 6, 13
"""Positions of the grippers in state and action."""
CUBE_X_RANGE_M, CUBE_Y_RANGE_M = (0.0, 0.2), (0.4, 0.6)
CUBE_START_Z_M = 0.05
ARMS = ("left", "right")


class ArmIndices(NamedTuple):
    """Where one arm lives in the model."""

    qpos: slice
    """Six joints in ``qpos``, ``qvel`` and ``ctrl`` (they agree for this scene)."""
    finger: int
    """Left finger in ``qpos`` and ``ctrl``; the right finger follows, mirrored."""
    gripper_body: int
    finger_geoms: tuple[int, int]
    joint_range: Float[np.ndarray, "6 2"]


class Scene:
    """The compiled scene and where things are in it. Holds no state of any episode.

    Attributes:
        model: MuJoCo's model; only a renderer may change its visual settings.
        arms: Indices of the ``left`` and ``right`` arm.
        start_qpos: Joint and finger positions at the start of an episode, ``(16,)``.
        substeps: Physics steps per control step.
    """

    def __init__(self) -> None:
        from gym_aloha.constants import ASSETS_DIR, START_ARM_POSE

        path = ASSETS_DIR / "bimanual_viperx_transfer_cube.xml"
        self.model = mujoco.MjModel.from_xml_path(str(path))
        self.start_qpos = np.array(START_ARM_POSE, dtype=np.float64)
        self.substeps = round(1 / CONTROL_HZ / self.model.opt.timestep)
        self.arms = {arm: self._arm_indices(arm, index * 8) for index, arm in enumerate(ARMS)}
        self.cube_geom = self.model.geom("red_box").id
        self.table_geom = self.model.geom("table").id
        self.control_low, self.control_high = self._control_range()

    def _arm_indices(self, arm: str, first: int) -> ArmIndices:
        return ArmIndices(
            qpos=slice(first, first + NUM_ARM_JOINTS),
            finger=first + NUM_ARM_JOINTS,
            gripper_body=self.model.body(f"vx300s_{arm}/gripper_link").id,
            finger_geoms=(
                self.model.geom(f"vx300s_{arm}/10_left_gripper_finger").id,
                self.model.geom(f"vx300s_{arm}/10_right_gripper_finger").id,
            ),
            joint_range=self.model.jnt_range[first : first + NUM_ARM_JOINTS].copy(),
        )

    def _control_range(self) -> tuple[Float[np.ndarray, " a"], Float[np.ndarray, " a"]]:
        """Limits of the 14 action dims: joints in rad, grippers 0 (closed) to 1 (open)."""
        joints = self.model.actuator_ctrlrange[[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]]
        low, high = joints[:, 0].copy(), joints[:, 1].copy()
        for gripper in (LEFT_GRIPPER, RIGHT_GRIPPER):
            low[gripper], high[gripper] = 0.0, 1.0
        return low, high
