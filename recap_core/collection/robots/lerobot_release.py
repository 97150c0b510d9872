"""Letting go of lerobot's devices, even of those that are only half connected."""

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

SIDES = ("left_arm", "right_arm")
BUS = "bus"


def parts_of(device: Any) -> list[Any]:  # noqa: ANN401 - lerobot is not imported here
    """The devices of which a device consists: its parts or its two arms; most have none."""
    parts = getattr(device, "parts", None)
    if isinstance(parts, Mapping):
        return list(parts.values())
    return [getattr(device, side) for side in SIDES if hasattr(device, side)]


def release(device: Any) -> None:  # noqa: ANN401 - lerobot is not imported here
    """Disconnect a device, as far as it is connected; what goes wrong is logged.

    A device of lerobot is not connected if one of its parts is not, such as a camera that was
    unplugged, and then refuses to be disconnected: its motors would keep their torque. So its arms,
    motors and cameras are disconnected one by one.
    """
    try:
        if device.is_connected:
            device.disconnect()
            return
    except Exception as error:  # noqa: BLE001 - the rest must still be let go
        logger.warning("%s was not let go cleanly: %s", device, error)
    parts = parts_of(device)
    for part in parts:
        release(part)
    for name, component in _attributes(device).items():
        try:
            if any(component is part for part in parts) or not _is_connected(component):
                continue
            logger.warning("%s is only half connected: its %s is let go alone", device, name)
            if name == BUS and not getattr(device.config, "disable_torque_on_disconnect", True):
                component.disconnect(disable_torque=False)
            else:
                component.disconnect()
        except Exception as error:  # noqa: BLE001 - the rest must still be let go
            logger.warning("%s of %s was not let go: %s", name, device, error)


def _attributes(device: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a device holds, by name: first single things, as its motors are, then its cameras."""
    own: dict[str, Any] = getattr(device, "__dict__", {})
    single = {name: value for name, value in own.items() if not isinstance(value, Mapping)}
    several = {name: value for name, value in own.items() if isinstance(value, Mapping)}
    return single | {
        f"{name}.{key}": value for name, values in several.items() for key, value in values.items()
    }


def _is_connected(component: Any) -> bool:  # noqa: ANN401
    return hasattr(component, "disconnect") and bool(getattr(component, "is_connected", False))
