"""A robot cell as one YAML file: robot, policy, operator, recording, safety and how a session goes.

    task: fold the towel
    robot: {kind: lerobot, type: so101_follower, settings: {port: /dev/ttyACM0}}
    policy: {host: gpu-machine, port: 8111}
    inputs: {pedal: {}}
    session: {num_episodes: 50}

Everything has a default but what only its owner can know; ``--robot sim`` needs no file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from recap_core.config.base import Config, RuntimeConfig
from recap_core.config.live_robot import LiveRobotConfig, ScriptedPolicyConfig, SimLiveConfig
from recap_core.config.operator import OperatorConfig, nearest
from recap_core.config.overlay import lay_over, read_settings, validated
from recap_core.config.policy_link import PolicyLinkConfig
from recap_core.config.recording import RecordingConfig
from recap_core.errors import ConfigError

SCRIPTED_KINDS = frozenset({"sim", "synthetic"})
"""Robots that need no policy server to be tried out."""


class SafetyConfig(RuntimeConfig):
    """When the robot is paused, and what is never sent to it."""

    action_low: tuple[float, ...] | None = None
    """Lowest action, one number per dim in the robot's units; None: the robot's own limits."""
    action_high: tuple[float, ...] | None = None
    """Highest action; None: the robot's own limits."""
    max_step: float | tuple[float | None, ...] | None = None
    """Largest change of an action from one tick to the next, one number for all dims or one per
    dim, in the robot's units; None: any. A policy that jumps further is stopped; a leader arm that
    is further away is approached at this speed. Grippers normally need None."""
    max_observation_age_s: float = Field(default=0.5, gt=0)
    """Joints or images older than this pause the robot, s."""
    robot_timeout_s: float = Field(default=5.0, gt=0)
    """A robot that cannot be read for so long ends the session, s."""
    watchdog_s: float = Field(default=1.0, gt=0)
    """Longest tick; after a longer one the robot is paused, s."""

    @field_validator("max_step")
    @classmethod
    def _only_forward[S: float | tuple[float | None, ...] | None](cls, step: S) -> S:
        steps = step if isinstance(step, tuple) else (step,)
        if any(one is not None and one <= 0 for one in steps):
            raise ValueError("must be above 0, or null for a dim without a limit")
        return step

    @property
    def limits_steps(self) -> bool:
        """Whether ``max_step`` limits any dim."""
        steps = self.max_step if isinstance(self.max_step, tuple) else (self.max_step,)
        return any(step is not None for step in steps)


class SessionConfig(RuntimeConfig):
    """How a collection session goes."""

    mode: Literal["rollout", "demonstration", "evaluation"] = "rollout"
    """``rollout``: the policy drives, the operator corrects. ``demonstration``: the operator
    drives, there is no policy. ``evaluation``: nobody corrects."""
    num_episodes: int = Field(default=100, ge=0)
    """The session ends after so many saved episodes; 0: no such goal."""
    num_corrections: int = Field(default=0, ge=0)
    """It ends after so many corrections; 0: no such goal. With both, when both are reached."""
    target_rate: float | None = Field(default=None, gt=0, lt=1)
    """``evaluation``: success rate that the policy shall reach. The screen then says whether that
    is shown, however often one looks, and how many more trials would."""
    episode_limit_s: float = Field(default=200.0, gt=0)
    """An episode that has not ended by then is a failure, unless the operator is correcting, s."""
    initial_phase: Literal["paused", "autonomous"] = "paused"
    """Phase at the start of the session."""
    pause_between_episodes: bool = True
    """Pause the robot when an episode ends, so that people can reach into the scene. False: it
    goes on, as the reference collector's."""
    resume_ramp_s: float = Field(default=0.5, ge=0, le=10)
    """Length of the transition from the robot's pose to the policy after a pause, s; 0: none."""
    takeover_ramp_s: float = Field(default=0.5, ge=0, le=10)
    """Length of the transition from the robot's pose to the leader's where a correction begins, s:
    a leader that has not followed the robot may be far away. 0: at once, as the reference."""
    pause_stiffens_leader: bool = True
    """Make leader arms stiff at the end of a correction."""
    seed: int = Field(default=0, ge=0)
    """Of the scenes, where the robot arranges its own (simulation)."""


class CellConfig(Config):
    """One robot cell."""

    task: str = Field(default="transfer cube", min_length=1)
    """What the policy is told, and the task of every episode."""
    robot: LiveRobotConfig = SimLiveConfig()
    policy: PolicyLinkConfig | None = None
    """A policy server; None: the scripted policy for the simulator, none for other robots."""
    scripted_policy: ScriptedPolicyConfig = ScriptedPolicyConfig()
    inputs: OperatorConfig = OperatorConfig()
    recording: RecordingConfig = RecordingConfig()
    safety: SafetyConfig = SafetyConfig()
    session: SessionConfig = SessionConfig()

    @model_validator(mode="after")
    def _somebody_drives(self) -> "CellConfig":
        has_policy = self.policy is not None or self.robot.kind in SCRIPTED_KINDS
        if self.session.mode == "evaluation" and not has_policy:
            raise ValueError(
                "session.mode is evaluation, but there is no policy to evaluate; set policy.host"
            )
        if self.session.mode == "evaluation" and self.session.num_corrections:
            raise ValueError(
                "session.mode is evaluation, in which nobody corrects, so "
                f"{self.session.num_corrections} corrections are never reached; set a number of "
                "episodes"
            )
        return self


def load_cell(
    file: Path | None, *, robot: str | None = None, overrides: Mapping[str, Any] | None = None
) -> CellConfig:
    """A cell from a file, a robot's name, and settings laid over them.

    Args:
        file: YAML with any of the sections; None: the defaults, which are the simulator.
        robot: ``sim``, ``synthetic``, or a YAML file with the section ``robot`` alone; in place of
            that of ``file``.
        overrides: Nested settings laid over all that.

    Raises:
        ConfigError: If a file cannot be read or a setting is wrong; one line that says which.
    """
    settings: dict[str, Any] = {} if file is None else read_settings(file)
    if robot is not None:
        if robot not in SCRIPTED_KINDS and not Path(robot).is_file():
            raise ConfigError(
                f"there is no robot {robot!r}{nearest(robot, sorted(SCRIPTED_KINDS))} A robot is "
                f"{', '.join(sorted(SCRIPTED_KINDS))}, or a YAML file that describes one "
                "(docs/robot-side.md)"
            )
        kind = {"kind": robot}
        settings["robot"] = kind if robot in SCRIPTED_KINDS else read_settings(Path(robot))
    lay_over(settings, overrides or {})
    return validated(CellConfig, settings, of="" if file is None else str(file))
