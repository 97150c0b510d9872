"""The control loop of one robot as pure steps: it never sleeps and touches no file.

A caller alternates ``observe`` and ``act``. In between it asks the policy, if ``policy_request``
is not None; so one caller can serve one real robot, or thirty simulated ones with batched policy
calls (:mod:`recap_core.rollout.lockstep`).
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.errors import RobotError
from recap_core.rollout.frame import Frame, Observation, Outcome
from recap_core.rollout.phase import Phase, PhaseMachine, Transition, event_towards
from recap_core.rollout.protocols import Clock, Robot, Teleoperator, TeleopEvents

EDGES_PER_TAKEOVER = 2


class LoopSettings(NamedTuple):
    """How the loop of one robot behaves."""

    prompt: str
    """Task text in every observation for the policy."""
    max_frames: int
    """An episode that has not ended by then is a failure."""
    execute_frames: int
    """Frames of a chunk that are executed before the policy is asked again."""
    read_every_frame: bool = True
    """Read the images of every frame (recording), or only of those the policy asks for."""
    paused_takes_time: bool = False
    """Whether PAUSED frames exist (a real robot stands still, and is recorded) or a pause is
    passed through within one tick (a simulator)."""
    resume_ramp_frames: int = 0
    """Frames over which control goes from the operator's last pose to the policy; 0: at once."""
    limit_waits_for_correction: bool = False
    """Whether an episode may exceed ``max_frames`` while the operator drives."""


class Station(NamedTuple):
    """One robot and whatever acts on it during an episode."""

    robot: Robot
    events: TeleopEvents
    """The operator's wishes."""
    clock: Clock
    """Time of the frames; the caller ticks it."""
    teleoperator: Teleoperator | None = None
    """Who drives during corrections; None: there are none."""


