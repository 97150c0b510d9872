"""Input devices that a test plugs in, presses and pulls out; readable through a real pipe."""

import errno
import os
import threading
import weakref
from collections.abc import Iterator

from recap_core.collection.inputs.devices import ButtonEvent, DeviceDescription

CODES = {"KEY_A": 30, "KEY_B": 48, "KEY_C": 46, "BTN_SOUTH": 304, "BTN_A": 304}
UNKNOWN_CODE = 999


class FakeDevice:
    """One open device, as the kernel has it: events wait until they are read."""

    def __init__(self, *, grabbed_by_another: bool = False) -> None:
        self.is_grabbed = grabbed_by_another
        self.num_grabs = 0
        self.is_open = False
        self._grabbed_by_another = grabbed_by_another
        self._events: list[ButtonEvent] = []
        self._is_gone = False
        self._lock = threading.Lock()
        self._read_fd, write_fd = os.pipe()
        self._write_fd = write_fd
        self._hang_up = weakref.finalize(self, os.close, write_fd)
        weakref.finalize(self, os.close, self._read_fd)

    def press(self, key: str | int, *values: int) -> None:
        """Send events of a key: 1 pressed, 0 released, 2 repeated."""
        code = CODES[key] if isinstance(key, str) else key
        with self._lock:
            self._events += [ButtonEvent(code, value) for value in values]
            os.write(self._write_fd, b"x")

    def unplug(self) -> None:
        """Pull it out: reading fails from now on."""
        with self._lock:
            self._is_gone = True
            self._hang_up()

    def fileno(self) -> int:
        """Readable when there are events or it is gone."""
        return self._read_fd

    def grab(self) -> None:
        """Refused where another program has it."""
        if self._grabbed_by_another:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.is_grabbed = True
        self.num_grabs += 1

    def ungrab(self) -> None:
        """Refused where it is gone."""
        if self._is_gone:
            raise OSError(errno.ENODEV, "No such device")
        self.is_grabbed = False

    def read_buttons(self) -> Iterator[ButtonEvent]:
        """All that wait."""
        with self._lock:
            if self._is_gone:
                raise OSError(errno.ENODEV, "No such device")
            os.read(self._read_fd, 4096)
            events, self._events = self._events, []
        yield from events

    def close(self) -> None:
        """Once for each time it was opened."""
        assert self.is_open
        self.is_open = False


class FakeDevices:
    """The sockets of a machine."""

    def __init__(self) -> None:
        self._plugged: dict[str, tuple[DeviceDescription, FakeDevice | OSError]] = {}

    def plug_in(
        self,
        name: str,
        *,
        path: str = "/dev/input/event3",
        usb: tuple[int, int] = (0x3553, 0xB001),
        links: tuple[str, ...] = (),
        device: FakeDevice | OSError | None = None,
    ) -> FakeDevice:
        """Plug in a device, or one that cannot be opened."""
        fake = FakeDevice() if device is None else device
        self._plugged[path] = (DeviceDescription(path, name, *usb, links), fake)
        return fake if isinstance(fake, FakeDevice) else FakeDevice()

    def pull_out(self, path: str = "/dev/input/event3") -> None:
        """Pull it out of the machine."""
        _, device = self._plugged.pop(path)
        if isinstance(device, FakeDevice):
            device.unplug()

    def codes(self) -> dict[str, int]:
        """Some of Linux's."""
        return CODES

    def descriptions(self) -> list[DeviceDescription]:
        """Those that are plugged in."""
        return [description for description, _ in list(self._plugged.values())]

    def open(self, path: str) -> FakeDevice:
        """Open it, if it lets itself be opened."""
        if path not in self._plugged:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        device = self._plugged[path][1]
        if isinstance(device, OSError):
            raise device
        assert not device.is_open
        device.is_open = True
        return device
