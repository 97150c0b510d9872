"""The arm."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lerobot.cameras.configs import CameraConfig
from lerobot.robots.config import RobotConfig
from lerobot.robots.robot import Robot

OWN_LIMIT = 50.0


@RobotConfig.register_subclass("pretended_arm")
@dataclass(kw_only=True)
class PretendedArmConfig(RobotConfig):
    """What goes wrong is a setting."""

    port: str = "/dev/pretended"
    joints: tuple[str, ...] = ("shoulder", "elbow", "gripper")
    cameras: dict[str, CameraConfig] = field(default_factory=dict)
    has_camera: bool = True
    trouble: str = ""
    """``connect``, ``calibration``, ``read``, ``camera`` or ``send``."""


class PretendedArm(Robot):
    """Its joints are where they were sent, within its own limits."""

    config_class = PretendedArmConfig
    name = "pretended_arm"

    def __init__(self, config: PretendedArmConfig) -> None:
        super().__init__(config)
        self.config = config
        self.joints = dict.fromkeys(config.joints, 0.0)
        self.image = np.zeros((4, 6, 3), dtype=np.uint8)
        """What its camera shows until the next image has come."""
        self._is_connected = False

    @property
    def observation_features(self) -> dict[str, Any]:
        """Positions, speeds, an image and its depth."""
        positions = {f"{joint}.pos": float for joint in self.joints}
        speeds = {f"{joint}.vel": float for joint in self.joints}
        cameras = {"front": (4, 6, 3), "front_depth": (4, 6, 1)}
        return {**positions, **speeds, **(cameras if self.config.has_camera else {})}

    @property
    def action_features(self) -> dict[str, Any]:
        """A position per joint."""
        return {f"{joint}.pos": float for joint in self.joints}

    @property
    def is_connected(self) -> bool:
        """Between connect and disconnect."""
        return self._is_connected

    @property
    def is_calibrated(self) -> bool:
        """Unless that is the trouble."""
        return self.config.trouble != "calibration"

    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002 (lerobot's signature)
        """Fail, if that is the trouble."""
        assert not calibrate
        if self.config.trouble == "connect":
            raise ConnectionError(f"could not open port {self.config.port}")
        self._is_connected = True

    def calibrate(self) -> None:
        """Nobody asks for it."""
        raise AssertionError("nobody asked for it")

    def configure(self) -> None:
        """Nothing to do."""

    def get_observation(self) -> dict[str, Any]:
        """What it senses, or its trouble."""
        if self.config.trouble == "read":
            raise ConnectionError("no status packet")
        positions = {f"{joint}.pos": value for joint, value in self.joints.items()}
        speeds = {f"{joint}.vel": -value for joint, value in self.joints.items()}
        image = self.image[:, :5] if self.config.trouble == "camera" else self.image
        cameras = {"front": image, "front_depth": image[..., :1]}
        return {**positions, **speeds, **(cameras if self.config.has_camera else {})}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Go there, within its own limits."""
        if self.config.trouble == "send":
            raise ConnectionError("the bus is gone")
        sent = {key: min(OWN_LIMIT, max(-OWN_LIMIT, value)) for key, value in action.items()}
        self.joints.update({key.removesuffix(".pos"): value for key, value in sent.items()})
        return sent

    def disconnect(self) -> None:
        """Let go."""
        self._is_connected = False