class RobotLoop:
    """One episode of one robot: observation -> events -> phase -> action -> frame.

    Args:
        station: The robot, already reset, and who is around it.
        settings: See :class:`LoopSettings`.
        episode_seed: Passed to the policy with every observation.
        machine: The phase machine, if other threads send it requests; it is reset here.
    """

    def __init__(
        self,
        station: Station,
        settings: LoopSettings,
        *,
        episode_seed: int,
        machine: PhaseMachine | None = None,
    ) -> None:
        self._robot = station.robot
        self._events = station.events
        self._teleoperator = station.teleoperator
        self._clock = station.clock
        self._settings = settings
        self._episode_seed = episode_seed
        self._machine = machine or PhaseMachine()
        self._machine.reset(Phase.PAUSED)
        self._queue: deque[np.ndarray] = deque()
        self._observation: Observation = {}
        self._policy_action: np.ndarray | None = None
        self._last_action: np.ndarray | None = None
        self._ramp_pose: np.ndarray | None = None
        self._frames_since_resume = 0
        self._num_corrections = 0
        self._num_frames = 0

    @property
    def num_frames(self) -> int:
        """Frames recorded so far."""
        return self._num_frames

    @property
    def phase(self) -> Phase:
        """Who drives."""
        return self._machine.phase

    @property
    def policy_request(self) -> Observation | None:
        """The observation to ask the policy about, or None while its last chunk is good."""
        if self.phase is not Phase.AUTONOMOUS or self._queue:
            return None
        return {
            **self._observation,
            "prompt": self._settings.prompt,
            "episode_seed": self._episode_seed,
            "frame_index": self._num_frames,
        }

    def observe(self) -> Outcome | None:
        """Look at the robot and the operator, and change phase; an outcome ends the episode."""
        observation = self._robot.get_observation()
        events = self._events.get_teleop_events()
        outcome = _outcome_of(events)
        if outcome is not None:
            return outcome
        self._change_phase(events.get("is_intervention"))
        waits = self._settings.limit_waits_for_correction and self.phase is Phase.CORRECTING
        if self._num_frames >= self._settings.max_frames and not waits:
            return Outcome.FAILURE
        self._observation = dict(observation) if self._settings.read_every_frame else observation
        return None

    def act(self, chunk: Float[np.ndarray, "h a"] | None) -> Frame | None:
        """Take one step.

        Args:
            chunk: The policy's answer to ``policy_request``; None where there was none.

        Returns:
            The frame of this step; None while paused, if a pause takes no time.

        Raises:
            RobotError: If an action is missing, not finite or misshapen.
        """
        if chunk is not None:
            self._fill_queue(chunk)
        phase = self.phase
        if phase is Phase.PAUSED and not self._settings.paused_takes_time:
            return None
        action = self._hold() if phase is Phase.PAUSED else self._send(self._command(phase))
        self._last_action = action
        frame = Frame(
            frame_index=self._num_frames,
            time_s=self._clock.now(),
            observation=self._observation,
            action=action,
            policy_action=action if self._policy_action is None else self._policy_action,
            phase=phase,
            correction_index=self._num_corrections,
        )
        self._num_frames += 1
        return frame

    def _change_phase(self, is_intervention: bool | None) -> None:  # noqa: FBT001 (lerobot's key)
        for _ in range(EDGES_PER_TAKEOVER):
            if is_intervention is not None:
                event = event_towards(self.phase, is_intervention=is_intervention)
                if event is not None:
                    self._machine.request(event)
            transition = self._machine.consume()
            if transition is None:
                return
            self._enter(transition)
            if self._settings.paused_takes_time:
                return

    def _enter(self, transition: Transition) -> None:
        self._queue.clear()
        if transition.after is Phase.CORRECTING:
            self._num_corrections += 1
        if transition.after is Phase.AUTONOMOUS:
            self._ramp_pose = self._last_action
            self._frames_since_resume = 0

    def _fill_queue(self, chunk: np.ndarray) -> None:
        if chunk.ndim != 2 or not len(chunk) or not np.isfinite(chunk).all():
            raise RobotError(
                f"The policy's chunk at frame {self._num_frames} of episode seed "
                f"{self._episode_seed} has shape {chunk.shape} and "
                f"{np.count_nonzero(~np.isfinite(chunk))} values that are not finite; it must be "
                "(h, a), h >= 1, finite. Check the checkpoint and its norm stats."
            )
        self._queue.extend(chunk[: self._settings.execute_frames].astype(np.float32))

    def _command(self, phase: Phase) -> np.ndarray:
        if phase is Phase.AUTONOMOUS:
            if not self._queue:
                raise RobotError(
                    f"Frame {self._num_frames} is autonomous but the policy has no plan; pass the "
                    "chunk for policy_request to act()."
                )
            self._policy_action = self._queue.popleft()
            return self._blend(self._policy_action)
        if self._teleoperator is None:
            raise RobotError(
                f"Frame {self._num_frames} is a correction but nobody can drive; give the loop a "
                "teleoperator, or events that never set is_intervention."
            )
        return np.asarray(self._teleoperator.get_action()["action"], dtype=np.float32)

    def _blend(self, target: np.ndarray) -> np.ndarray:
        """The policy's target, blended with the pose at resume.

        alpha * pose + (1 - alpha) * target, alpha = 1 - frames since resume / ramp
        """
        elapsed, ramp = self._frames_since_resume, self._settings.resume_ramp_frames
        self._frames_since_resume += 1
        if self._ramp_pose is None or elapsed >= ramp or self._ramp_pose.shape != target.shape:
            return target
        alpha = np.float32(1 - elapsed / ramp)
        return alpha * self._ramp_pose + (1 - alpha) * target

    def _send(self, command: np.ndarray) -> np.ndarray:
        return np.asarray(self._robot.send_action({"action": command})["action"], np.float32)

    def _hold(self) -> np.ndarray:
        if self._last_action is not None:
            return self._last_action
        return np.asarray(self._observation["observation.state"], dtype=np.float32)


def _outcome_of(events: Mapping[str, bool]) -> Outcome | None:
    """The outcome that the operator has declared, if any."""
    if events.get("rerecord_episode"):
        return Outcome.DISCARD
    if events.get("success"):
        return Outcome.SUCCESS
    if events.get("failure") or events.get("terminate_episode"):
        return Outcome.FAILURE
    return None
