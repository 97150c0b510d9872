"""Robots that move in real time, as settings: what ``recap collect --robot FILE`` reads.

The simulator needs no file; a recording can be replayed as a robot, images can be made up, and
everything that lerobot drives is described like this (docs/robot-side.md):

    kind: lerobot
    type: so101_follower
    settings:
      port: /dev/ttyACM0
      id: right
      cameras: {front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}}
    teleoperator: {type: so101_leader, settings: {port: /dev/ttyACM1, id: right}}
    fps: 30
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from recap_core.config.base import Config
from recap_core.config.recording_map import PlainName, RecordingMap
from recap_core.config.robot import SimRobotConfig


class SimLiveConfig(Config):
    """The simulator, in real time; the scripted expert is its operator."""

    kind: Literal["sim"] = "sim"
    robot: SimRobotConfig = SimRobotConfig()
    """Frame rate, cameras, image size."""
    seed: int = Field(default=0, ge=0)
    """Of the cube's place when the robot is connected."""


class ScriptedPolicyConfig(Config):
    """A policy without a server, for trying things out: the simulator's expert, made clumsy."""

    noise_rad: float = Field(default=0.02, ge=0, le=0.1)
    """Tremble of the arm joints, rad."""
    stall_share: float = Field(default=0.4, ge=0, le=1)
    """How often it gives up half-way and has to be helped: share of the times it gets control."""
    stall_after: tuple[int, int] = (5, 15)
    """First and last frame at which it may give up."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> "ScriptedPolicyConfig":
        first, last = self.stall_after
        if not 0 <= first <= last:
            raise ValueError(f"stall_after is {first} to {last}; it must rise, from 0 on")
        return self


class RobotFaults(Config):
    """Things that go wrong on purpose, by observation since connecting, from 0: for tests."""

    stale_from: int | None = Field(default=None, ge=0)
    """From here on every observation is that of the tick before, with its old times."""
    frozen_cameras: dict[str, int] = Field(default={})
    """By camera: from here on it shows the image before, with its old time."""
    error_at: int | None = Field(default=None, ge=0)
    """This observation cannot be read; the next one can."""


class ReplayConfig(Config):
    """A recorded session or episode as a robot: it shows row after row, over and over."""

    kind: Literal["replay"]
    path: Path
    """A session directory, or one episode of it."""
    recording: RecordingMap = RecordingMap()
    """Which files are state, action and cameras (docs/recordings.md)."""
    fps: int | None = Field(default=None, ge=1, le=1000)
    """One row per tick; None: as recorded."""
    follow: bool = False
    """Whether the state is the last action that was sent, instead of the recorded one."""
    memory_mib: int = Field(default=256, ge=0)
    """Videos whose images fit are decoded when connecting, others ahead, in a thread each."""
    faults: RobotFaults = RobotFaults()


class SyntheticConfig(Config):
    """A robot that is made up: moving pictures and joints that go where they are sent."""

    kind: Literal["synthetic"]
    fps: int = Field(default=30, ge=1, le=1000)
    arms: tuple[PlainName, ...] = Field(default=("left", "right"), min_length=1)
    joints_per_arm: int = Field(default=6, ge=1)
    has_grippers: bool = True
    cameras: tuple[PlainName, ...] = ("head_camera", "left_wrist_camera", "right_wrist_camera")
    height_px: int = Field(default=480, ge=16)
    width_px: int = Field(default=640, ge=16)
    num_images: int = Field(default=16, ge=2)
    """Images per camera, made when connecting, then shown over and over."""
    faults: RobotFaults = RobotFaults()


class LerobotDevice(Config):
    """One of lerobot's robots or teleoperators, its own or a plugin's."""

    type: str
    """As lerobot registers it: ``so101_follower``, ``yam_follower``, ..."""
    settings: dict[str, Any] = Field(default={})
    """Fields of its config class: ``port``, ``id``, ``cameras``, ..."""


class LerobotPair(Config):
    """Several devices side by side; the keys of each begin with its name and ``_``."""

    parts: dict[PlainName, LerobotDevice] = Field(min_length=1)
    """By name, in the order of state and action: ``{left: ..., right: ...}``."""


class ArmConfig(Config):
    """One arm, by keys of lerobot's action features."""

    name: PlainName
    joints: tuple[str, ...] = ()
    """Keys or patterns (``left_*.pos``), in order; what ``gripper`` names is left out."""
    gripper: tuple[str, ...] = ()


