"""An arm and its leader as a plugin of lerobot, without hardware."""

from lerobot_robot_pretended.pretended_arm import PretendedArm, PretendedArmConfig
from lerobot_robot_pretended.pretended_leader import PretendedLeader, PretendedLeaderConfig

__all__ = ["PretendedArm", "PretendedArmConfig", "PretendedLeader", "PretendedLeaderConfig"]
