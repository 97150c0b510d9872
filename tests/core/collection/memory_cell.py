"""A robot cell in memory: the loop's protocols, each as simply as it can be, on a clock by hand."""

# ruff: noqa: D102 - the protocols say what their methods do

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from recap_core.collection.live_loop import LiveLoop
from recap_core.collection.live_parts import CellParts, SessionEnd, SessionRules
from recap_core.collection.pace import Pace
from recap_core.errors import EpisodeError, RobotError
from recap_core.rollout.frame import Action, Observation, Outcome
from recap_core.rollout.live import (
    OBSERVED_AT,
    ArmLayout,
    EpisodeSignal,
    EpisodeSummary,
    LiveFrame,
    LiveStatus,
    PolicyAnswer,
    PolicyStatus,
    RecorderStatus,
    Request,
    RobotDescription,
)
from recap_core.rollout.phase import Phase
from recap_core.rollout.safety import ActionGuard

FPS = 10
DIM = 2


class HandClock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class PointRobot:
    """Is at once where it is told to be."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.description = RobotDescription(
            "point", FPS, (ArmLayout("arm", tuple(range(DIM))),), cameras={}
        )
        self.pose = np.zeros(DIM, np.float32)
        self.sent: list[np.ndarray] = []
        self.is_broken = False
        self.age_s = 0.0
        self.is_connected = True
        self.num_stops = 0
        self.num_extra_dims = 0
        self.while_reading: Callable[[], None] = lambda: None

    def connect(self) -> None:
        self.is_connected = True

    def get_observation(self) -> Observation:
        self.while_reading()
        if self.is_broken:
            raise RobotError("the cable is out")
        return {
            "observation.state": np.append(self.pose, np.zeros(self.num_extra_dims, np.float32)),
            OBSERVED_AT: self._clock.now() - self.age_s,
        }

    def send_action(self, action: Action) -> Action:
        self.pose = action["action"].copy()
        self.sent.append(self.pose)
        return action

    def emergency_stop(self) -> None:
        self.num_stops += 1

    def disconnect(self) -> None:
        self.is_connected = False


class HandLeader:
    """A leader arm that a hand holds at ``at``."""

    def __init__(self) -> None:
        self.at = np.full(DIM, 5, np.float32)
        self.told: list[str] = []
        self.is_broken = False

    def get_action(self) -> Action:
        if self.is_broken:
            raise RobotError("the leader does not answer")
        return {"action": self.at}

    def set_compliant(self) -> None:
        self.told.append("compliant")

    def set_stiff(self) -> None:
        self.told.append("stiff")

    def follow(self, action: np.ndarray) -> None:
        del action
        if self.is_broken:
            raise RobotError("the leader does not answer")
        if not self.told or self.told[-1] != "follow":
            self.told.append("follow")


class StepPolicy:
    """Wants ``target`` and says how often it was asked."""

    def __init__(self) -> None:
        self.target = np.full(DIM, 1, np.float32)
        self.problem: str | None = None
        self.is_thinking = False
        self.num_resets = 0
        self.prompts: set[str] = set()

    def action(self, observation: Observation) -> PolicyAnswer:
        self.prompts.add(observation["prompt"])
        if self.problem or self.is_thinking:
            return PolicyAnswer(None, self.problem)
        return PolicyAnswer(self.target.copy(), policy_id="step")

    def reset(self) -> None:
        self.num_resets += 1

    def status(self) -> PolicyStatus:
        return PolicyStatus("here", "step", self.problem is None, 1, 1, 0, 0, self.problem)

    def close(self) -> None:
        self.problem = "closed"


class MemoryRecorder:
    """Keeps episodes."""

    def __init__(self) -> None:
        self.directory = Path("memory")
        self.open: list[LiveFrame] | None = None
        self.episodes: list[tuple[Outcome, list[LiveFrame]]] = []
        self.notes: list[dict[str, object]] = []
        self.num_discarded = 0
        self.problem: str | None = None
        self.is_closed = False

    def start(self) -> None:
        if self.problem is not None:
            raise EpisodeError(self.problem)
        self.open = []

    def record(self, frame: LiveFrame) -> None:
        assert self.open is not None
        self.open.append(frame)

    def describe_episode(self, **facts: object) -> None:
        self.notes.append(facts)

    def finish(self, outcome: Literal[Outcome.SUCCESS, Outcome.FAILURE]) -> EpisodeSummary:
        assert self.open is not None
        frames, self.open = self.open, None
        self.episodes.append((outcome, frames))
        correcting = sum(frame.phase is Phase.CORRECTING for frame in frames)
        num_corrections = frames[-1].correction_index if frames else 0
        return EpisodeSummary(
            f"episode_{len(self.episodes)}", outcome, len(frames), 0, num_corrections, correcting, 0
        )

    def discard(self) -> None:
        assert self.open is not None
        self.open = None
        self.num_discarded += 1

    def status(self) -> RecorderStatus:
        return RecorderStatus(self.open is not None, 0, 0, 0, 0, None, self.problem)

    def close(self) -> None:
        self.is_closed = True


class Cell:
    """A loop over all of that, which acts out a script: what happens before which tick.

    The script is asked once per tick; it may press keys, break things, or let time pass.
    """

    def __init__(
        self,
        *,
        with_policy: bool = True,
        with_leader: bool = True,
        guard: ActionGuard | None = None,
        **rules: object,
    ) -> None:
        self.clock = HandClock()
        self.robot = PointRobot(self.clock)
        self.leader = HandLeader()
        self.policy = StepPolicy()
        self.recorder = MemoryRecorder()
        self.statuses: list[LiveStatus] = []
        self.end: SessionEnd | None = None
        self.script: Callable[[int], None] = lambda tick: None  # noqa: ARG005
        self._tick = 0
        parts = CellParts(
            self.robot,
            self.recorder,
            self.leader if with_leader else None,
            self.policy if with_policy else None,
        )
        self.loop = LiveLoop(
            parts,
            SessionRules("fold", **{"resume_ramp_s": 0.0, "takeover_ramp_s": 0.0, **rules}),  # type: ignore[arg-type]
            guard=guard,
            pace=Pace(FPS, now=self.clock.now, sleep=self._sleep),
            now=self.clock.now,
        )

    def _sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.script(self._tick)
        self._tick += 1

    @property
    def said(self) -> str:
        """All messages."""
        return "\n".join(message.text for message in self.loop.desk.messages)

    @property
    def phases(self) -> list[list[str]]:
        """Of every saved episode, without repetitions."""
        return [
            [
                frame.phase.value
                for index, frame in enumerate(frames)
                if not index or frames[index - 1].phase is not frame.phase
            ]
            for _, frames in self.recorder.episodes
        ]


def play(cell: Cell, keys: dict[int, Request | list[Request]], **later: object) -> None:
    """Press keys before those ticks, and run until the session is over."""
    for name, value in later.items():
        setattr(cell, name, value)
    other = cell.script

    def script(tick: int) -> None:
        other(tick)
        found = keys.get(tick, [])
        for key in found if isinstance(found, list) else [found]:
            cell.loop.request(key, "test")
        if tick > 500:
            cell.loop.request(EpisodeSignal.QUIT, "test")

    cell.script = script
    cell.end = cell.loop.run(cell.statuses.append)


def once(cell: Cell, act: Callable[[], object]) -> Callable[[], None]:
    """Something that happens during one reading of the robot."""

    def read() -> None:
        cell.robot.while_reading = lambda: None
        act()

    return read
