"""A pedal: grabbed, debounced, missing, forbidden, unplugged and plugged in again."""

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recap_core.collection.inputs.device_source import (
    BACK_OFF_S,
    RETRY_S,
    DeviceSource,
    DeviceUse,
)
from recap_core.collection.inputs.devices import DeviceDescription, EventDevices, find_device
from recap_core.collection.inputs.linux_devices import LinuxDevices
from recap_core.collection.inputs.requests import bound_requests
from recap_core.collection.inputs.stop_signal import StopSignal
from recap_core.config.operator import PEDAL_KEYS
from recap_core.errors import RobotError
from recap_core.rollout.live import InputSource
from recap_core.rollout.phase import PhaseEvent
from tests.core.collection.inputs.fake_devices import UNKNOWN_CODE, FakeDevice, FakeDevices
from tests.core.collection.inputs.hearing import (
    Listener,
    eventually,
    has_problem,
    num_warnings,
    works,
)

PAUSE, CORRECTION = PhaseEvent.PAUSE_RESUME, PhaseEvent.CORRECTION
PEDAL = DeviceUse("pedal", "3553:b001", bound_requests(PEDAL_KEYS), debounce_s=0.3, grab=True)


class Waits:
    """Waits a moment instead, and keeps how long it should have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, stop: StopSignal, wait_s: float) -> bool:
        """Hardly wait."""
        self.seconds.append(wait_s)
        return stop.wait(0.002)


@contextlib.contextmanager
def listening(
    devices: EventDevices,
    listener: Listener,
    *,
    use: DeviceUse = PEDAL,
    waits: Waits | None = None,
    clock: Callable[[], float] = itertools.count(0.0, 1.0).__next__,
) -> Iterator[DeviceSource]:
    """A source that is started, and stopped in the end; each event is a second after the last."""
    source = DeviceSource(use, devices, clock=clock, wait=waits or Waits())
    source.start(listener)
    try:
        yield source
    finally:
        source.stop()


def test_each_press_is_one_request() -> None:
    """Key-down counts; repeats, releases and keys that mean nothing do not."""
    devices, listener = FakeDevices(), Listener()
    pedal = devices.plug_in("PCsensor FootSwitch Keyboard")

    with listening(devices, listener):
        pedal.press("KEY_A", 1, 2, 2, 2, 0)
        pedal.press("KEY_C", 1, 0)
        pedal.press(UNKNOWN_CODE, 1, 0)
        pedal.press("KEY_B", 1, 0)
        pedal.press("KEY_A", 1, 0)
        heard = listener.wait_for(3)

    assert heard == [PAUSE, CORRECTION, PAUSE]
    assert set(listener.sources) == {"pedal"}


def test_a_pedal_that_bounces_counts_once() -> None:
    """Times by hand: 0, 0.1, 0.2 are one press of A; B is another key; 0.5 is a new one."""
    devices, listener = FakeDevices(), Listener()
    pedal = devices.plug_in("PCsensor FootSwitch Keyboard")
    times = iter([0.0, 0.05, 0.1, 0.15, 0.2, 0.5])

    with listening(devices, listener, clock=lambda: next(times)):
        pedal.press("KEY_A", 1, 0, 1, 0)
        pedal.press("KEY_B", 1)
        pedal.press("KEY_A", 1)
        heard = listener.wait_for(3)

    assert heard == [PAUSE, CORRECTION, PAUSE]


def test_the_pedal_is_held_alone_and_given_back() -> None:
    devices = FakeDevices()
    pedal = devices.plug_in("PCsensor FootSwitch Keyboard")

    with listening(devices, Listener()) as source:
        eventually(works(source), "listening")
        assert pedal.is_grabbed

    eventually(lambda: not pedal.is_open, "given back")  # stop does not wait for ever
    assert pedal.num_grabs == 1
    assert not pedal.is_grabbed
    assert source.status().problem == "it has been stopped"


def test_without_grab_others_hear_it_too() -> None:
    devices, listener = FakeDevices(), Listener()
    pedal = devices.plug_in("PCsensor FootSwitch Keyboard")

    with listening(devices, listener, use=PEDAL._replace(grab=False)):
        pedal.press("KEY_B", 1)
        assert listener.wait_for(1) == [CORRECTION]
        assert pedal.num_grabs == 0


def test_a_grab_that_is_refused_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again and again, and said once; when the other program ends, the pedal works."""
    devices, listener, waits = FakeDevices(), Listener(), Waits()
    devices.plug_in("FootSwitch Keyboard", device=FakeDevice(grabbed_by_another=True))

    with listening(devices, listener, waits=waits) as source:
        eventually(has_problem(source, "another program holds /dev/input/event3"), "problem")
        eventually(lambda: len(waits.seconds) >= 1, "a second attempt")
        free = devices.plug_in("FootSwitch Keyboard")
        eventually(works(source), "working")
        free.press("KEY_A", 1)
        assert listener.wait_for(1) == [PAUSE]

    assert set(waits.seconds) == {RETRY_S}
    assert num_warnings(caplog) == 1
    assert "fuser -v /dev/input/event3" in caplog.text


