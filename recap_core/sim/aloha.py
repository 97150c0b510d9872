"""A simulated bimanual robot: gym-aloha's physics at a policy's frame rate."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from recap_core.arrays import Image
from recap_core.config.robot import SimRobotConfig
from recap_core.errors import RobotError
from recap_core.rollout.frame import Action, Observation
from recap_core.sim.engine import mujoco
from recap_core.sim.rendering import SceneRenderer
from recap_core.sim.scene import (
    ARMS,
    CONTROL_HZ,
    CUBE_START_Z_M,
    CUBE_X_RANGE_M,
    CUBE_Y_RANGE_M,
    NUM_ARM_JOINTS,
    STATE_DIM,
    Scene,
)

SUCCESS_STAGE = 4
TABLE_EDGE_Z_M = -0.05
"""A cube whose centre is lower than this has left the table (it rests at +0.02)."""
FINGER_CLOSED_M, FINGER_OPEN_M = 0.01844, 0.058
"""Left finger position at gripper 0 and 1, as gym-aloha normalises it."""
TOOL_OFFSET_M = 0.135
"""From ``gripper_link`` forward to the point between the fingertips."""


class SimAloha:
    """One simulated robot with its cube; the :class:`Robot` of a rollout.

    State and action are ``[left 6 joints (rad), left gripper (0 closed - 1 open), right 6,
    right gripper]``; actions are absolute targets, interpolated linearly over the control steps
    of a frame.

    Args:
        scene: The compiled scene; may be shared.
        config: Frame rate, cameras.
        renderer: Renders the config's cameras; may be shared between robots of one thread. Not
            closed here. None where the config has no cameras.
    """

    def __init__(
        self, scene: Scene, config: SimRobotConfig, *, renderer: SceneRenderer | None = None
    ) -> None:
        if config.cameras and renderer is None:
            raise RobotError(
                f"A robot with cameras {[camera.name for camera in config.cameras]} needs a "
                "renderer; pass one, or set robot.cameras to []."
            )
        self.scene = scene
        self.config = config
        self.data = mujoco.MjData(scene.model)
        self._renderer = renderer
        self._steps_per_frame = CONTROL_HZ // config.fps
        self._target = np.zeros(STATE_DIM)
        self._stage = 0
        self._frame = 0

    def reset_episode(self, rng: np.random.Generator) -> None:
        """Go to the start pose and put the cube at a random place in front of the right arm."""
        x, y = rng.uniform(*CUBE_X_RANGE_M), rng.uniform(*CUBE_Y_RANGE_M)
        self.reset_to(np.array([x, y, CUBE_START_Z_M, 1, 0, 0, 0]))

    def reset_to(self, cube_pose: Float[np.ndarray, "7"]) -> None:
        """Go to the start pose and put the cube at ``cube_pose`` (x, y, z in m; w, x, y, z)."""
        model, data = self.scene.model, self.data
        mujoco.mj_resetData(model, data)
        data.qpos[:16] = self.scene.start_qpos
        data.qpos[16:] = cube_pose
        data.ctrl[:] = self.scene.start_qpos
        mujoco.mj_forward(model, data)
        self._target = self._state()
        self._stage = self._reward()
        self._frame = 0

    def get_observation(self) -> Observation:
        """State, velocities, gripper poses and cube pose; images are rendered when read."""
        arrays = {
            "observation.state": self._state().astype(np.float32),
            "observation.environment_state": self.data.qpos[16:].astype(np.float32),
            "observation.joint_velocity": self._velocity().astype(np.float32),
            "observation.ee_pose": self._ee_pose().astype(np.float32),
        }
        return LazyObservation(self, arrays) if self._renderer is not None else arrays

    def send_action(self, action: Action) -> Action:
        """Move for one frame towards ``action["action"]``; returns it clipped to its limits.

        Raises:
            RobotError: If the action has another shape than (14,), or is not finite.
        """
        target = np.asarray(action["action"], dtype=np.float64)
        if target.shape != (STATE_DIM,) or not np.isfinite(target).all():
            raise RobotError(
                f"Action {target} of frame {self._frame} has shape {target.shape}; it must be "
                f"({STATE_DIM},) and finite. Check the policy's output and its norm stats."
            )
        sent = np.clip(target, self.scene.control_low, self.scene.control_high).astype(np.float32)
        start, end = self._target, sent.astype(np.float64)
        for step in range(1, self._steps_per_frame + 1):
            self._control_step(start + (end - start) * (step / self._steps_per_frame))
        self._target = end
        self._stage = self._reward()
        self._frame += 1
        return {"action": sent}

    def render(self, camera: str) -> Image:
        """The present image of the camera with that name in the config."""
        if self._renderer is None:
            raise RobotError(f"Camera {camera!r} of a robot without a renderer cannot be read.")
        return self._renderer.render(self.data, camera)

    @property
    def frame(self) -> int:
        """Frames since the reset."""
        return self._frame

    @property
    def stage(self) -> int:
        """gym-aloha's reward: 0, 1 right touches, 2 lifted, 3 left touches, 4 handed over."""
        return self._stage

    @property
    def cube_position(self) -> Float[np.ndarray, "3"]:
        """Centre of the cube, m."""
        return self.data.qpos[16:19]

    @property
    def has_dropped_cube(self) -> bool:
        """Whether the cube has fallen off the table."""
        return bool(self.data.qpos[18] < TABLE_EDGE_Z_M)

    def tool_position(self, arm: str) -> Float[np.ndarray, "3"]:
        """The point between the fingertips, m."""
        body = self.scene.arms[arm].gripper_body
        forward = self.data.xmat[body].reshape(3, 3)[:, 0]
        return self.data.xpos[body] + TOOL_OFFSET_M * forward

    def gripper_opening(self, arm: str) -> float:
        """0 closed, 1 open."""
        finger = self.data.qpos[self.scene.arms[arm].finger]
        return float((finger - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M))

    def gripper_speed(self, arm: str) -> float:
        """Openings per second; negative while it closes."""
        speed = self.data.qvel[self.scene.arms[arm].finger]
        return float(speed / (FINGER_OPEN_M - FINGER_CLOSED_M))

    def finger_touches_cube(self, arm: str) -> tuple[bool, bool]:
        """Whether the arm's left and right finger touch the cube."""
        left, right = self.scene.arms[arm].finger_geoms
        others = self._touching_cube()
        return left in others, right in others

    def _control_step(self, target: np.ndarray) -> None:
        data, model = self.data, self.scene.model
        for index, arm in enumerate(ARMS):
            indices, first = self.scene.arms[arm], index * 7
            data.ctrl[indices.qpos] = target[first : first + NUM_ARM_JOINTS]
            opening = target[first + NUM_ARM_JOINTS] * (FINGER_OPEN_M - FINGER_CLOSED_M)
            data.ctrl[indices.finger] = FINGER_CLOSED_M + opening
            data.ctrl[indices.finger + 1] = -(FINGER_CLOSED_M + opening)
        # Positions and velocities are up to date before and after, as dm_control keeps them.
        mujoco.mj_step2(model, data)
        mujoco.mj_step(model, data, self.scene.substeps - 1)
        mujoco.mj_step1(model, data)

    def _state(self) -> np.ndarray:
        qpos = self.data.qpos
        state = np.concatenate([qpos[0:7], qpos[8:15]])
        state[[6, 13]] = (state[[6, 13]] - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M)
        return state

    def _velocity(self) -> np.ndarray:
        velocity = np.concatenate([self.data.qvel[0:7], self.data.qvel[8:15]])
        velocity[[6, 13]] /= FINGER_OPEN_M - FINGER_CLOSED_M
        return velocity

    def _ee_pose(self) -> np.ndarray:
        bodies = [self.scene.arms[arm].gripper_body for arm in ARMS]
        return np.concatenate(
            [part for body in bodies for part in (self.data.xpos[body], self.data.xquat[body])]
        )

    def _touching_cube(self) -> set[int]:
        geoms = self.data.contact.geom
        touching = geoms[(geoms == self.scene.cube_geom).any(axis=1)]
        return set(touching.ravel().tolist()) - {self.scene.cube_geom}

    def _reward(self) -> int:
        """gym-aloha counts one finger per hand, and only contacts listed cube first."""
        geoms = self.data.contact.geom
        touching = set(geoms[geoms[:, 0] == self.scene.cube_geom, 1].tolist())
        lifted = self.scene.table_geom not in touching
        if self.scene.arms["left"].finger_geoms[0] in touching:
            return SUCCESS_STAGE if lifted else 3
        if self.scene.arms["right"].finger_geoms[1] in touching:
            return 2 if lifted else 1
        return 0


class LazyObservation(Mapping[str, Any]):
    """An observation whose images are rendered when they are first read.

    Reading an image after the robot has moved would show another moment, and raises instead.
    """

    def __init__(self, robot: SimAloha, arrays: dict[str, np.ndarray]) -> None:
        self._robot = robot
        self._arrays = arrays
        self._frame = robot.frame
        self._cameras = {
            f"observation.images.{camera.name}": camera.name for camera in robot.config.cameras
        }

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self._arrays and key in self._cameras:
            if self._robot.frame != self._frame:
                raise RobotError(
                    f"{key} of frame {self._frame} was read after the robot went on to frame "
                    f"{self._robot.frame}; read images before send_action."
                )
            self._arrays[key] = self._robot.render(self._cameras[key])
        return self._arrays[key]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self._arrays, *self._cameras])

    def __len__(self) -> int:
        return len({*self._arrays, *self._cameras})
