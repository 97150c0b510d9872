"""The simulator as a live robot, and the scripted expert as its operator's leader.

MuJoCo and its GL context belong to one thread: whoever calls ``connect`` calls everything else.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from recap_core.collection.robots.arms import infer_arms
from recap_core.config.live_robot import SimLiveConfig
from recap_core.errors import RobotError
from recap_core.rollout.frame import Action, Observation
from recap_core.rollout.live import OBSERVED_AT, CameraFormat, RobotDescription
from recap_core.sim.aloha import SUCCESS_STAGE, SimAloha
from recap_core.sim.expert import ScriptedExpert
from recap_core.sim.kinematics import InverseKinematics
from recap_core.sim.room import open_room
from recap_core.sim.scene import ARMS

JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
DIM_NAMES = tuple(f"{arm}_{joint}" for arm in ARMS for joint in JOINTS)

type TaskState = Literal["open", "solved", "failed"]


class SimLiveRobot:
    """gym-aloha's bimanual robot; each action moves it by one frame at once.

    Its :class:`~recap_core.rollout.protocols.EpisodeReset` places the cube anew. Observations hold
    rendered images (about 4 ms each with software rendering), so they may be kept.

    Args:
        config: Frame rate, cameras, first place of the cube.
        now: Unix time, s.
    """

    def __init__(self, config: SimLiveConfig, *, now: Callable[[], float] = time.time) -> None:
        self._config = config
        self._now = now
        self._room = contextlib.ExitStack()
        self._simulated: SimAloha | None = None
        self._kinematics: InverseKinematics | None = None

    @property
    def description(self) -> RobotDescription:
        """What it is.

        Raises:
            RobotError: If it is not connected.
        """
        settings, scene = self._config.robot, self.simulated.scene
        return RobotDescription(
            robot_type=settings.kind,
            fps=settings.fps,
            arms=infer_arms(DIM_NAMES),
            cameras={
                camera.name: CameraFormat(settings.image_px, settings.image_px)
                for camera in settings.cameras
            },
            action_low=scene.control_low.astype(np.float32),
            action_high=scene.control_high.astype(np.float32),
            ee_frame_names={arm: f"vx300s_{arm}/gripper_link" for arm in ARMS},
        )

    @property
    def simulated(self) -> SimAloha:
        """The simulator behind it.

        Raises:
            RobotError: If it is not connected.
        """
        if self._simulated is None:
            raise RobotError("The simulated robot is not connected; call connect() first.")
        return self._simulated

    @property
    def task_state(self) -> TaskState:
        """``solved``: the cube is handed over; ``failed``: it fell off the table; else ``open``."""
        if self.simulated.stage == SUCCESS_STAGE:
            return "solved"
        return "failed" if self.simulated.has_dropped_cube else "open"

    def connect(self) -> None:
        """Start the simulator and place the cube.

        Raises:
            RenderingError: If there are cameras and no GL context; it says what to install.
        """
        if self._simulated is not None:
            return
        room = self._room.enter_context(open_room(self._config.robot))
        self._simulated = room.make_robot()
        self._kinematics = InverseKinematics(room.scene)
        self.reset_episode(np.random.default_rng(self._config.seed))

    def make_expert(self) -> ScriptedExpert:
        """A scripted operator of this robot; it must be connected."""
        robot = self.simulated
        return ScriptedExpert(robot, self._kinematics or InverseKinematics(robot.scene))

    def reset_episode(self, rng: np.random.Generator) -> None:
        """Go to the start pose and put the cube at a random place."""
        self.simulated.reset_episode(rng)

    def get_observation(self) -> Observation:
        """State, velocities, gripper poses, cube pose and rendered images."""
        observed_at = self._now()
        return {**self.simulated.get_observation(), OBSERVED_AT: observed_at}

    def send_action(self, action: Action) -> Action:
        """Move for one frame; returns the action after clipping.

        Raises:
            RobotError: If the action has another shape than (14,), or is not finite.
        """
        return self.simulated.send_action(action)

    def disconnect(self) -> None:
        """Stop it and free the GL context."""
        self._simulated = self._kinematics = None
        self._room.close()


class ExpertLeader:
    """The scripted expert in place of an operator's arm: it drives while CORRECTING.

    Nobody holds it, so it has no torque to switch, and it begins wherever the robot is.

    Args:
        robot: The robot it looks at and drives.
    """

    def __init__(self, robot: SimLiveRobot) -> None:
        self._robot = robot
        self._driven: SimAloha | None = None
        self._expert: ScriptedExpert | None = None

    def get_action(self) -> Action:
        """Joint targets of both arms for the next frame."""
        if self._expert is None or self._driven is not self._robot.simulated:
            self._driven, self._expert = self._robot.simulated, self._robot.make_expert()
        return self._expert.get_action()

    def set_compliant(self) -> None:
        """Nothing to do."""

    def set_stiff(self) -> None:
        """Nothing to do."""

    def follow(self, action: Float[np.ndarray, " a"]) -> None:
        """Nothing to do."""