def test_a_missing_pedal_is_a_problem_until_it_is_plugged_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    devices, listener, waits = FakeDevices(), Listener(), Waits()
    devices.plug_in("AT Keyboard", path="/dev/input/event0", usb=(1, 1))

    with listening(devices, listener, waits=waits) as source:
        eventually(lambda: len(waits.seconds) >= 3, "three attempts")
        assert source.status().problem == (
            "there is no input device '3553:b001': plug it in, or set pedal.device to another; "
            "there are /dev/input/event0 'AT Keyboard' 0001:0001"
        )
        pedal = devices.plug_in("FootSwitch")
        pedal.press("KEY_A", 1)
        assert listener.wait_for(1) == [PAUSE]
        assert source.status().problem is None

    assert set(waits.seconds) == {RETRY_S}
    assert num_warnings(caplog) == 1


def test_unplugged_and_plugged_in_again() -> None:
    """After half a second it is tried anew; a key that was down is up then."""
    devices, listener, waits = FakeDevices(), Listener(), Waits()
    first = devices.plug_in("FootSwitch Keyboard")

    with listening(devices, listener, waits=waits) as source:
        first.press("KEY_A", 1)
        listener.wait_for(1)
        devices.pull_out()
        eventually(has_problem(source, "there is no input device"), "missing")
        second = devices.plug_in("FootSwitch Keyboard", path="/dev/input/event7")
        second.press("KEY_A", 1)
        assert listener.wait_for(2) == [PAUSE, PAUSE]
        assert second.is_grabbed

    assert not first.is_open  # since the second one was opened
    assert waits.seconds[0] == BACK_OFF_S
    assert set(waits.seconds[1:]) == {RETRY_S}


def test_a_read_error_is_a_problem_and_the_device_is_opened_anew() -> None:
    devices, waits = FakeDevices(), Waits()
    broken = devices.plug_in("FootSwitch Keyboard")
    seen: list[str] = []

    def wait(stop: StopSignal, wait_s: float) -> bool:
        seen.append(source.status().problem or "")
        devices.plug_in("FootSwitch Keyboard")
        return waits(stop, wait_s)

    source = DeviceSource(PEDAL, devices, wait=wait)
    source.start(Listener())
    eventually(works(source), "working")
    broken.unplug()
    eventually(lambda: bool(seen) and source.status().problem is None, "working again")
    source.stop()

    assert seen == [
        "it was unplugged or cannot be read ([Errno 19] No such device); plug it in again"
    ]
    assert waits.seconds == [BACK_OFF_S]


def test_a_pedal_that_may_not_be_read_says_what_to_do() -> None:
    devices = FakeDevices()
    devices.plug_in("FootSwitch", device=PermissionError(errno.EACCES, "Permission denied"))

    with listening(devices, Listener()) as source:
        eventually(has_problem(source, "may not be read by this user: add a udev rule"), "problem")


