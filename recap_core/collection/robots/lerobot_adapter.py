"""lerobot's robots as live robots."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from recap_core.arrays import Image
from recap_core.collection.robots.action_check import checked_action
from recap_core.collection.robots.arms import leaders_of
from recap_core.collection.robots.faults import IMAGES, observed
from recap_core.collection.robots.key_mapping import KeyMapping
from recap_core.collection.robots.lerobot_devices import LoadedDevice
from recap_core.collection.robots.lerobot_leader import LerobotLeader
from recap_core.collection.robots.lerobot_release import release
from recap_core.config.live_robot import LerobotConfig
from recap_core.errors import RecapError, RobotError
from recap_core.rollout.frame import Action, Observation
from recap_core.rollout.live import RobotDescription

PLACES = ("port", "channel", "index_or_path", "serial_number_or_name", "ip_address", "address")
"""Settings that say where a device is."""


class LerobotRobot:
    """One of lerobot's robots, and its teleoperator with it: they are opened and closed together.

    Numbers are passed through in the device's own units. The joints are stamped with the time at
    which reading began, and so is every camera image that is another one than before.

    Args:
        config: Mapping, rate, limits.
        robot: Not connected.
        mapping: Its keys in the order of our dims.
        leader: Its teleoperator, if there is one.
        now: Unix time, s.
    """

    def __init__(
        self,
        config: LerobotConfig,
        robot: LoadedDevice,
        mapping: KeyMapping,
        leader: LerobotLeader | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._loaded = robot
        self._robot = robot.device
        self._mapping = mapping
        self._leader = leader
        self._now = now
        self._images = {
            name: _CameraImages(is_by_content=config.has_copying_cameras)
            for name in mapping.cameras
        }

    @property
    def leader(self) -> LerobotLeader | None:
        """Its teleoperator."""
        return self._leader

    @property
    def description(self) -> RobotDescription:
        """What it is."""
        mapping = self._mapping
        return RobotDescription(
            robot_type=self._config.robot_type or self._loaded.type,
            fps=self._config.fps,
            arms=mapping.arms,
            cameras=mapping.formats,
            action_low=mapping.action_low,
            action_high=mapping.action_high,
            leaders=leaders_of(mapping.arms) if self._leader is not None else (),
        )

    def connect(self) -> None:
        """Open the robot, its cameras, and its teleoperator. It does not calibrate.

        Raises:
            RobotError: If one cannot be opened, or is not calibrated.
        """
        open_device(self._loaded, "robot")
        if self._leader is None:
            return
        try:
            open_device(self._leader.loaded, "teleoperator")
            if hasattr(self._leader.device, "bind"):
                self._leader.device.bind(self._robot)
        except BaseException:
            self.disconnect()
            raise

    def get_observation(self) -> Observation:
        """Joints and images.

        Raises:
            RobotError: If they cannot be read, or a camera hangs.
        """
        began_s = self._now()
        try:
            read = self._robot.get_observation()
        except Exception as error:
            raise RobotError(
                f"{self._loaded.type} cannot be read ({type(error).__name__}: {error}). Look at "
                f"its cables and power: {_places(self._loaded)}"
            ) from error
        observation: dict[str, Any] = {"observation.state": self._vector(read, "state")}
        if self._mapping.velocity:
            observation["observation.joint_velocity"] = self._vector(read, "velocity")
        if self._mapping.effort:
            observation["observation.joint_effort"] = self._vector(read, "effort")
        times = {}
        for name, key in self._mapping.cameras.items():
            images = self._images[name]
            observation[IMAGES + name] = images.seen(self._image(read, name, key), began_s)
            times[name] = images.time_s
        if self._leader is not None:
            self._leader.hold_where(self._measured(observation["observation.state"]))
        return observed(observation, began_s, times)

    def send_action(self, action: Action) -> Action:
        """Send targets, clipped to the limits; returns what the driver sent.

        Raises:
            RobotError: If it has a wrong shape, is not finite, or cannot be sent.
        """
        mapping = self._mapping
        target = checked_action(action, len(mapping.action))
        if mapping.action_low is not None and mapping.action_high is not None:
            target = np.clip(target, mapping.action_low, mapping.action_high)
        by_key = dict(zip(mapping.action, target.tolist(), strict=True))
        try:
            sent = self._robot.send_action(by_key)
        except Exception as error:
            raise RobotError(
                f"{self._loaded.type} does not take an action ({type(error).__name__}: {error})"
            ) from error
        # Some drivers answer with nothing, or with some of the keys.
        answered = {**by_key, **sent} if isinstance(sent, Mapping) else by_key
        return {"action": self._vector(answered, "action")}

    def disconnect(self) -> None:
        """Let go of robot and teleoperator; what goes wrong is logged."""
        if self._leader is not None:
            release(self._leader.device)
        release(self._robot)

    def _measured(self, state: Float[np.ndarray, " s"]) -> Float[np.ndarray, " a"]:
        """Where the joints of the action are; NaN for those that are not observed as such."""
        action = self._mapping.action
        observed_keys = self._mapping.state[: len(action)]
        is_same = np.array([a == b for a, b in zip(observed_keys, action, strict=True)])
        return np.where(is_same, state[: len(action)], np.nan).astype(np.float32)

    def _vector(self, read: Mapping[str, Any], what: str) -> Float[np.ndarray, " a"]:
        keys: tuple[str, ...] = getattr(self._mapping, what)
        values = np.empty(len(keys), dtype=np.float32)
        for dim, key in enumerate(keys):
            try:
                values[dim] = float(read[key])
            except KeyError:
                raise RobotError(
                    f"{self._loaded.type} observes no {key!r} now, although its features name it; "
                    f"it has {', '.join(read)}"
                ) from None
            except (TypeError, ValueError) as error:
                raise RobotError(
                    f"{self._loaded.type} has no number for {key} ({error}). Look at its cables "
                    f"and power: {_places(self._loaded)}"
                ) from error
        return values

    def _image(self, read: Mapping[str, Any], name: str, key: str) -> Image:
        image = np.asarray(read[key]) if read.get(key) is not None else np.empty(0)
        wanted = (*self._mapping.formats[name], 3)
        if image.shape != wanted or image.dtype != np.uint8:
            raise RobotError(
                f"camera {name} ({key}) gave {image.dtype} {image.shape}, but its features "
                f"promise uint8 {wanted}. Correct width, height and rotation in its settings"
            )
        return image


class _CameraImages:
    """Tells a new image of a camera from the last one, and keeps a copy of it.

    lerobot's cameras hand out the very same array until the next image has come, so an image is
    the same one if it is the same object with the same content; a driver that fills one buffer
    over and over is not taken for a camera that hangs. With ``is_by_content`` equal pixels are
    enough.
    """

    def __init__(self, *, is_by_content: bool) -> None:
        self._is_by_content = is_by_content
        self._given: Image | None = None
        self._kept: Image | None = None
        self.time_s = 0.0
        """When the present image was first seen, Unix s."""

    def seen(self, image: Image, at_s: float) -> Image:
        """A copy of the image; the same one as before if the camera has no new one."""
        may_be_same = image is self._given or self._is_by_content
        if self._kept is not None and may_be_same and np.array_equal(image, self._kept):
            return self._kept
        self._given, self._kept, self.time_s = image, image.copy(), at_s
        return self._kept


def open_device(loaded: LoadedDevice, what: Literal["robot", "teleoperator"]) -> None:
    """Connect one of lerobot's devices without calibrating it, or let it go again.

    Raises:
        RobotError: If it cannot be opened, or is not calibrated; it says what to do.
    """
    try:
        _connect(loaded, what)
    except BaseException:
        release(loaded.device)
        raise


def _connect(loaded: LoadedDevice, what: Literal["robot", "teleoperator"]) -> None:
    device = loaded.device
    try:
        device.connect(calibrate=False)
        is_calibrated = bool(device.is_calibrated)
    except RecapError:
        raise
    except Exception as error:
        raise RobotError(
            f"the {what} {loaded.type} cannot be opened ({type(error).__name__}: "
            f"{' '.join(str(error).split())}). It is looked for at {_places(loaded)}: is it "
            "plugged in and powered, and may you read and write its port? 'recap doctor robot' "
            "checks both; 'lerobot-find-port' and 'lerobot-find-cameras' show what there is"
        ) from error
    if not is_calibrated:
        raise RobotError(
            f"the {what} {loaded.type} is not calibrated, or its calibration is of another id. "
            f"Run lerobot-calibrate with --{'robot' if what == 'robot' else 'teleop'}.type="
            f"{loaded.type} and the port and id of its settings"
        )


def _places(loaded: LoadedDevice) -> str:
    """Where a device is, by its settings."""
    found = [
        f"{setting.path} {setting.value}"
        for setting in loaded.settings
        if setting.path.rpartition(".")[2] in PLACES and setting.value is not None
    ]
    return ", ".join(found) or "the place that its driver knows"
