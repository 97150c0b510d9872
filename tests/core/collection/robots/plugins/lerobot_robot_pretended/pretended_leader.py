"""The leader."""

from dataclasses import dataclass
from typing import Any

from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.teleoperator import Teleoperator


@TeleoperatorConfig.register_subclass("pretended_leader")
@dataclass(kw_only=True)
class PretendedLeaderConfig(TeleoperatorConfig):
    """A leader with motors, or one that only measures."""

    port: str = "/dev/pretended_leader"
    joints: tuple[str, ...] = ("shoulder", "elbow", "gripper")
    has_motors: bool = True


class Bus:
    """Motors that remember what they were told."""

    def __init__(self, log: list[Any]) -> None:
        self._log = log

    def enable_torque(self) -> None:
        """Remember it."""
        self._log.append("stiff")

    def disable_torque(self) -> None:
        """Remember it."""
        self._log.append("compliant")


class PretendedLeader(Teleoperator):
    """It is where ``pose`` says, and goes nowhere."""

    config_class = PretendedLeaderConfig
    name = "pretended_leader"

    def __init__(self, config: PretendedLeaderConfig) -> None:
        super().__init__(config)
        self.config = config
        self.pose = dict.fromkeys(config.joints, 0.0)
        self.log: list[Any] = []
        """Torque, and poses that it was fed."""
        self.bus = Bus(self.log)
        self._is_connected = False

    @property
    def action_features(self) -> dict[str, Any]:
        """A position per joint."""
        return {f"{joint}.pos": float for joint in self.pose}

    @property
    def feedback_features(self) -> dict[str, Any]:
        """Those of the action, if it has motors."""
        return self.action_features if self.config.has_motors else {}

    @property
    def is_connected(self) -> bool:
        """Between connect and disconnect."""
        return self._is_connected

    @property
    def is_calibrated(self) -> bool:
        """Always."""
        return True

    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002 (lerobot's signature)
        """Nothing to do."""
        assert not calibrate
        self._is_connected = True

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    def get_action(self) -> dict[str, Any]:
        """Its pose."""
        return {f"{joint}.pos": value for joint, value in self.pose.items()}

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """Remember it."""
        self.log.append([round(value, 6) for value in feedback.values()])

    def disconnect(self) -> None:
        """Let go."""
        self._is_connected = False
