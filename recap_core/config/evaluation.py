"""Stage E: success rate of a policy."""

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.robot import SimRobotConfig


class EvaluationConfig(Config):
    """Autonomous episodes on held-out seeds; nobody takes over."""

    num_episodes: int = Field(default=150, ge=1)
    first_seed: int = Field(default=500_000, ge=0)
    """Episode i starts from seed ``first_seed + i``; collection never uses seeds this high."""
    max_episode_frames: int = Field(default=60, ge=2)
    execute_frames: int = Field(default=4, ge=1)
    robot: SimRobotConfig = SimRobotConfig(cameras=())
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
