"""A collection session in simulation: episodes until there are enough."""

import contextlib
import datetime as dt
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recap_core.collection.partial import complete_episodes, sweep_unfinished
from recap_core.collection.recorder import METADATA, EpisodeRecorder, RecorderSettings
from recap_core.config.collection import CollectConfig
from recap_core.errors import ConfigError, RobotError
from recap_core.progress import Bar, Progress
from recap_core.rollout.clock import FrameClock
from recap_core.rollout.frame import Outcome
from recap_core.rollout.lockstep import EpisodeRun, run_lockstep
from recap_core.rollout.loop import LoopSettings, RobotLoop, Station
from recap_core.rollout.protocols import PolicyClient, Teleoperator, TeleopEvents
from recap_core.sim.aloha import SimAloha
from recap_core.sim.expert import ScriptedExpert, TremblingExpert
from recap_core.sim.kinematics import InverseKinematics
from recap_core.sim.room import Room, open_room
from recap_core.sim.seeds import EpisodeSeeds, collection_seeds
from recap_core.sim.supervisor import Judge, Supervisor

logger = logging.getLogger(__name__)

EPOCH = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
"""Simulated episodes are dated from here, so that a session recorded twice is equal byte by byte;
every metadata.json says so (``clock``: ``simulated``)."""
MAX_ATTEMPTS_PER_DEMONSTRATION = 20
SUMMARY = "session_summary.json"


