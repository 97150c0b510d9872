"""What ``recap doctor robot`` looks at: everything about a robot that can be known unconnected."""

import importlib.util
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recap_core.collection.robots import lerobot_devices
from recap_core.collection.robots.key_mapping import KeyMapping, map_keys, unused_keys
from recap_core.collection.robots.lerobot_devices import LoadedDevice, Plugin
from recap_core.collection.robots.lerobot_leader import LerobotLeader
from recap_core.collection.robots.replay import read_replayed
from recap_core.config.live_robot import (
    LerobotConfig,
    LiveRobotConfig,
    ReplayConfig,
    SimLiveConfig,
    SyntheticConfig,
)
from recap_core.errors import RecapError
from recap_core.rollout.live import ArmLayout

NETWORK_INTERFACES = Path("/sys/class/net")
PORT_NAMES = ("port", "channel")
CAMERA_PLACE = "index_or_path"
MAX_NAMED = 12


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    """``plugin lerobot_robot_yam``, ``robot port``, ``camera front``, ``state``, ..."""
    problem: str | None
    """What is wrong with it and what to do; None: it is well."""
    text: str
    """What was found."""


def check_robot(config: LiveRobotConfig) -> list[Finding]:
    """Look at a robot without connecting or moving it; what is wrong is a finding, no error.

    Args:
        config: The robot.
    """
    match config:
        case SimLiveConfig():
            return list(_check_sim(config))
        case ReplayConfig():
            return list(_check_replay(config))
        case SyntheticConfig():
            size = f"{config.height_px}x{config.width_px} px at {config.fps} Hz"
            return [Finding("robot", None, f"made up: {len(config.cameras)} cameras of {size}")]
        case LerobotConfig():
            return list(_check_lerobot(config))


def _check_sim(config: SimLiveConfig) -> Iterator[Finding]:
    for library in ("mujoco", "gym_aloha"):
        is_there = importlib.util.find_spec(library) is not None
        problem = None if is_there else f"it is not installed; run: make robot-side ({library})"
        yield Finding(library, problem, "installed" if is_there else "missing")
    if not config.robot.cameras:
        yield Finding("rendering", None, "not needed: no cameras")
        return
    try:
        from recap_core.sim.rendering import probe_rendering

        probe_rendering()
    except (RecapError, ImportError) as error:
        yield Finding("rendering", str(error), "no image")
        return
    px = config.robot.image_px
    names = ", ".join(camera.name for camera in config.robot.cameras)
    yield Finding("rendering", None, f"{names}: {px}x{px} px at {config.robot.fps} Hz")


def _check_replay(config: ReplayConfig) -> Iterator[Finding]:
    try:
        episodes, arms = read_replayed(config)
    except RecapError as error:
        yield Finding("recording", str(error), str(config.path))
        return
    num_rows = sum(len(episode.timestamps) for episode in episodes)
    yield Finding("recording", None, f"{len(episodes)} episodes, {num_rows} rows, at {config.path}")
    yield Finding("arms", None, ", ".join(arms))
    yield Finding("cameras", None, ", ".join(episodes[0].cameras) or "none")


def _check_lerobot(config: LerobotConfig) -> Iterator[Finding]:
    try:
        plugins = lerobot_devices.load_plugins(config.plugins)
    except RecapError as error:
        yield Finding("lerobot", str(error), "missing")
        return
    yield Finding("lerobot", None, "installed")
    found = list(_check_devices(config, plugins))
    is_well = all(finding.problem is None for finding in found)
    yield from (_plugin_fact(plugin, is_needed=not is_well) for plugin in plugins)
    yield from found


def _plugin_fact(plugin: Plugin, *, is_needed: bool) -> Finding:
    """A broken plugin is a problem only where something else is one, too: it may be the cause."""
    name = f"plugin {plugin.name}"
    if plugin.problem is None:
        return Finding(name, None, "imported")
    text = f"cannot be imported: {plugin.problem}"
    problem = f"it {text}. Install what it needs, or uninstall it" if is_needed else None
    return Finding(name, problem, text)


def _check_devices(config: LerobotConfig, plugins: Sequence[Plugin]) -> Iterator[Finding]:
    try:
        robot = lerobot_devices.make_robot(config.device, plugins)
    except RecapError as error:
        yield Finding("robot", str(error), config.type or "several")
        return
    yield Finding("robot", None, robot.type)
    yield from _check_places(robot, "robot")
    try:
        features = robot.device.observation_features
        mapping = map_keys(config, features, robot.device.action_features)
    except RecapError as error:
        yield Finding("mapping", str(error), "of lerobot's keys")
        return
    yield from _mapping_facts(mapping, features)
    yield from _check_teleoperator(config, mapping, plugins)


