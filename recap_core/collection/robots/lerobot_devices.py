"""lerobot's robots and teleoperators, made from settings; the only module here that imports it.

lerobot takes seconds to load and brings torch, so it is imported inside the functions.
"""

import dataclasses
import difflib
import importlib
import importlib.metadata
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from recap_core.config.live_robot import LerobotDevice, LerobotPair
from recap_core.errors import ConfigError, RobotError

logger = logging.getLogger(__name__)

PLUGIN_PREFIXES = ("lerobot_robot_", "lerobot_teleoperator_", "lerobot_camera_")
"""Distributions called so register devices when they are imported; ``-`` counts as ``_``."""
OWN_DEVICES = {"sim_aloha", "sim_aloha_expert"}
_REGISTERED = re.compile(r"""register_subclass\(\s*(?:name=)?["']([^"']+)["']""")

type Family = Literal["robots", "teleoperators", "cameras"]


class Plugin(NamedTuple):
    """A plugin that was looked for."""

    name: str
    problem: str | None
    """Why it cannot be imported; None: it is."""


class Setting(NamedTuple):
    """A setting of a device, defaults included."""

    path: str
    """``left_arm_config.port``, ``cameras.front.index_or_path``."""
    value: Any


class LoadedDevice(NamedTuple):
    """A device that has been made and not been connected."""

    type: str
    device: Any
    """lerobot's ``Robot`` or ``Teleoperator``, or several side by side."""
    settings: tuple[Setting, ...]


def load_plugins(modules: Sequence[str] = ()) -> tuple[Plugin, ...]:
    """Import what registers devices: installed plugin packages, and ``modules``.

    A package that cannot be imported is a problem, no error: it may not be the one that is needed.

    Raises:
        RobotError: If lerobot is not installed.
    """
    _require_lerobot()
    names = {
        name.replace("-", "_")
        for distribution in importlib.metadata.distributions()
        if (name := distribution.metadata["Name"] or "")
        .replace("-", "_")
        .startswith(PLUGIN_PREFIXES)
    }
    return tuple(_import_plugin(name) for name in (*sorted(names), *modules))


def make_robot(device: LerobotDevice | LerobotPair, plugins: Sequence[Plugin] = ()) -> LoadedDevice:
    """A robot, not yet connected.

    Args:
        device: What to make.
        plugins: What :func:`load_plugins` found, for the error message.

    Raises:
        ConfigError: If nobody knows its type, or a setting is wrong.
        RobotError: If a library that it needs is not installed.
    """
    from lerobot.robots import make_robot_from_config
    from lerobot.robots.config import RobotConfig

    return _make(device, "robots", RobotConfig, make_robot_from_config, plugins)


def make_teleoperator(
    device: LerobotDevice | LerobotPair, plugins: Sequence[Plugin] = ()
) -> LoadedDevice:
    """A teleoperator, not yet connected; as :func:`make_robot`."""
    from lerobot.teleoperators import make_teleoperator_from_config
    from lerobot.teleoperators.config import TeleoperatorConfig

    return _make(
        device, "teleoperators", TeleoperatorConfig, make_teleoperator_from_config, plugins
    )


def known_types(family: Family) -> list[str]:
    """Every type that lerobot ships or a plugin has registered."""
    return sorted({*_shipped(family), *_registry(family).get_known_choices()})


def _require_lerobot() -> None:
    try:
        importlib.import_module("lerobot")
    except ImportError as error:
        raise RobotError(
            f"lerobot, which drives real robots, cannot be imported ({error}). Install it into "
            "this environment with what the robot needs, such as: pip install 'lerobot[feetech]' "
            "(docs/robot-side.md)"
        ) from error


def _import_plugin(module: str) -> Plugin:
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a foreign module does when imported
        problem = f"{type(error).__name__}: {error}"
        logger.warning("plugin %s cannot be imported: %s", module, problem)
        return Plugin(module, problem)
    return Plugin(module, None)


