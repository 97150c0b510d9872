"""The input sources of a configuration."""

from recap_core.collection.inputs.device_source import DeviceSource, DeviceUse
from recap_core.collection.inputs.devices import EventDevices
from recap_core.collection.inputs.keyboard import keyboard_source
from recap_core.collection.inputs.linux_devices import LinuxDevices
from recap_core.collection.inputs.requests import bound_requests
from recap_core.collection.inputs.socket_source import SocketSource
from recap_core.config.operator import DeviceConfig, OperatorConfig, nearest
from recap_core.errors import ConfigError, RobotError
from recap_core.rollout.live import InputSource


def open_inputs(
    config: OperatorConfig, *, devices: EventDevices | None = None
) -> list[InputSource]:
    """The sources of ``config``, not yet started.

    Args:
        config: What the operator has.
        devices: The machine's input devices; None: Linux's.

    Raises:
        ConfigError: If a key of a pedal or gamepad does not exist, or two names mean the same one.
    """
    machine = LinuxDevices() if devices is None else devices
    sources: list[InputSource] = []
    if config.keyboard is not None:
        sources.append(keyboard_source(config.keyboard))
    for name, device in (("pedal", config.pedal), ("gamepad", config.gamepad)):
        if device is not None:
            check_device_keys(name, device, machine)
            sources.append(DeviceSource(_use(name, device), machine))
    if config.socket is not None:
        sources.append(SocketSource(config.socket))
    return sources


def check_device_keys(name: str, config: DeviceConfig, devices: EventDevices) -> None:
    """Check the names of keys against those that Linux knows.

    Args:
        name: ``pedal`` or ``gamepad``.
        config: Its settings.
        devices: Knows the names; where it cannot, nothing is checked: the source itself will say
            what is missing.

    Raises:
        ConfigError: If a key does not exist, or two names mean the same one.
    """
    try:
        codes = devices.codes()
    except RobotError:
        return
    names: dict[int, str] = {}
    for key in config.keys:
        if key not in codes:
            raise ConfigError(
                f"{name}.keys has {key!r}, which Linux does not know{nearest(key, codes)} "
                "`evtest` prints the names of the keys that a device sends."
            )
        if codes[key] in names:
            raise ConfigError(
                f"{name}.keys has {names[codes[key]]!r} and {key!r}, which are two names of the "
                "same key; take one of them out."
            )
        names[codes[key]] = key


def _use(name: str, config: DeviceConfig) -> DeviceUse:
    return DeviceUse(
        name=name,
        device=config.device,
        keys=bound_requests(config.keys),
        debounce_s=config.debounce_s,
        grab=config.grab,
    )
