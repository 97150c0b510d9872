"""Stage E: success rate of a policy."""

from typing import Final

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.robot import SimRobotConfig
from recap_core.errors import ConfigError

RECORDED_SEED: Final = 700_000
"""Evaluations that are recorded, so that they can be trained on, begin here: whoever trains on the
held-out seeds has none to evaluate on any more."""
RECORDED_SEEDS_PER_ROUND: Final = 10_000


class EvaluationConfig(Config):
    """Autonomous episodes on held-out seeds; nobody takes over."""

    num_episodes: int = Field(default=150, ge=1)
    first_seed: int = Field(default=500_000, ge=0)
    """Episode i starts from seed ``first_seed + i``; collection never uses seeds this high."""
    max_episode_frames: int = Field(default=60, ge=2)
    execute_frames: int = Field(default=4, ge=1)
    robot: SimRobotConfig = SimRobotConfig(cameras=())
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class RecordEvaluationConfig(Config):
    """Evaluation episodes that are kept as rollouts."""

    evaluation: EvaluationConfig
    """With the cameras that are recorded."""
    round_index: int = Field(ge=1)
    """The round that may learn from them; every round has seeds of its own."""


def recorded_first_seed(round_index: int, num_episodes: int) -> int:
    """Where the seeds of evaluations begin that round ``round_index`` may learn from.

    Raises:
        ConfigError: If there are more episodes than a round has seeds.
    """
    if num_episodes > RECORDED_SEEDS_PER_ROUND:
        raise ConfigError(
            f"{num_episodes} episodes are more than the {RECORDED_SEEDS_PER_ROUND:,} seeds that a "
            "round may record; record fewer, or name seeds with --first-seed"
        )
    return RECORDED_SEED + RECORDED_SEEDS_PER_ROUND * round_index