def test_evdev_that_is_not_installed_is_a_problem() -> None:
    class WithoutEvdev(FakeDevices):
        def open(self, path: str) -> FakeDevice:
            raise RobotError(f"evdev cannot be loaded for {path}; pip install 'recap[robot]'")

    devices = WithoutEvdev()
    devices.plug_in("FootSwitch")

    with listening(devices, Listener()) as source:
        eventually(has_problem(source, "pip install 'recap[robot]'"), "problem")


def test_should_its_thread_fail_the_operator_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_request: object, _name: str) -> bool:
        raise ZeroDivisionError("of the listener")

    devices = FakeDevices()
    pedal = devices.plug_in("FootSwitch")
    source = DeviceSource(PEDAL, devices)
    source.start(broken)
    pedal.press("KEY_A", 1)

    eventually(has_problem(source, "it has failed (ZeroDivisionError: of the listener)"), "told")
    source.stop()
    assert not pedal.is_open
    assert "its thread has ended" in caplog.text


def test_a_device_is_an_input_source() -> None:
    assert isinstance(DeviceSource(PEDAL, FakeDevices()), InputSource)


FOOT_MOUSE = DeviceDescription("/dev/input/event4", "PCsensor FootSwitch Mouse", 0x3553, 0xB001)
FOOT_KEYS = DeviceDescription(
    "/dev/input/event10",
    "PCsensor FootSwitch Keyboard",
    0x3553,
    0xB001,
    ("/dev/input/by-id/usb-PCsensor_FootSwitch-event-kbd",),
)
DESK = DeviceDescription("/dev/input/event2", "AT Translated Set 2 keyboard", 1, 1)
SECOND = FOOT_KEYS._replace(path="/dev/input/event11", links=())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("3553:b001", FOOT_KEYS),
        ("3553:B001", FOOT_KEYS),
        ("footswitch", FOOT_KEYS),
        ("FootSwitch Mouse", FOOT_MOUSE),
        ("/dev/input/event4", FOOT_MOUSE),
        ("/dev/input/by-id/*FootSwitch*-kbd", FOOT_KEYS),
        ("/dev/input/event11", SECOND),
        ("keyboard", DESK),
        ("0001:0002", None),
        ("/dev/input/event1", None),
    ],
)
def test_which_device_is_meant(wanted: str, found: DeviceDescription | None) -> None:
    """Of several, the one called a keyboard, and of those the one with the lowest number."""
    devices = [SECOND, FOOT_MOUSE, FOOT_KEYS, DESK]

    assert find_device(wanted, devices) == found
    assert find_device(wanted, devices[::-1]) == found


def test_linux_describes_devices_that_may_not_be_opened(tmp_path: Path) -> None:
    """From files laid out as Linux has them, for machines without any device."""
    root, described = tmp_path / "dev/input", tmp_path / "sys/class/input"
    (root / "by-id").mkdir(parents=True)
    (root / "event3").touch(mode=0)
    (root / "event9").touch()
    (root / "mouse0").touch()
    link = root / "by-id/usb-PCsensor_FootSwitch-event-kbd"
    link.symlink_to("../event3")
    (described / "event3/device/id").mkdir(parents=True)
    (described / "event3/device/name").write_text("PCsensor FootSwitch Keyboard\n")
    (described / "event3/device/id/vendor").write_text("3553\n")
    (described / "event3/device/id/product").write_text("b001\n")

    found = LinuxDevices(root, described).descriptions()

    assert found == [
        DeviceDescription(
            str(root / "event3"), "PCsensor FootSwitch Keyboard", 0x3553, 0xB001, (str(link),)
        ),
        DeviceDescription(str(root / "event9"), "", 0, 0),
    ]


def test_the_real_library_knows_the_default_keys_and_a_missing_device() -> None:
    """As far as this goes without hardware."""
    pytest.importorskip("evdev", reason="evdev is not installed: pip install 'recap[robot]'")
    devices = LinuxDevices()

    assert set(PEDAL_KEYS) < set(devices.codes())
    assert devices.codes()["BTN_SOUTH"] == devices.codes()["BTN_A"]
    with pytest.raises(FileNotFoundError):
        devices.open("/dev/input/event99999")