class LerobotConfig(Config):
    """Everything that lerobot drives.

    Numbers are passed through in the device's own units. SO-101 arms have degrees, or -100 to 100
    with ``use_degrees: false``; their grippers 0 to 100. A policy must have been trained on the
    same.
    """

    kind: Literal["lerobot"]
    type: str | None = None
    """The robot, as lerobot registers it; or ``parts``."""
    settings: dict[str, Any] = Field(default={})
    """Fields of its config class."""
    parts: dict[PlainName, LerobotDevice] = Field(default={})
    """Instead of ``type``: several robots as one, such as two single arms."""
    teleoperator: LerobotDevice | LerobotPair | None = None
    teleoperator_keys: dict[str, str] = Field(default={})
    """The teleoperator's key by the robot's action key, where they differ."""
    plugins: tuple[str, ...] = ()
    """Modules to import that register devices; installed packages called ``lerobot_robot_*``,
    ``lerobot_teleoperator_*`` and ``lerobot_camera_*`` need not be named."""
    robot_type: str | None = None
    """Name in recordings; None: ``type``, or the parts' types."""
    fps: int = Field(default=30, ge=1, le=1000)
    state: tuple[str, ...] = ()
    """Keys or patterns, in order; empty: those of the action where all are observed, else every
    number that is."""
    action: tuple[str, ...] = ()
    """Keys or patterns, in order; empty: all."""
    velocity: tuple[str, ...] = ()
    """Keys of ``observation.joint_velocity``, one per action dim; empty: not recorded."""
    effort: tuple[str, ...] = ()
    """Keys of ``observation.joint_effort``, likewise."""
    cameras: dict[PlainName, str] | None = None
    """lerobot's key by name in recordings; None: every colour camera, under its own key."""
    arms: tuple[ArmConfig, ...] = ()
    """Empty: by the prefixes ``left_`` and ``right_`` of the action's keys, else one called
    ``arm``; keys with ``gripper`` in them are grippers."""
    limits: dict[str, tuple[float, float]] = Field(default={})
    """Lowest and highest action by key or pattern, in the device's units; the first that fits
    counts. Unnamed keys are not limited."""
    has_copying_cameras: bool = False
    """Whether its driver hands out a new copy of the same image, so that a camera that hangs is
    known only by equal pixels. Leave it off for simulated cameras: a still scene is no fault."""

    @model_validator(mode="after")
    def _one_way(self) -> "LerobotConfig":
        if bool(self.type) == bool(self.parts):
            raise ValueError("needs either type or parts")
        if self.parts and self.settings:
            raise ValueError("has parts, whose settings belong into each part")
        for key, (low, high) in self.limits.items():
            if low >= high:
                raise ValueError(f"limits of {key!r} are {low:g} to {high:g}; they must rise")
        return self

    @property
    def device(self) -> LerobotDevice | LerobotPair:
        """The robot itself."""
        if self.type:
            return LerobotDevice(type=self.type, settings=self.settings)
        return LerobotPair(parts=self.parts)

    @property
    def limits_itself(self) -> bool:
        """Whether every arm's driver is told how far it may go in one tick."""
        settings = [part.settings for part in self.parts.values()] or [self.settings]
        return all(_limits_itself(one) for one in settings)


def _limits_itself(settings: Mapping[str, Any]) -> bool:
    """Of one device, or of the two arms that it says it has."""
    if settings.get("max_relative_target") is not None:
        return True
    arms = [settings[side] for side in ("left_arm_config", "right_arm_config") if side in settings]
    return bool(arms) and all(
        isinstance(arm, Mapping) and _limits_itself(cast("Mapping[str, Any]", arm)) for arm in arms
    )


type LiveRobotConfig = Annotated[
    SimLiveConfig | ReplayConfig | SyntheticConfig | LerobotConfig, Field(discriminator="kind")
]
"""Any of them, told apart by ``kind``."""
