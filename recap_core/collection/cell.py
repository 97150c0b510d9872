"""Puts a robot cell together from its settings, for one session."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recap_core.collection.inputs.opening import open_inputs
from recap_core.collection.live_loop import LiveLoop, OnStatus
from recap_core.collection.live_parts import CellParts, SessionEnd, SessionRules
from recap_core.collection.live_recorder import SessionRecorder
from recap_core.collection.live_session import SessionSettings
from recap_core.collection.robots.opening import open_robot, scripted_policy
from recap_core.config.cell import SCRIPTED_KINDS, CellConfig, SafetyConfig
from recap_core.errors import ConfigError
from recap_core.rollout.live import LivePolicy, LiveRobot, Request, RobotDescription
from recap_core.rollout.phase import Phase
from recap_core.rollout.safety import ActionGuard
from recap_core.serving.live_policy import RemoteLivePolicy


class CellSession:
    """One session in a cell that stands ready."""

    def __init__(self, loop: LiveLoop, directory: Path, robot: RobotDescription) -> None:
        self._loop = loop
        self.directory = directory
        """Where it is recorded."""
        self.robot = robot

    def run(self, on_status: OnStatus | None = None) -> SessionEnd:
        """Run until the operator quits or the goal is reached; see :meth:`LiveLoop.run`."""
        return self._loop.run(on_status)

    def request(self, request: Request, source: str) -> bool:
        """Ask for something in the operator's place; any thread may. False: refused."""
        return self._loop.request(request, source)


@contextmanager
def open_cell(config: CellConfig) -> Generator[CellSession]:
    """Connect the robot, and make ready for one session; everything is closed in the end.

    Raises:
        RobotError: If the robot cannot be opened.
        ConfigError: If settings and robot do not fit together.
        EpisodeError: If nothing can be recorded.
    """
    with ExitStack() as stack:
        robot, leader = open_robot(config.robot)
        robot.connect()
        stack.callback(robot.disconnect)
        description = robot.description
        guard = _guard(config.safety, description)
        policy = _policy(config, robot)
        if policy is not None:
            stack.callback(policy.close)
        recorder = SessionRecorder(config.recording, _settings(config), description)
        stack.callback(recorder.close)
        inputs = tuple(open_inputs(config.inputs))
        parts = CellParts(robot, recorder, leader, policy, inputs)
        loop = LiveLoop(parts, _rules(config), guard=guard)
        if (found := recorder.recovered.sentence()) is not None:
            loop.desk.say("warning", found)
        yield CellSession(loop, recorder.directory, description)


def _policy(config: CellConfig, robot: LiveRobot) -> LivePolicy | None:
    """Who drives; nobody in a demonstration."""
    if config.session.mode == "demonstration":
        return None
    if config.policy is not None:
        return RemoteLivePolicy(
            config.policy,
            api_key=config.policy.read_api_key(),
            action_dim=robot.description.num_dims,
        )
    if config.robot.kind in SCRIPTED_KINDS:
        return scripted_policy(robot, config.scripted_policy)
    return None


def _guard(safety: SafetyConfig, robot: RobotDescription) -> ActionGuard:
    """The settings' limits, or else the robot's.

    Raises:
        ConfigError: If there are not as many numbers as the robot's actions have dims.
    """
    num_dims = robot.num_dims
    step = safety.max_step
    for name in ("action_low", "action_high", "max_step"):
        value = getattr(safety, name)
        if isinstance(value, tuple) and len(value) != num_dims:
            raise ConfigError(
                f"safety.{name} has {len(value)} numbers, but the robot's actions have {num_dims} "
                "dims; write one per dim"
            )
    if isinstance(step, tuple):
        step = [np.inf if one is None else one for one in step]
    low, high = (
        limit if own is None else np.asarray(own, np.float32)
        for own, limit in (
            (safety.action_low, robot.action_low),
            (safety.action_high, robot.action_high),
        )
    )
    return ActionGuard(low, high, step)


def _rules(config: CellConfig) -> SessionRules:
    session, safety = config.session, config.safety
    return SessionRules(
        task=config.task,
        is_passive=session.mode == "evaluation",
        num_episodes=session.num_episodes,
        num_corrections=session.num_corrections,
        episode_limit_s=session.episode_limit_s,
        initial_phase=Phase(session.initial_phase),
        pause_between_episodes=session.pause_between_episodes,
        resume_ramp_s=session.resume_ramp_s,
        takeover_ramp_s=session.takeover_ramp_s,
        pause_stiffens_leader=session.pause_stiffens_leader,
        max_observation_age_s=safety.max_observation_age_s,
        robot_timeout_s=safety.robot_timeout_s,
        watchdog_s=safety.watchdog_s,
        seed=session.seed,
    )


def _settings(config: CellConfig) -> SessionSettings:
    facts: dict[str, Any] = {
        "config": config.model_dump(mode="json", exclude={"policy": {"api_key_file"}})
    }
    return SessionSettings(config.task, config.session.mode, metadata=facts)
