"""The simulator as a lerobot robot, and its expert as a lerobot teleoperator.

Importing this module registers ``sim_aloha`` and ``sim_aloha_expert`` with lerobot, so that its
own tools can record, replay and teleoperate without hardware. Nothing else in this package
imports it: lerobot takes seconds to load.

lerobot looks a device up in the package of its config's module; ``recap_core.collection`` answers
for this module.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.robots.config import RobotConfig
from lerobot.robots.robot import Robot
from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.teleoperator import Teleoperator

from recap_core.config.robot import ExpertConfig, SimRobotConfig
from recap_core.errors import RobotError
from recap_core.sim import aloha, expert
from recap_core.sim.kinematics import InverseKinematics
from recap_core.sim.rendering import SceneRenderer, probe_rendering
from recap_core.sim.scene import ARMS, Scene

JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
MOTORS = tuple(f"{arm}_{joint}.pos" for arm in ARMS for joint in JOINTS)
"""lerobot's names of the 14 dims of state and action, in their order."""


@RobotConfig.register_subclass("sim_aloha")
@dataclass(kw_only=True)
class SimAlohaConfig(RobotConfig):
    """lerobot's config of the simulated robot."""

    fps: int = 10
    """Rate at which ``send_action`` is called, Hz: 10, 25 or 50."""
    image_px: int = 64
    with_cameras: bool = True
    """Without them no GL context is needed."""
    seed: int = 0
    """Of the cube's places, one after another."""


class SimAloha(Robot):
    """gym-aloha behind lerobot's interface; ``connect`` and ``reset_episode`` place the cube."""

    config_class = SimAlohaConfig
    name = "sim_aloha"

    def __init__(self, config: SimAlohaConfig) -> None:
        super().__init__(config)
        settings: dict[str, Any] = {"fps": config.fps, "image_px": config.image_px}
        if not config.with_cameras:
            settings["cameras"] = ()
        self.settings = SimRobotConfig(**settings)
        self.cameras: dict[str, Any] = {camera.name: camera for camera in self.settings.cameras}
        self._rng = np.random.default_rng(config.seed)
        self._renderer: SceneRenderer | None = None
        self._simulated: aloha.SimAloha | None = None

    @property
    def observation_features(self) -> dict[str, Any]:
        """A float per motor and (height, width, 3) per camera."""
        shape = (self.settings.image_px, self.settings.image_px, 3)
        return {**dict.fromkeys(MOTORS, float), **dict.fromkeys(self.cameras, shape)}

    @property
    def action_features(self) -> dict[str, Any]:
        """A float per motor."""
        return dict.fromkeys(MOTORS, float)

    @property
    def is_connected(self) -> bool:
        """Whether the simulator runs."""
        return self._simulated is not None

    @property
    def is_calibrated(self) -> bool:
        """Always: there is nothing to calibrate."""
        return True

    @property
    def simulated(self) -> aloha.SimAloha:
        """The simulator behind it.

        Raises:
            RobotError: If it is not connected.
        """
        if self._simulated is None:
            raise RobotError("The simulated robot is not connected; call connect() first.")
        return self._simulated

    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002 (lerobot's signature)
        """Start the simulator and place the cube."""
        del calibrate
        scene = Scene()
        if self.settings.cameras:
            probe_rendering()
            self._renderer = SceneRenderer(scene, self.settings)
        self._simulated = aloha.SimAloha(scene, self.settings, renderer=self._renderer)
        self.reset_episode()

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def reset_episode(self) -> None:
        """Go to the start pose and place the cube anew."""
        self.simulated.reset_episode(self._rng)

    def get_observation(self) -> dict[str, Any]:
        """Motor positions and camera images."""
        observation = self.simulated.get_observation()
        state = observation["observation.state"]
        images = {name: observation[f"observation.images.{name}"] for name in self.cameras}
        return {**dict(zip(MOTORS, state.tolist(), strict=True)), **images}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move for one frame; returns the targets after clipping."""
        target = np.array([action[motor] for motor in MOTORS], dtype=np.float32)
        sent = self.simulated.send_action({"action": target})["action"]
        return dict(zip(MOTORS, sent.tolist(), strict=True))

    def disconnect(self) -> None:
        """Stop the simulator and free the GL context."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None
        self._simulated = None


@TeleoperatorConfig.register_subclass("sim_aloha_expert")
@dataclass(kw_only=True)
class SimAlohaExpertConfig(TeleoperatorConfig):
    """lerobot's config of the scripted operator."""

    noise_rad: float = 0.0
    """Tremble of the arm joints, rad."""
    seed: int = 0


class SimAlohaExpert(Teleoperator):
    """The scripted operator behind lerobot's interface; it must be bound to its robot."""

    config_class = SimAlohaExpertConfig
    name = "sim_aloha_expert"

    def __init__(self, config: SimAlohaExpertConfig) -> None:
        super().__init__(config)
        self._config = config
        self._robot: SimAloha | None = None
        self._expert: expert.TremblingExpert | None = None

    def bind(self, robot: SimAloha) -> None:
        """Say which robot it looks at and drives; a connected one."""
        self._robot = robot
        driver = expert.ScriptedExpert(robot.simulated, InverseKinematics(robot.simulated.scene))
        self._expert = expert.TremblingExpert(
            driver,
            ExpertConfig(noise_rad=self._config.noise_rad),
            np.random.default_rng(self._config.seed),
        )

    @property
    def action_features(self) -> dict[str, Any]:
        """A float per motor."""
        return dict.fromkeys(MOTORS, float)

    @property
    def feedback_features(self) -> dict[str, Any]:
        """None: nobody holds it."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether it is bound to a running robot."""
        return self._robot is not None and self._robot.is_connected

    @property
    def is_calibrated(self) -> bool:
        """Always: there is nothing to calibrate."""
        return True

    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002 (lerobot's signature)
        """Nothing to do; see :meth:`bind`."""
        del calibrate

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def get_action(self) -> dict[str, Any]:
        """Motor targets for the next frame.

        Raises:
            RobotError: If it is not bound to a robot.
        """
        if self._expert is None:
            raise RobotError("The expert drives no robot; call bind(robot) after connecting it.")
        action = self._expert.get_action()["action"]
        return dict(zip(MOTORS, action.tolist(), strict=True))

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """Nothing to feel."""

    def disconnect(self) -> None:
        """Let go of the robot."""
        self._robot = None
        self._expert = None