def _make(
    wanted: LerobotDevice | LerobotPair,
    family: Family,
    registry: Any,  # noqa: ANN401 - a draccus registry
    make: Any,  # noqa: ANN401 - lerobot's factory
    plugins: Sequence[Plugin],
) -> LoadedDevice:
    if isinstance(wanted, LerobotPair):
        from recap_core.collection.robots.lerobot_pair import LerobotDevices

        parts = {
            name: _make(part, family, registry, make, plugins)
            for name, part in wanted.parts.items()
        }
        settings = tuple(
            Setting(f"parts.{name}.{setting.path}", setting.value)
            for name, part in parts.items()
            for setting in part.settings
        )
        types = "+".join(dict.fromkeys(part.type for part in parts.values()))
        devices = LerobotDevices({name: part.device for name, part in parts.items()})
        return LoadedDevice(types, devices, settings)
    _register(family, wanted.type, plugins)
    _register_cameras(wanted.settings)
    config = _decode(registry, wanted)
    try:
        device = make(config)
    except Exception as error:
        raise RobotError(
            f"{wanted.type} cannot be made: {_reason(error)}. Correct its settings, or install "
            "(for a plugin: update) what it needs"
        ) from error
    return LoadedDevice(wanted.type, device, tuple(_settings(config)))


def _reason(error: BaseException) -> str:
    """What a driver said, without the reprs that lerobot's factories wrap around it."""
    cause = error.__cause__ or error
    return str(cause).rstrip(".") or type(cause).__name__


def _decode(registry: Any, wanted: LerobotDevice) -> Any:  # noqa: ANN401 - draccus is untyped
    import draccus

    try:
        return draccus.decode(registry, {"type": wanted.type, **wanted.settings})
    except Exception as error:
        config_class = registry.get_choice_class(wanted.type)
        fields = sorted(field.name for field in dataclasses.fields(config_class))
        raise ConfigError(
            f"settings of {wanted.type}: {error}. {config_class.__name__} has the fields "
            f"{', '.join(fields)}"
        ) from error


def _register(family: Family, device_type: str, plugins: Sequence[Plugin]) -> None:
    """Import the module that registers a type.

    Raises:
        ConfigError: If there is none.
    """
    if device_type in OWN_DEVICES:
        importlib.import_module("recap_core.collection.lerobot_robot")
    known = _registry(family).get_known_choices()
    if device_type in known:
        return
    shipped = _shipped(family)
    if device_type not in shipped:
        types = sorted({*shipped, *known})
        close = difflib.get_close_matches(device_type, types, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        broken = "; ".join(
            f"{plugin.name} ({plugin.problem})" for plugin in plugins if plugin.problem
        )
        failed = f" These plugins cannot be imported: {broken}." if broken else ""
        raise ConfigError(
            f"no {family[:-1]} is called {device_type!r}.{hint} Known are {', '.join(types)}."
            f"{failed} A plugin must be installed as lerobot_{family[:-1]}_*, or be named in "
            "'plugins'."
        )
    try:
        importlib.import_module(shipped[device_type])
    except ImportError as error:
        raise RobotError(f"{device_type} cannot be imported: {error}") from error


def _register_cameras(settings: object) -> None:
    """Import the modules of all cameras in a device's settings, however deep they are."""
    if isinstance(settings, dict):
        cameras = settings.get("cameras")
        for camera in cameras.values() if isinstance(cameras, dict) else ():
            if isinstance(camera, dict) and isinstance(camera.get("type"), str):
                _register("cameras", camera["type"], ())
        for value in settings.values():
            _register_cameras(value)


def _registry(family: Family) -> Any:  # noqa: ANN401 - draccus is untyped
    from lerobot.cameras.configs import CameraConfig
    from lerobot.robots.config import RobotConfig
    from lerobot.teleoperators.config import TeleoperatorConfig

    return {"robots": RobotConfig, "teleoperators": TeleoperatorConfig, "cameras": CameraConfig}[
        family
    ]


def _shipped(family: Family) -> dict[str, str]:
    """Module by device type, read from lerobot's sources: importing all would load every driver."""
    package = importlib.import_module(f"lerobot.{family}")
    root = Path(str(package.__file__)).parent
    found = {}
    for path in sorted(root.glob("*/config*.py")):
        for device_type in _REGISTERED.findall(path.read_text(encoding="utf-8")):
            found[device_type] = f"lerobot.{family}.{path.parent.name}.{path.stem}"
    return found


def _settings(config: Any, prefix: str = "") -> Iterator[Setting]:  # noqa: ANN401
    """The plain settings of a device's config, its parts and cameras included."""
    fields = (
        {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        if dataclasses.is_dataclass(config)
        else config
    )
    for name, value in fields.items():
        path = f"{prefix}{name}"
        if dataclasses.is_dataclass(value) or isinstance(value, dict):
            yield from _settings(value, f"{path}.")
        else:
            yield Setting(path, value)
