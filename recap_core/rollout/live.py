"""A robot cell with people around it: what its parts ask of one another.

The control loop (:mod:`recap_core.collection.live_loop`) is the only one that touches robot,
teleoperator, policy and recorder. Input sources run in threads of their own and say only what the
operator wants. Everything here is plain data or a protocol: drivers, sockets and encoders
implement it.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from recap_core.rollout.frame import Action, Observation, Outcome
from recap_core.rollout.phase import Phase, PhaseEvent

CAMERA_TIMES = "camera_times"
"""Key of an observation: camera name to the Unix time of its image, s. A camera that is absent was
seen at ``OBSERVED_AT``; one whose time has not changed shows the same image again."""
OBSERVED_AT = "observed_at_s"
"""Key of an observation: Unix time at which the joints were read, s; absent: just now."""


class EpisodeSignal(StrEnum):
    """What an operator can say about episodes (SPEC §2.3)."""

    START_STOP = "start_stop"
    """Begin an episode; while recording: end it, a failure."""
    SUCCESS = "success"
    """End it, a success."""
    DISCARD = "discard"
    """Delete it."""
    QUIT = "quit"
    """End the session; an episode that is being recorded is kept as a failure."""


class SafetySignal(StrEnum):
    """What is obeyed in every state."""

    EMERGENCY_STOP = "emergency_stop"
    """Nothing is sent to the robot any more until the operator has reset it."""
    RESET = "reset"
    """Ends an emergency stop; the robot is PAUSED."""


type Request = PhaseEvent | EpisodeSignal | SafetySignal

type Heard = Callable[[Request, str], bool]
"""Called by an input source's thread with a request and the name of the source; it returns at once,
False where the request is refused."""


class InputStatus(NamedTuple):
    """How an input source is doing."""

    name: str
    """``keyboard``, ``pedal``, ..."""
    problem: str | None
    """Why nothing can come from it now, and what to do; None: it works."""
    keys: Mapping[str, Request]
    """What its keys mean, for the screen."""


@runtime_checkable
class InputSource(Protocol):
    """Keys, pedals, buttons or a socket: edge-triggered, debounced, translated to requests."""

    def start(self, heard: Heard) -> None:
        """Begin to listen in a thread; a device that is missing is a problem, no error."""
        ...

    def status(self) -> InputStatus:
        """How it is doing now; any thread may ask."""
        ...

    def stop(self) -> None:
        """Give the device back; returns within a second."""
        ...


class ArmLayout(NamedTuple):
    """Where one arm is in state and action, and what it is called in recordings."""

    name: str
    """``left``, ``right``, ``leader_left``, ..., or any plain name."""
    joints: tuple[int, ...]
    """Its joint dims, in order."""
    gripper: tuple[int, ...] = ()
    """Its gripper dims: normally one, none for an arm without one."""


class CameraFormat(NamedTuple):
    """Size of a camera's images, pixels."""

    height_px: int
    width_px: int


class RobotDescription(NamedTuple):
    """What a robot is; does not change while it is connected."""

    robot_type: str
    fps: int
    """Rate of the control loop, Hz."""
    arms: tuple[ArmLayout, ...]
    cameras: Mapping[str, CameraFormat]
    action_low: Float[np.ndarray, " a"] | None = None
    """Lowest action that may be sent; None: the robot has no limits of its own."""
    action_high: Float[np.ndarray, " a"] | None = None
    leaders: tuple[ArmLayout, ...] = ()
    """Leader arms, by their dims in a leader's own state and action."""
    ee_frame_names: Mapping[str, str] = {}
    """Frame of ``observation.ee_pose`` by arm; empty: poses are not known."""

    @property
    def num_dims(self) -> int:
        """Width of an action; the state begins with the same dims."""
        return sum(len(arm.joints) + len(arm.gripper) for arm in self.arms)


@runtime_checkable
class LiveRobot(Protocol):
    """A robot that moves in real time.

    An observation holds ``observation.state`` (a,) float32 and ``observation.images.<camera>``
    (h, w, 3) uint8, and optionally ``observation.joint_velocity`` and
    ``observation.joint_effort`` (a,), ``observation.ee_pose`` (7 per arm, side by side),
    ``CAMERA_TIMES`` and ``OBSERVED_AT``.
    """

    @property
    def description(self) -> RobotDescription:
        """What it is; known once it is connected."""
        ...

    def connect(self) -> None:
        """Open it.

        Raises:
            RobotError: If it, or one of its cameras, cannot be opened; it says what to do.
        """
        ...

    def get_observation(self) -> Observation:
        """What it senses now; blocks no longer than one tick.

        Raises:
            RobotError: If it cannot be read.
        """
        ...

    def send_action(self, action: Action) -> Action:
        """Move towards ``action["action"]``; returns at once, with what was sent after clipping."""
        ...

    def disconnect(self) -> None:
        """Let go of it, as safely as it can; never raises."""
        ...


@runtime_checkable
class Leader(Protocol):
    """A teleoperator that the control loop can make stiff, compliant, or follow the robot."""

    def get_action(self) -> Action:
        """Where the operator wants the robot to be: ``{"action": (a,) float32}``."""
        ...

    def set_compliant(self) -> None:
        """CORRECTING begins: a hand can move it."""
        ...

    def set_stiff(self) -> None:
        """PAUSED after a correction: it holds the pose it has."""
        ...

    def follow(self, action: Float[np.ndarray, " a"]) -> None:
        """AUTONOMOUS: mirror the robot, so that a correction begins where the robot is."""
        ...


