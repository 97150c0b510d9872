"""What a rollout needs from the world: robot, operator, policy, clock, and who writes down.

Observations and actions are mappings, as in lerobot, but keyed by dataset feature, so that a frame
costs no fourteen dictionary entries: ``{"observation.state": (14,), ...}`` and
``{"action": (14,)}``. Implementations for real hardware translate.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from recap_core.rollout.frame import Action, Frame, Observation


@runtime_checkable
class Robot(Protocol):
    """A robot, real or simulated."""

    def get_observation(self) -> Observation:
        """What the robot senses now."""
        ...

    def send_action(self, action: Action) -> Action:
        """Move for one frame, and return the action that was sent after clipping."""
        ...


@runtime_checkable
class EpisodeReset(Protocol):
    """A robot whose scene can be put back without a person."""

    def reset_episode(self, rng: np.random.Generator) -> None:
        """Go to the start pose and arrange the scene at random."""
        ...


@runtime_checkable
class Teleoperator(Protocol):
    """Whoever drives during a correction."""

    def get_action(self) -> Action:
        """Where the operator wants the robot to be at the next frame."""
        ...


@runtime_checkable
class TeleopEvents(Protocol):
    """lerobot's episode events: from a keyboard, a pedal or a scripted supervisor."""

    def get_teleop_events(self) -> Mapping[str, bool]:
        """What the operator wants now; asked once per frame, before the action.

        Keys, False where absent: ``success``, ``failure``, ``terminate_episode`` (end, a failure),
        ``rerecord_episode`` (discard), and ``is_intervention``: True or False says who shall
        drive; where it is absent, the requests in the phase machine's inbox decide.
        """
        ...


@runtime_checkable
class PolicyClient(Protocol):
    """A policy, in this process or behind a socket."""

    def infer(self, observations: Sequence[Observation]) -> Sequence[np.ndarray]:
        """One action chunk, float32 ``(h, a)``, per observation.

        Whatever is random in a chunk must depend on the observation's ``episode_seed`` and
        ``frame_index`` only, never on who else is in the batch.
        """
        ...

    def reset(self) -> None:
        """Forget earlier episodes; called once before a session."""
        ...


@runtime_checkable
class Clock(Protocol):
    """Time of one robot's frames."""

    def now(self) -> float:
        """Unix time of the present frame, s."""
        ...

    def tick(self) -> None:
        """A frame is over; a real clock waits here for the next one."""
        ...


@runtime_checkable
class FrameSink(Protocol):
    """Who keeps the frames of an episode."""

    def record(self, frame: Frame) -> None:
        """Keep one frame."""
        ...
