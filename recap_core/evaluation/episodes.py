"""Autonomous episodes of a policy on held-out seeds."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from recap_core.config.evaluation import EvaluationConfig
from recap_core.errors import DataError
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.progress import Bar, Progress
from recap_core.rollout.clock import FrameClock
from recap_core.rollout.frame import Frame, Outcome
from recap_core.rollout.lockstep import EpisodeRun, run_lockstep
from recap_core.rollout.loop import LoopSettings, RobotLoop, Station
from recap_core.rollout.phase import Phase
from recap_core.rollout.protocols import PolicyClient
from recap_core.sim.aloha import SimAloha
from recap_core.sim.room import Room, open_room
from recap_core.sim.seeds import evaluation_seeds
from recap_core.sim.supervisor import Judge


@runtime_checkable
class Witness(Protocol):
    """Somebody else who watches an episode: films or records it, and changes nothing."""

    def record(self, frame: Frame) -> None:
        """See one frame; the robot has made its step."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """The episode has ended."""
        ...


type Witnesses = Callable[[int, SimAloha], Witness]
"""The witness of the episode of a seed, on a robot that is at its start."""


class Watching(NamedTuple):
    """Who watches the episodes besides whoever counts them."""

    witnesses: Witnesses
    reads_images: bool = False
    """Whether every frame's cameras are rendered before the robot moves."""


def evaluate(  # noqa: PLR0913 - all but the first two by name
    policy: PolicyClient,
    config: EvaluationConfig,
    *,
    num_robots: int,
    progress: Progress,
    seeds: Sequence[int] | None = None,
    watching: Watching | None = None,
) -> list[EpisodeOutcome]:
    """Run the policy alone, and say how each episode went, in order of their seeds.

    Outcomes depend on the policy and the config only, not on ``num_robots``, and every one on its
    seed alone. Cameras are rendered only for the frames at which the policy is asked.

    Args:
        policy: Who drives.
        config: Seeds, episode length, robot.
        num_robots: Simulated robots in lockstep.
        progress: Told about every episode.
        seeds: Other seeds than the config's.
        watching: Who films or records; None: nobody.

    Raises:
        RenderingError: If the config has cameras and there is no GL context.
        RobotError: If the policy's chunks are misshapen or not finite.
    """
    policy.reset()
    if seeds is None:
        seeds = range(config.first_seed, config.first_seed + config.num_episodes)
    with open_room(config.robot) as room, progress.bar("evaluate", total=len(seeds)) as bar:
        session = _Session(config, seeds, room, bar, watching)
        run_lockstep(session.start, policy, num_robots=min(num_robots, len(seeds)))
    return [session.outcomes[seed] for seed in seeds]


class _Watcher:
    """Keeps what an outcome says about an episode; no frames."""

    def __init__(self, robot: SimAloha, witness: Witness | None) -> None:
        self._robot = robot
        self._witness = witness
        self.num_frames = 0
        self.num_correcting_frames = 0
        self.best_stage = robot.stage

    def record(self, frame: Frame) -> None:
        """Count."""
        self.num_frames += 1
        self.num_correcting_frames += frame.phase is Phase.CORRECTING
        self.best_stage = max(self.best_stage, self._robot.stage)
        if self._witness is not None:
            self._witness.record(frame)

    def finish(self, outcome: Outcome) -> None:
        """Tell the witness."""
        if self._witness is not None:
            self._witness.finish(outcome)


class _Session:
    """Hands out episodes to robots and collects outcomes by seed."""

    def __init__(
        self,
        config: EvaluationConfig,
        seeds: Sequence[int],
        room: Room,
        bar: Bar,
        watching: Watching | None,
    ) -> None:
        self._config = config
        self._room = room
        self._bar = bar
        self._watching = watching
        self._robots: dict[int, SimAloha] = {}
        self._seeds: Iterator[int] = iter(seeds)
        self.outcomes: dict[int, EpisodeOutcome] = {}

    def start(self, robot_index: int) -> EpisodeRun | None:
        """The next episode, on the robot of that index."""
        seed = next(self._seeds, None)
        if seed is None:
            return None
        config, watching = self._config, self._watching
        if robot_index not in self._robots:
            self._robots[robot_index] = self._room.make_robot()
        robot = self._robots[robot_index]
        streams = evaluation_seeds(seed)
        robot.reset_episode(streams.scene)
        clock = FrameClock(0.0, fps=config.robot.fps)
        loop = RobotLoop(
            Station(robot, Judge(robot, driver="policy"), clock),
            LoopSettings(
                prompt=config.robot.instruction,
                max_frames=config.max_episode_frames,
                execute_frames=config.execute_frames,
                read_every_frame=watching is not None and watching.reads_images,
            ),
            episode_seed=streams.policy,
        )
        watcher = _Watcher(robot, watching.witnesses(seed, robot) if watching else None)

        def finish(outcome: Outcome) -> None:
            self._finish(seed, watcher, outcome)

        return EpisodeRun(loop, clock, watcher, finish)

    def _finish(self, seed: int, watcher: _Watcher, outcome: Outcome) -> None:
        if watcher.num_correcting_frames:
            raise DataError(
                f"Evaluation episode {seed} has {watcher.num_correcting_frames} correcting "
                "frames; nobody may take over in an evaluation."
            )
        watcher.finish(outcome)
        self.outcomes[seed] = EpisodeOutcome(
            seed=seed,
            success=outcome is Outcome.SUCCESS,
            num_frames=watcher.num_frames,
            best_stage=watcher.best_stage,
        )
        num_successes = sum(result.success for result in self.outcomes.values())
        self._bar.update(len(self.outcomes), f"{num_successes} succeeded")
