"""Linux's input devices; the one place that loads evdev."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recap_core.collection.inputs.devices import ButtonEvent, DeviceDescription
from recap_core.errors import RobotError


class LinuxDevice:
    """A device that evdev has opened."""

    def __init__(self, device: Any, key_type: int) -> None:  # noqa: ANN401 - an evdev.InputDevice
        self._device = device
        self._key_type = key_type

    def fileno(self) -> int:
        """Becomes readable when there are events, and when the device is gone."""
        return self._device.fileno()

    def grab(self) -> None:
        """Have its events alone from now on."""
        self._device.grab()

    def ungrab(self) -> None:
        """Let others have its events again."""
        self._device.ungrab()

    def read_buttons(self) -> Iterator[ButtonEvent]:
        """The events that have come."""
        for event in self._device.read():
            if event.type == self._key_type:
                yield ButtonEvent(event.code, event.value)

    def close(self) -> None:
        """Let go of it."""
        self._device.close()


class LinuxDevices:
    """The devices under ``/dev/input``.

    Their names are read from ``/sys``, where everybody may: so a device that must not be opened is
    seen, and the operator can be told why it does not work.
    """

    def __init__(
        self, root: Path = Path("/dev/input"), described: Path = Path("/sys/class/input")
    ) -> None:
        self._root = root
        self._described = described

    def codes(self) -> Mapping[str, int]:
        """Number of every key and button by its name."""
        return {
            name: code
            for name, code in _evdev().ecodes.ecodes.items()
            if name.startswith(("KEY_", "BTN_"))
        }

    def descriptions(self) -> Sequence[DeviceDescription]:
        """The devices there are now."""
        links: dict[str, list[str]] = {}
        for link in sorted([*self._root.glob("by-id/*"), *self._root.glob("by-path/*")]):
            links.setdefault(str(link.resolve()), []).append(str(link))
        return [
            DeviceDescription(
                str(path),
                self._read(path.name, "name"),
                int(self._read(path.name, "id/vendor") or "0", 16),
                int(self._read(path.name, "id/product") or "0", 16),
                tuple(links.get(str(path.resolve()), ())),
            )
            for path in sorted(self._root.glob("event*"))
        ]

    def open(self, path: str) -> LinuxDevice:
        """Open one."""
        evdev = _evdev()
        return LinuxDevice(evdev.InputDevice(path), evdev.ecodes.EV_KEY)

    def _read(self, event: str, what: str) -> str:
        try:
            return (self._described / event / "device" / what).read_text().strip()
        except OSError:  # it was unplugged a moment ago
            return ""


def _evdev() -> Any:  # noqa: ANN401 - an extra, without types where it is not installed
    try:
        import evdev  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise RobotError(
            f"evdev, which reads pedals and gamepads, cannot be loaded ({error}); "
            "pip install 'recap[robot]' on Linux"
        ) from error
    return evdev
