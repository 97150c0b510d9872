"""Many robots in lockstep, so that the policy is asked about all of them at once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from recap_core.errors import RobotError
from recap_core.rollout.frame import Outcome
from recap_core.rollout.loop import RobotLoop
from recap_core.rollout.protocols import Clock, FrameSink, PolicyClient


class EpisodeRun(NamedTuple):
    """An episode that a robot is working on."""

    loop: RobotLoop
    clock: Clock
    sink: FrameSink
    finish: Callable[[Outcome], None]
    """Called once, when the episode has ended."""


def run_lockstep(
    start: Callable[[int], EpisodeRun | None], policy: PolicyClient | None, *, num_robots: int
) -> None:
    """Run episodes on ``num_robots`` robots until there are no more.

    Args:
        start: Sets up the next episode on the robot of that index; None: there is none for it now.
            It is asked again after every round, because an episode that failed may have to be
            replaced; the run ends when every robot is idle.
        policy: Who drives; None where the operator always does.
        num_robots: Robots in the room.
    """
    runs: dict[int, EpisodeRun] = {}
    while True:
        for robot_index in range(num_robots):
            if robot_index not in runs:
                run = start(robot_index)
                if run is not None:
                    runs[robot_index] = run
        if not runs:
            return
        outcomes = _step(list(runs.values()), policy)
        for robot_index, outcome in zip(list(runs), outcomes, strict=True):
            if outcome is not None:
                runs.pop(robot_index).finish(outcome)


def _step(runs: Sequence[EpisodeRun], policy: PolicyClient | None) -> list[Outcome | None]:
    """One frame of every run; the outcomes of those that ended before it."""
    outcomes = [run.loop.observe() for run in runs]
    going = [run for run, outcome in zip(runs, outcomes, strict=True) if outcome is None]
    requests = {
        index: request
        for index, run in enumerate(going)
        if (request := run.loop.policy_request) is not None
    }
    if requests and policy is None:
        raise RobotError(
            f"{len(requests)} robots are autonomous but there is no policy; pass one, or record "
            "demonstrations."
        )
    chunks = policy.infer(list(requests.values())) if requests and policy is not None else []
    chunk_of = dict(zip(requests, chunks, strict=True))
    for index, run in enumerate(going):
        frame = run.loop.act(chunk_of.get(index))
        if frame is not None:
            run.sink.record(frame)
            run.clock.tick()
    return outcomes
