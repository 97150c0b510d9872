"""What a session in a robot cell is made of, how it goes, and how it ended."""

from pathlib import Path
from typing import Literal, NamedTuple

from recap_core.collection.pace import TimingStats
from recap_core.rollout.live import (
    EpisodeSummary,
    InputSource,
    Leader,
    LivePolicy,
    LiveRecorder,
    LiveRobot,
)
from recap_core.rollout.phase import Phase


class CellParts(NamedTuple):
    """What a cell consists of; the robot is connected."""

    robot: LiveRobot
    recorder: LiveRecorder
    leader: Leader | None = None
    """None: nobody can correct."""
    policy: LivePolicy | None = None
    """None: only the operator drives."""
    inputs: tuple[InputSource, ...] = ()


class SessionRules(NamedTuple):
    """How a session goes."""

    task: str
    is_passive: bool = False
    """An evaluation: nobody corrects, and an episode in which that was asked for does not count."""
    num_episodes: int = 0
    """The session is over after so many saved ones; 0: no such limit."""
    num_corrections: int = 0
    """The session is over after so many; 0: no such limit."""
    episode_limit_s: float = 200.0
    initial_phase: Phase = Phase.PAUSED
    pause_between_episodes: bool = True
    """Whether the robot is PAUSED when an episode ends."""
    resume_ramp_s: float = 0.5
    takeover_ramp_s: float = 0.5
    """From the robot's pose to the leader's, where a correction begins."""
    pause_stiffens_leader: bool = True
    max_observation_age_s: float = 0.5
    """Joints and images older than this pause the robot."""
    robot_timeout_s: float = 5.0
    """The session ends if the robot cannot be read for so long."""
    watchdog_s: float = 1.0
    """Longest tick; after a longer one the robot is PAUSED."""
    seed: int = 0
    """Of the scenes, where a robot can arrange its own."""


class SessionEnd(NamedTuple):
    """What became of a session."""

    directory: Path
    episodes: tuple[EpisodeSummary, ...]
    trials: tuple[bool, ...]
    """Whether each of those that count has succeeded."""
    num_discarded: int
    num_disqualified: int
    reason: Literal["goal", "quit", "error"]
    error: str | None
    timing: TimingStats