def _check_teleoperator(
    config: LerobotConfig, mapping: KeyMapping, plugins: Sequence[Plugin]
) -> Iterator[Finding]:
    if config.teleoperator is None:
        yield Finding("teleoperator", None, "none: nobody can correct this robot")
        return
    try:
        teleoperator = lerobot_devices.make_teleoperator(config.teleoperator, plugins)
        leader = LerobotLeader(teleoperator, mapping.action, config.teleoperator_keys)
        leader.check_keys()
    except RecapError as error:
        yield Finding("teleoperator", str(error), "of the corrections")
        return
    ability = "follows the robot" if leader.can_move else "has no motors: it is moved by hand"
    yield Finding("teleoperator", None, f"{teleoperator.type}, {ability}")
    yield from _check_places(teleoperator, "teleoperator")


def _mapping_facts(mapping: KeyMapping, features: dict[str, Any]) -> Iterator[Finding]:
    yield Finding("state", None, _few(mapping.state))
    yield Finding("action", None, _few(mapping.action))
    for arm in mapping.arms:
        yield Finding(f"arm {arm.name}", None, _arm_fact(arm, mapping.action))
    for name, key in mapping.cameras.items():
        size = mapping.formats[name]
        odd = size.height_px % 2 or size.width_px % 2
        problem = "videos need an even number of pixels both ways; change its settings"
        text = f"{key}, {size.height_px}x{size.width_px} px"
        yield Finding(f"camera {name}", problem if odd else None, text)
    unused = unused_keys(mapping, features)
    if unused:
        yield Finding("not recorded", None, _few(unused))


def _arm_fact(arm: ArmLayout, action: tuple[str, ...]) -> str:
    gripper = ", ".join(action[dim] for dim in arm.gripper) or "none"
    return f"{len(arm.joints)} joints, gripper {gripper}"


def _few(keys: tuple[str, ...]) -> str:
    rest = len(keys) - MAX_NAMED
    named = ", ".join(keys[:MAX_NAMED])
    return f"{len(keys)}: {named}" + (f", and {rest} more" if rest > 0 else "")


def _check_places(loaded: LoadedDevice, what: str) -> Iterator[Finding]:
    """Whether ports and camera devices of the settings are there and may be used."""
    for setting in loaded.settings:
        name, field = f"{what} {setting.path}", setting.path.rpartition(".")[2]
        if field in PORT_NAMES and isinstance(setting.value, str):
            yield _port(name, setting.value)
        elif field == CAMERA_PLACE:
            place = setting.value
            path = Path(f"/dev/video{place}") if isinstance(place, int) else Path(str(place))
            yield _device_file(name, path, "lerobot-find-cameras", "video")


def _port(name: str, place: str) -> Finding:
    if "/" in place:
        return _device_file(name, Path(place), "lerobot-find-port", "dialout")
    interface = NETWORK_INTERFACES / place
    if not place.startswith(("can", "vcan", "slcan")):
        return Finding(name, None, f"{place}, not looked at")
    if not interface.exists():
        problem = (
            f"there is no interface {place}. Plug the adapter in and bring it up: "
            f"ip link set {place} up type can bitrate 1000000"
        )
        return Finding(name, problem, place)
    try:
        state = (interface / "operstate").read_text().strip()
    except OSError:
        state = "unknown"
    is_down = state == "down"
    problem = f"it is down: ip link set {place} up type can bitrate 1000000" if is_down else None
    return Finding(name, problem, f"{place}, {state}")


def _device_file(name: str, path: Path, finder: str, group: str) -> Finding:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        problem = (
            f"{path} is not there ({error.strerror}). Plug it in; {finder} shows what there is"
        )
        return Finding(name, problem, str(path))
    if not os.access(path, os.R_OK | os.W_OK):
        problem = (
            f"{path} may not be read and written by this user. Add it to the group {group}: "
            f"sudo usermod -aG {group} $USER, and log in again"
        )
        return Finding(name, problem, str(path))
    kind = "device" if stat.S_ISCHR(mode) else "file"
    return Finding(name, None, f"{path}, a {kind}")
