"""Stage 0: recording episodes."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.isolation import AcceleratorRuntime
from recap_core.config.robot import ExpertConfig, SimRobotConfig, SupervisorConfig


class CollectConfig(Config):
    """A collection session in simulation.

    ``demonstration``: the expert drives, failed attempts are discarded until ``num_episodes``
    succeeded. ``rollout``: the policy drives, the supervisor may take over, every episode is kept.
    """

    mode: Literal["demonstration", "rollout"] = "rollout"
    num_episodes: int = Field(default=80, ge=1, le=100_000)
    max_episode_frames: int = Field(default=60, ge=2)
    """An episode that has not succeeded by then is a failure."""
    round_index: int = Field(default=0, ge=0)
    """0 for demonstrations, k for the rollouts of iteration k; part of every episode's seed."""
    seed: int = Field(default=0, ge=0)
    execute_frames: int = Field(default=4, ge=1)
    """Frames of an action chunk that are executed before the policy is asked again."""
    robot: SimRobotConfig = SimRobotConfig()
    expert: ExpertConfig = ExpertConfig()
    supervisor: SupervisorConfig = SupervisorConfig()


class CollectRuntime(AcceleratorRuntime):
    """How a collection session runs."""

    num_robots: int = Field(default=30, ge=1)
    """Simulated robots stepped in lockstep, so that policy calls are batched."""
