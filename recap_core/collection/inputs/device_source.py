"""A pedal or a gamepad: keys of an input device that may come and go."""

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from recap_core.collection.inputs.devices import EventDevice, EventDevices, find_device, listed
from recap_core.collection.inputs.edges import BoundKeys, EdgeRule, KeyEvent
from recap_core.collection.inputs.health import SourceHealth
from recap_core.collection.inputs.listening import Listening
from recap_core.collection.inputs.stop_signal import StopSignal
from recap_core.errors import RobotError
from recap_core.rollout.live import Heard, InputStatus, Request

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""A device that is missing is looked for again after this time, s."""
BACK_OFF_S = 0.5
"""A device that could not be read is opened again after this time, s."""
_REPEAT = 2


class DeviceUse(NamedTuple):
    """Which device is used, and how."""

    name: str
    """``pedal``, ``gamepad``"""
    device: str
    """Which one, see :func:`recap_core.collection.inputs.devices.find_device`."""
    keys: Mapping[str, Request]
    """What each key asks for, by Linux's names."""
    debounce_s: float
    grab: bool


class DeviceSource:
    """Reads a device in a thread of its own; one that is missing is looked for until it is there.

    Collection goes on without it. While it is missing, forbidden, in somebody else's hands or
    broken, :meth:`status` says so, and what to do.
    """

    def __init__(
        self,
        use: DeviceUse,
        devices: EventDevices,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[StopSignal, float], bool] = StopSignal.wait,
    ) -> None:
        """Set up; nothing is opened yet.

        Args:
            use: Which device, and what its keys mean.
            devices: The machine's.
            clock: Seconds that never go back.
            wait: Waits between two attempts; True: it is time to stop.
        """
        self._use = use
        self._devices = devices
        self._clock = clock
        self._wait = wait
        self._health = SourceHealth(use.name, use.keys)
        # A press of a key that is down means that its release was lost: repeats have another value.
        rule = EdgeRule(debounce_s=use.debounce_s, silence_s=0.0)
        self._keys = BoundKeys(use.keys, rule)
        self._listening = Listening(self._health)

    def start(self, heard: Heard) -> None:
        """Begin to look for it and to listen."""
        self._health.rests("it is being looked for")
        self._listening.begin(lambda stop: self._listen(stop, heard))

    def status(self) -> InputStatus:
        """How it is doing now."""
        return self._health.status()

    def stop(self) -> None:
        """Give the device back."""
        if self._listening.end():
            self._health.rests("it has been stopped")

    def _listen(self, stop: StopSignal, heard: Heard) -> None:
        while not stop.is_set:
            wait_s = RETRY_S
            try:
                with self._opened() as device:
                    wait_s = BACK_OFF_S
                    self._read(device, stop, heard)
            except RobotError as error:
                self._health.report(str(error))
            except OSError as error:
                self._health.report(
                    f"it was unplugged or cannot be read ({error}); plug it in again"
                )
            if stop.is_set or self._wait(stop, wait_s):
                return

    @contextlib.contextmanager
    def _opened(self) -> Iterator[EventDevice]:
        """The device, ours alone.

        Raises:
            RobotError: If that cannot be; it says what to do.
        """
        use, devices = self._use, self._devices.descriptions()
        found = find_device(use.device, devices)
        if found is None:
            raise RobotError(
                f"there is no input device {use.device!r}: plug it in, or set {use.name}.device "
                f"to another; {listed(devices)}"
            )
        try:
            device = self._devices.open(found.path)
        except OSError as error:
            raise RobotError(_why_not_opened(found.path, found.name, error)) from error
        with contextlib.closing(device):
            if use.grab:
                self._grab(device, found.path, found.name)
            self._health.works(f"listening to {found.path} ({found.name}, {found.usb_id})")
            self._keys.reset()
            try:
                yield device
            finally:
                if use.grab:
                    with contextlib.suppress(OSError):  # it is gone
                        device.ungrab()

    def _grab(self, device: EventDevice, path: str, name: str) -> None:
        try:
            device.grab()
        except OSError as error:
            raise RobotError(
                f"another program holds {path} ({name}), so its keys do not come here ({error}); "
                f"end that program (`fuser -v {path}` names it)"
            ) from error

    def _read(self, device: EventDevice, stop: StopSignal, heard: Heard) -> None:
        codes = self._devices.codes()
        names = {codes[name]: name for name in self._use.keys if name in codes}
        while stop.readable(device.fileno()):
            for event in device.read_buttons():
                name = names.get(event.code)
                if name is None or event.value == _REPEAT:
                    continue
                key_event = KeyEvent(name, is_down=event.value == 1, time_s=self._clock())
                request = self._keys.request(key_event)
                if request is not None:
                    heard(request, self._use.name)


def _why_not_opened(path: str, name: str, error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"{path} ({name}) may not be read by this user: add a udev rule as docs/inputs.md has "
            "it, or `sudo usermod -aG input $USER` and log in again"
        )
    return f"{path} ({name}) cannot be opened ({error}); plug it in again"
