"""From the options of ``recap collect`` to the settings of a cell, and what they come to."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from deployments.cli.configuration import nested
from recap_core.config.overlay import lay_over
from recap_core.errors import ConfigError

if TYPE_CHECKING:
    from recap_core.config.cell import CellConfig, SessionConfig
    from recap_core.config.live_robot import LerobotConfig, LiveRobotConfig

BITS_PER_PIXEL = 0.4
"""Of our H.264 with keyframes for random access; a busy scene takes twice as much."""
_ASSUMED_PX = (480, 640)
_GOAL = re.compile(r"\s*(\d+)\s*(episodes?|trials?|corrections?)?\s*")


class Camera(NamedTuple):
    """A camera as the settings describe it."""

    name: str
    height_px: int
    width_px: int


class Options(NamedTuple):
    """What was given on the command line."""

    cell: Path | None = None
    robot: str | None = None
    task: str | None = None
    policy: str | None = None
    goal: str | None = None
    is_evaluation: bool = False
    out: Path | None = None
    settings: Sequence[str] = ()


def cell_settings(options: Options) -> "CellConfig":
    """The cell of a file, with the options laid over it; ``--set`` wins.

    Raises:
        ConfigError: If an option or a setting is wrong; one line that says which.
    """
    from recap_core.config.cell import load_cell

    changes: dict[str, Any] = {}
    if options.task is not None:
        changes["task"] = options.task
    if options.policy is not None:
        changes["policy"] = None if options.policy == "none" else _server(options.policy)
    if options.out is not None:
        changes["recording"] = {"base_dir": str(options.out)}
    session = {} if options.goal is None else dict(goal_settings(options.goal))
    if options.is_evaluation:
        session["mode"] = "evaluation"
    if session:
        changes["session"] = session
    lay_over(changes, nested(options.settings))
    return load_cell(options.cell, robot=options.robot, overrides=changes)


def goal_settings(goal: str) -> Mapping[str, Any]:
    """``10``, ``10 episodes``, ``50 trials`` or ``30 corrections`` as settings of the session.

    Raises:
        ConfigError: If it is none of these.
    """
    match = _GOAL.fullmatch(goal)
    if match is None:
        raise ConfigError(
            f"--goal is {goal!r}; write a number of episodes or of corrections, such as 10 or "
            "'30 corrections' (0: no goal)"
        )
    number, unit = int(match[1]), match[2] or "episodes"
    is_corrections = unit.startswith("correction")
    return {
        "num_episodes": 0 if is_corrections else number,
        "num_corrections": number if is_corrections else 0,
    }


def goal_text(session: "SessionConfig") -> str:
    """What ends the session, in words."""
    noun = "trials" if session.mode == "evaluation" else "episodes"
    parts = [f"{session.num_episodes} {noun}"] if session.num_episodes else []
    parts += [f"{session.num_corrections} corrections"] if session.num_corrections else []
    return " and ".join(parts) or "none: it ends when the operator quits"


def robot_text(robot: "LiveRobotConfig") -> str:
    """What the robot is called on the screen."""
    match robot.kind:
        case "sim":
            return robot.robot.kind
        case "lerobot":
            return robot.robot_type or robot.type or " + ".join(robot.parts)
        case _:
            return robot.kind


def robot_rate(robot: "LiveRobotConfig") -> int | None:
    """Ticks per second; None: as the recording that is replayed has it."""
    return robot.robot.fps if robot.kind == "sim" else robot.fps


def has_leader(robot: "LiveRobotConfig") -> bool:
    """Whether the operator has something to drive with."""
    return robot.kind == "sim" or (robot.kind == "lerobot" and robot.teleoperator is not None)


def cameras_of(robot: "LiveRobotConfig") -> list[Camera] | None:
    """The cameras that the settings name; None: they are known once the robot is connected."""
    match robot.kind:
        case "sim":
            px = robot.robot.image_px
            return [Camera(camera.name, px, px) for camera in robot.robot.cameras]
        case "synthetic":
            return [Camera(name, robot.height_px, robot.width_px) for name in robot.cameras]
        case "lerobot":
            return _lerobot_cameras(robot)
        case _:
            return None


def bytes_per_hour(robot: "LiveRobotConfig") -> float | None:
    """What an hour of recording takes, about; None: the cameras are not known."""
    cameras, rate_hz = cameras_of(robot), robot_rate(robot)
    if cameras is None or rate_hz is None:
        return None
    pixels = sum(camera.height_px * camera.width_px for camera in cameras)
    joints = 2_000  # bytes per tick of all arms: states, actions, times
    return 3600 * rate_hz * (pixels * BITS_PER_PIXEL / 8 + joints)


def _lerobot_cameras(robot: "LerobotConfig") -> list[Camera]:
    devices = [robot.settings, *(part.settings for part in robot.parts.values())]
    found: list[Camera] = []
    for settings in devices:
        for name, camera in cast("dict[str, dict[str, Any]]", settings.get("cameras", {})).items():
            height, width = (camera.get(key) for key in ("height", "width"))
            found.append(Camera(name, height or _ASSUMED_PX[0], width or _ASSUMED_PX[1]))
    return found


def _server(address: str) -> dict[str, Any]:
    """``ws://host:port``, ``host:port`` or ``host`` as settings."""
    if "://" in address:
        return {"host": address}
    host, _, port = address.rpartition(":")
    return {"host": host, "port": int(port)} if host and port.isdigit() else {"host": address}
