"""From settings to a robot, its leader, and a policy that needs no server."""

from collections.abc import Sequence
from typing import NamedTuple

from recap_core.collection.robots import lerobot_devices
from recap_core.collection.robots.faults import FaultyRobot
from recap_core.collection.robots.key_mapping import map_keys
from recap_core.collection.robots.lerobot_adapter import LerobotRobot
from recap_core.collection.robots.lerobot_devices import Plugin
from recap_core.collection.robots.lerobot_leader import LerobotLeader
from recap_core.collection.robots.replay import ReplayRobot
from recap_core.collection.robots.scripted_policy import ClumsyExpert, WavePolicy
from recap_core.collection.robots.sim import ExpertLeader, SimLiveRobot
from recap_core.collection.robots.synthetic import SyntheticRobot
from recap_core.config.live_robot import (
    LerobotConfig,
    LiveRobotConfig,
    ReplayConfig,
    RobotFaults,
    ScriptedPolicyConfig,
    SimLiveConfig,
    SyntheticConfig,
)
from recap_core.errors import ConfigError
from recap_core.rollout.live import Leader, LivePolicy, LiveRobot


class OpenedRobot(NamedTuple):
    """A robot, not yet connected, and who drives it during corrections."""

    robot: LiveRobot
    leader: Leader | None
    """None: the robot has no teleoperator, so nobody can correct. It is opened and closed with the
    robot."""


def open_robot(config: LiveRobotConfig) -> OpenedRobot:
    """The robot that a config describes; ``connect`` it in the thread that uses it.

    Raises:
        ConfigError: If a key, a device type or a setting does not exist.
        RobotError: If a library that it needs is not installed.
    """
    match config:
        case SimLiveConfig():
            robot = SimLiveRobot(config)
            return OpenedRobot(robot, ExpertLeader(robot))
        case ReplayConfig():
            return OpenedRobot(_with_faults(ReplayRobot(config), config.faults), None)
        case SyntheticConfig():
            return OpenedRobot(_with_faults(SyntheticRobot(config), config.faults), None)
        case LerobotConfig():
            plugins = lerobot_devices.load_plugins(config.plugins)
            robot = lerobot_robot(config, plugins)
            return OpenedRobot(robot, robot.leader)


def lerobot_robot(config: LerobotConfig, plugins: Sequence[Plugin]) -> LerobotRobot:
    """One of lerobot's robots with its teleoperator, not yet connected.

    Raises:
        ConfigError: If a key, a device type or a setting does not exist.
        RobotError: If a library that it needs is not installed.
    """
    robot = lerobot_devices.make_robot(config.device, plugins)
    mapping = map_keys(config, robot.device.observation_features, robot.device.action_features)
    leader = None
    if config.teleoperator is not None:
        teleoperator = lerobot_devices.make_teleoperator(config.teleoperator, plugins)
        leader = LerobotLeader(teleoperator, mapping.action, config.teleoperator_keys)
        leader.check_keys()
    return LerobotRobot(config, robot, mapping, leader)


def scripted_policy(robot: LiveRobot, config: ScriptedPolicyConfig) -> LivePolicy:
    """A policy without a server: in simulation a clumsy expert, else one that waves the joints.

    Raises:
        ConfigError: If the robot is a real one.
    """
    if isinstance(robot, SimLiveRobot):
        return ClumsyExpert(robot, config)
    if isinstance(robot, LerobotRobot):
        raise ConfigError(
            "The scripted policy knows only the simulator; a real robot needs a policy server: "
            "name its address (recap serve prints it)."
        )
    return WavePolicy()


def _with_faults(robot: LiveRobot, faults: RobotFaults) -> LiveRobot:
    return robot if faults == RobotFaults() else FaultyRobot(robot, faults)