class RecordingSummary(BaseModel):
    """What a session has recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_episodes: int = Field(ge=1)
    num_frames: int = Field(ge=1)
    num_successes: int = Field(ge=0)
    num_discarded: int = Field(ge=0)
    """Failed demonstrations; they are not kept."""
    num_intervention_frames: int = Field(ge=0)
    """Frames that the operator drove, demonstrations included."""
    num_intervention_episodes: int = Field(ge=0)
    fps: int
    task: str
    mode: Literal["demonstration", "rollout"]
    round_index: int
    cameras: tuple[str, ...]


def collect(
    config: CollectConfig,
    policy: PolicyClient | None,
    output: Path,
    *,
    num_robots: int,
    progress: Progress,
) -> RecordingSummary:
    """Record a session into ``output``, or go on with one that was interrupted there.

    The recording depends on the config and the policy only, not on ``num_robots``, not on
    interruptions, and not on when it is made.

    Args:
        config: What to record.
        policy: Who drives rollouts; None for demonstrations.
        output: The session directory; finished episodes in it are kept.
        num_robots: Simulated robots in lockstep.
        progress: Told about every episode.

    Raises:
        ConfigError: If rollouts have no policy, or the image size is odd.
        EpisodeError: If ``output`` holds a session of other settings, or one in progress.
        RenderingError: If there are cameras and no GL context.
        RobotError: If hardly any demonstration succeeds.
    """
    _check(config, policy)
    output.mkdir(parents=True, exist_ok=True)
    sweep_unfinished(output)
    if policy is not None:
        policy.reset()
    with open_room(config.robot) as room:
        session = _Session(config, output, room)
        total, done = config.num_episodes, session.num_kept
        with contextlib.closing(session), progress.bar("collect", total=total, done=done) as bar:
            session.run(policy, num_robots=min(num_robots, total), bar=bar)
    return _summarize(config, output, num_attempts=session.num_attempts)


def _check(config: CollectConfig, policy: PolicyClient | None) -> None:
    if config.mode == "rollout" and policy is None:
        raise ConfigError(
            "Rollouts need a policy to drive, but there is none; pass one, or set mode to "
            "'demonstration'."
        )
    if config.robot.cameras and config.robot.image_px % 2:
        raise ConfigError(
            f"robot.image_px is {config.robot.image_px}; videos need an even number of pixels. "
            f"Use {config.robot.image_px + 1}."
        )


class _Session:
    """Hands out episodes to robots and keeps count of them."""

    def __init__(self, config: CollectConfig, output: Path, room: Room) -> None:
        self._config = config
        self._output = output
        self._room = room
        self._robots: dict[int, SimAloha] = {}
        self._kinematics = InverseKinematics(room.scene)
        self._done = complete_episodes(output, _session_metadata(config))
        self._open: dict[int, EpisodeRecorder] = {}
        self._attempts = self._missing_attempts()
        self._next_attempt = 0
        self._bar: Bar | None = None

    @property
    def num_kept(self) -> int:
        """Finished episodes."""
        return len(self._done)

    @property
    def num_attempts(self) -> int:
        """Episodes begun, discarded demonstrations included."""
        return max(self._next_attempt, max(self._done, default=-1) + 1)

    def run(self, policy: PolicyClient | None, *, num_robots: int, bar: Bar) -> None:
        """Record what is missing."""
        self._bar = bar
        run_lockstep(self._start, policy, num_robots=num_robots)

    def close(self) -> None:
        """Delete episodes that an error has cut short, so that the session can be gone on with."""
        for recorder in self._open.values():
            recorder.discard()
        self._open.clear()

    def _missing_attempts(self) -> Iterator[int]:
        limit = self._config.num_episodes
        if self._config.mode == "demonstration":
            limit = limit * MAX_ATTEMPTS_PER_DEMONSTRATION
        yield from (attempt for attempt in range(limit) if attempt not in self._done)

    def _start(self, robot_index: int) -> EpisodeRun | None:
        """The next episode on that robot.

        No more begin than may still be needed, so exactly the first successful attempts are kept,
        however many robots there are.
        """
        if len(self._done) + len(self._open) >= self._config.num_episodes:
            return None
        attempt = next(self._attempts, None)
        if attempt is None:
            raise RobotError(
                f"Only {len(self._done)} of {self._next_attempt} demonstrations succeeded; "
                f"{self._config.num_episodes} are wanted. Lower expert.noise_rad "
                f"({self._config.expert.noise_rad}) or raise max_episode_frames "
                f"({self._config.max_episode_frames})."
            )
        self._next_attempt = attempt + 1
        return self._set_up(attempt, robot_index)

    def _set_up(self, attempt: int, robot_index: int) -> EpisodeRun:
        config = self._config
        seeds = collection_seeds(
            seed=config.seed, round_index=config.round_index, mode=config.mode, attempt=attempt
        )
        if robot_index not in self._robots:
            self._robots[robot_index] = self._room.make_robot()
        robot = self._robots[robot_index]
        robot.reset_episode(seeds.scene)
        events, teleoperator = self._people(robot, seeds)
        start = _episode_start(config, attempt)
        clock = FrameClock(start.timestamp(), fps=config.robot.fps)
        settings = LoopSettings(
            prompt=config.robot.instruction,
            max_frames=config.max_episode_frames,
            execute_frames=config.execute_frames,
        )
        recorder = EpisodeRecorder(
            self._output / f"episode_{start:%Y%m%d_%H%M%S}_{attempt:04d}",
            _recorder_settings(config, attempt),
        )
        self._open[attempt] = recorder
        loop = RobotLoop(
            Station(robot, events, clock, teleoperator),
            settings,
            episode_seed=seeds.policy,
        )

        def finish(outcome: Outcome) -> None:
            self._finish(attempt, recorder, outcome)

        return EpisodeRun(loop, clock, recorder, finish)

    def _people(self, robot: SimAloha, seeds: EpisodeSeeds) -> tuple[TeleopEvents, Teleoperator]:
        expert = ScriptedExpert(robot, self._kinematics)
        if self._config.mode == "rollout":
            return Supervisor(robot, self._config.supervisor, seeds.supervisor), expert
        trembling = TremblingExpert(expert, self._config.expert, seeds.noise)
        return Judge(robot, driver="operator"), trembling

    def _finish(self, attempt: int, recorder: EpisodeRecorder, outcome: Outcome) -> None:
        if self._config.mode == "demonstration" and outcome is not Outcome.SUCCESS:
            recorder.discard()
            del self._open[attempt]
            return
        self._done[attempt] = recorder.finish(outcome)
        del self._open[attempt]
        if self._bar is not None:
            num_successes = sum(metadata["success"] for metadata in self._done.values())
            self._bar.update(len(self._done), f"{num_successes} succeeded")


def _episode_start(config: CollectConfig, attempt: int) -> dt.datetime:
    """Start of an attempt on the simulated clock; attempts do not overlap."""
    longest_s = -(-config.max_episode_frames // config.robot.fps)
    return EPOCH + dt.timedelta(seconds=attempt * (longest_s + 1))


def _session_metadata(config: CollectConfig) -> dict[str, Any]:
    return {
        "task_instruction": config.robot.instruction,
        "mode": config.mode,
        "round_index": config.round_index,
        "robot_type": config.robot.kind,
        "clock": "simulated",
        "config": config.model_dump(mode="json"),
    }


def _recorder_settings(config: CollectConfig, attempt: int) -> RecorderSettings:
    return RecorderSettings(
        fps=config.robot.fps,
        cameras=tuple(camera.name for camera in config.robot.cameras),
        image_px=config.robot.image_px,
        metadata={**_session_metadata(config), "attempt": attempt},
    )


def _summarize(config: CollectConfig, output: Path, *, num_attempts: int) -> RecordingSummary:
    """Write ``session_summary.json`` from what is on disk."""
    episodes = [
        (path.parent.name, json.loads(path.read_text()))
        for path in sorted(output.glob(f"episode_*/{METADATA}"))
    ]
    found = [metadata for _, metadata in episodes]
    summary = RecordingSummary(
        num_episodes=len(found),
        num_frames=sum(metadata["num_steps"] for metadata in found),
        num_successes=sum(metadata["success"] for metadata in found),
        num_discarded=num_attempts - len(found),
        num_intervention_frames=sum(metadata["num_intervention_steps"] for metadata in found),
        num_intervention_episodes=sum(metadata["intervention_count"] > 0 for metadata in found),
        fps=config.robot.fps,
        task=config.robot.instruction,
        mode=config.mode,
        round_index=config.round_index,
        cameras=tuple(camera.name for camera in config.robot.cameras),
    )
    text = {
        "task": summary.task,
        "mode": summary.mode,
        "episodes": summary.num_episodes,
        "successful": summary.num_successes,
        "discarded": summary.num_discarded,
        "duration_s": sum(metadata["duration_s"] for metadata in found),
        "per_episode": [
            {
                "dir": name,
                "success": metadata["success"],
                "step_count": metadata["num_steps"],
                "intervention_count": metadata["intervention_count"],
            }
            for name, metadata in episodes
        ],
    }
    (output / SUMMARY).write_text(json.dumps(text, indent=2, sort_keys=True) + "\n")
    return summary