class PolicyAnswer(NamedTuple):
    """What the policy wants at one tick."""

    action: Float[np.ndarray, " a"] | None
    """None: it has nothing to say now."""
    problem: str | None = None
    """Why not, where this is no matter of one tick: the loop pauses."""
    policy_id: str = ""
    """Which policy's chunk the action is from, as the server names it."""


class PolicyStatus(NamedTuple):
    """The connection to a policy, for the screen."""

    where: str
    """Address, or ``scripted``."""
    policy_id: str
    is_connected: bool
    latency_ms: float | None
    """Of the newest chunk, from request to answer."""
    latency_p95_ms: float | None
    num_reconnects: int
    num_late: int
    """Ticks that repeated an action because the next chunk had not come."""
    problem: str | None = None


@runtime_checkable
class LivePolicy(Protocol):
    """A policy asked by a control loop: it never blocks it."""

    def action(self, observation: Observation) -> PolicyAnswer:
        """Its action of this tick; asked while CORRECTING, too, for the shadow stream.

        Args:
            observation: As :class:`LiveRobot` gives it, with ``prompt``.
        """
        ...

    def reset(self) -> None:
        """Forget all chunks: control comes back to it, or an episode begins."""
        ...

    def status(self) -> PolicyStatus:
        """How it is doing."""
        ...

    def close(self) -> None:
        """End its thread and its connection."""
        ...


class LiveFrame(NamedTuple):
    """One control tick: the observation before the step, and the action of that step."""

    time_s: float
    """Unix time of the tick."""
    observation: Observation
    action: Float[np.ndarray, " a"]
    """What was sent; while PAUSED what was sent last, and holds."""
    phase: Phase
    correction_index: int
    """Corrections so far in this episode, this one included."""
    policy_action: Float[np.ndarray, " a"] | None = None
    """What the policy wanted, before blending; also while the operator drives. None: nothing."""
    policy_id: str = ""
    leader_state: Float[np.ndarray, " l"] | None = None
    """Leader arms, by ``RobotDescription.leaders``; None: there are none."""


class EpisodeSummary(NamedTuple):
    """An episode that has been saved."""

    directory: str
    outcome: Outcome
    num_frames: int
    duration_s: float
    num_corrections: int
    num_correcting_frames: int
    num_dropped: int
    """Images that were not recorded, all cameras together."""


class RecorderStatus(NamedTuple):
    """How recording is doing, for the screen."""

    is_recording: bool
    num_frames: int
    """Of the open episode."""
    queue_share: float
    """How full the fullest queue is, 0 to 1."""
    num_dropped: int
    """Images of the session that were not recorded."""
    free_bytes: int
    seconds_left: float | None
    """Until the disk is full, at the present rate; None: not known yet."""
    problem: str | None = None
    """Why the next episode cannot be recorded, and what to do."""


@runtime_checkable
class LiveRecorder(Protocol):
    """Writes episodes (SPEC §2.4) without ever blocking the control loop."""

    @property
    def directory(self) -> Path:
        """The session's directory."""
        ...

    def start(self) -> None:
        """Begin an episode.

        Raises:
            EpisodeError: If there is no room on the disk, or the directory cannot be made.
        """
        ...

    def record(self, frame: LiveFrame) -> None:
        """Take one frame of the open episode; returns at once and never raises."""
        ...

    def describe_episode(self, **facts: Any) -> None:  # noqa: ANN401 - any JSON value
        """Add facts to the open episode's metadata."""
        ...

    def finish(self, outcome: Literal[Outcome.SUCCESS, Outcome.FAILURE]) -> EpisodeSummary:
        """Save it.

        Raises:
            EpisodeError: If it could not be written; it is then no finished episode.
        """
        ...

    def discard(self) -> None:
        """Delete the open episode."""
        ...

    def status(self) -> RecorderStatus:
        """How it is doing; any thread may ask."""
        ...

    def close(self) -> None:
        """End its threads and write ``session_summary.json``."""
        ...


class Message(NamedTuple):
    """A line for the operator."""

    time_s: float
    """Unix time."""
    level: Literal["info", "warning", "error"]
    text: str


class LiveStatus(NamedTuple):
    """All that a screen shows; a new one per tick, never changed."""

    task: str
    phase: Phase
    is_recording: bool
    is_stopped: bool
    """An emergency stop is in force."""
    episode: int
    """Number of the open or next episode, from 1."""
    episode_s: float
    episode_limit_s: float
    num_successes: int
    """Of the episodes that count."""
    num_failures: int
    num_discarded: int
    num_corrections: int
    """Of the session."""
    correcting_share: float
    """Share of the session's frames that the operator drove."""
    goal: str
    """``12 of 20 episodes``."""
    goal_share: float
    loop_hz: float
    """Measured over the last seconds."""
    jitter_p99_ms: float
    num_late_ticks: int
    recorder: RecorderStatus
    policy: PolicyStatus | None
    inputs: tuple[InputStatus, ...]
    messages: tuple[Message, ...]
    """The newest last."""
    trials: tuple[bool, ...] = ()
    """Whether each saved episode that counts has succeeded, in order."""
