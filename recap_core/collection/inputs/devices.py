"""Input devices of the machine: what they are, and which one is meant."""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class DeviceDescription(NamedTuple):
    """What is known of a device before it is opened."""

    path: str
    """``/dev/input/event3``"""
    name: str
    vendor_id: int
    product_id: int
    links: tuple[str, ...] = ()
    """Other paths of it, which stay the same: ``/dev/input/by-id/...``."""

    @property
    def usb_id(self) -> str:
        """Vendor and product as four hexadecimal digits each: ``3553:b001``."""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"


class ButtonEvent(NamedTuple):
    """A key or button of a device."""

    code: int
    """Linux's number of it."""
    value: int
    """1: pressed, 0: released, 2: it repeats."""


@runtime_checkable
class EventDevice(Protocol):
    """A device that is open."""

    def fileno(self) -> int:
        """Becomes readable when there are events, and when the device is gone."""
        ...

    def grab(self) -> None:
        """Have its events alone from now on.

        Raises:
            OSError: If somebody else has them alone.
        """
        ...

    def ungrab(self) -> None:
        """Let others have its events again."""
        ...

    def read_buttons(self) -> Iterable[ButtonEvent]:
        """The events that have come.

        Raises:
            OSError: If the device is gone.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@runtime_checkable
class EventDevices(Protocol):
    """The devices of a machine."""

    def codes(self) -> Mapping[str, int]:
        """Number of every key and button by its name; some have several names.

        Raises:
            RobotError: If what reads devices is not installed.
        """
        ...

    def descriptions(self) -> Sequence[DeviceDescription]:
        """The devices there are now, also those that may not be opened."""
        ...

    def open(self, path: str) -> EventDevice:
        """Open one.

        Raises:
            OSError: If it is gone or may not be opened.
            RobotError: If what reads devices is not installed.
        """
        ...


def find_device(wanted: str, devices: Sequence[DeviceDescription]) -> DeviceDescription | None:
    """The device that ``wanted`` means; None: it is not there.

    A pedal often shows as several devices of one name, of which only the one called a keyboard
    sends keys: that is preferred, and then the one with the lowest number.

    Args:
        wanted: USB id, path with or without ``*``, or a part of the name.
        devices: Those there are.
    """
    found = [device for device in devices if _is_meant(wanted, device)]
    return min(
        found,
        key=lambda device: (
            "keyboard" not in device.name.lower(),
            _number(device.path),
            device.path,
        ),
        default=None,
    )


def _is_meant(wanted: str, device: DeviceDescription) -> bool:
    if wanted.startswith("/"):
        return any(fnmatch.fnmatchcase(path, wanted) for path in (device.path, *device.links))
    if re.fullmatch(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}", wanted):
        return device.usb_id == wanted.lower()
    return wanted.lower() in device.name.lower()


def _number(path: str) -> int:
    digits = re.search(r"\d+$", path)
    return int(digits[0]) if digits else 0


def listed(devices: Sequence[DeviceDescription]) -> str:
    """The devices in words, for a message."""
    if not devices:
        return "there are no input devices at all"
    ordered = sorted(devices, key=lambda device: _number(device.path))
    return "there are " + ", ".join(
        f"{device.path} {device.name!r} {device.usb_id}" for device in ordered
    )
