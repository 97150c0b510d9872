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
    """``connect``, ``calibration``, ``read``, ``silent``, ``camera``, ``send``, ``disconnect``."""
    disable_torque_on_disconnect: bool = True


class PretendedMotors:
    """Powered from connect to disconnect, unless they are to keep their torque."""

    def __init__(self) -> None:
        self.is_connected = False
        self.has_torque = False

    def connect(self) -> None:
        """Power."""
        self.is_connected = self.has_torque = True

    def disconnect(self, disable_torque: bool = True) -> None:  # noqa: FBT001, FBT002 (lerobot's signature)
        """No power, if so wanted."""
        self.is_connected, self.has_torque = False, not disable_torque


class PretendedCamera:
    """A camera that may be unplugged."""

    def __init__(self) -> None:
        self.is_connected = False

    def disconnect(self) -> None:
        """Let go."""
        self.is_connected = False


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
        self.bus = PretendedMotors()
        self.cameras = {"front": PretendedCamera(), "side": PretendedCamera()}

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
        """Whether its motors and all cameras are, as lerobot's own arms say it."""
        return self.bus.is_connected and all(one.is_connected for one in self.cameras.values())

    @property
    def is_calibrated(self) -> bool:
        """Unless that is the trouble."""
        return self.config.trouble != "calibration"

    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002 (lerobot's signature)
        """Fail after the motors are powered, if that is the trouble."""
        assert not calibrate
        self.bus.connect()
        if self.config.trouble == "connect":
            raise ConnectionError(f"could not open port {self.config.port}")
        for camera in self.cameras.values():
            camera.is_connected = True

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
        if self.config.trouble == "silent":
            positions = dict.fromkeys(positions)
        image = self.image[:, :5] if self.config.trouble == "camera" else self.image
        cameras = {"front": image, "front_depth": image[..., :1]}
        return {**positions, **speeds, **(cameras if self.config.has_camera else {})}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Go there, within its own limits."""
        if self.config.trouble == "send":
            raise ConnectionError("the bus is gone")
        sent = {key: min(OWN_LIMIT, max(-OWN_LIMIT, value)) for key, value in action.items()}
        self.joints.update({key.removesuffix(".pos"): value for key, value in sent.items()})
        return dict.fromkeys(sent) if self.config.trouble == "silent" else sent

    def disconnect(self) -> None:
        """Let go; as lerobot's own arms, it refuses where it is not connected."""
        if not self.is_connected:
            raise ConnectionError("it is not connected")
        if self.config.trouble == "disconnect":
            raise ConnectionError("no status packet")
        self.bus.disconnect(self.config.disable_torque_on_disconnect)
        for camera in self.cameras.values():
            camera.disconnect()
