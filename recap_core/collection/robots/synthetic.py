"""A robot that is made up: for benchmarks, tests, and a first look without any recording."""

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from recap_core.collection.robots.action_check import checked_action
from recap_core.collection.robots.arms import infer_arms
from recap_core.collection.robots.faults import IMAGES, observed
from recap_core.config.live_robot import SyntheticConfig
from recap_core.rollout.frame import Action, Observation
from recap_core.rollout.live import CameraFormat, RobotDescription

BAR_SHARE = 8
"""A bright bar of one eighth of the width wanders through every image."""


class SyntheticRobot:
    """Joints that go where they are sent, and cameras that show a wandering bar.

    The images are made when connecting and shown over and over without being copied, so a tick
    costs microseconds. They are read-only.

    Args:
        config: Rate, arms, cameras and their size.
        now: Unix time, s.
    """

    def __init__(self, config: SyntheticConfig, *, now: Callable[[], float] = time.time) -> None:
        self._config = config
        self._now = now
        self._names = tuple(
            f"{arm}_{joint}"
            for arm in config.arms
            for joint in (
                *(f"joint_{index}" for index in range(config.joints_per_arm)),
                *(("gripper",) if config.has_grippers else ()),
            )
        )
        self._images: dict[str, list[UInt8[np.ndarray, "h w 3"]]] = {}
        self._state: Float[np.ndarray, " a"] = np.zeros(len(self._names), dtype=np.float32)
        self._tick = 0

    @property
    def description(self) -> RobotDescription:
        """What it is."""
        config = self._config
        size = CameraFormat(config.height_px, config.width_px)
        return RobotDescription(
            robot_type="synthetic",
            fps=config.fps,
            arms=infer_arms(self._names, config.arms),
            cameras=dict.fromkeys(config.cameras, size),
        )

    def connect(self) -> None:
        """Make the images; it starts at zero."""
        rng = np.random.default_rng(0)
        for camera in self._config.cameras:
            background = _background(self._config, rng)
            self._images[camera] = [
                _with_bar(background, step / self._config.num_images)
                for step in range(self._config.num_images)
            ]
        self._state = np.zeros_like(self._state)
        self._tick = 0

    def get_observation(self) -> Observation:
        """The joints, and the next image of every camera."""
        now, step = self._now(), self._tick % self._config.num_images
        self._tick += 1
        images = {IMAGES + camera: ring[step] for camera, ring in self._images.items()}
        state = {"observation.state": self._state.copy(), **images}
        return observed(state, now, dict.fromkeys(self._config.cameras, now))

    def send_action(self, action: Action) -> Action:
        """Go there at once.

        Raises:
            RobotError: If the action has a wrong shape, or is not finite.
        """
        self._state = checked_action(action, len(self._names))
        return {"action": self._state.copy()}

    def disconnect(self) -> None:
        """Drop the images."""
        self._images.clear()


def _background(config: SyntheticConfig, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A soft random pattern: it costs an encoder about what a real scene does."""
    coarse = rng.integers(40, 200, (config.height_px // 8, config.width_px // 8, 3), dtype=np.uint8)
    pattern = coarse.repeat(8, axis=0).repeat(8, axis=1)
    missing = (config.height_px - pattern.shape[0], config.width_px - pattern.shape[1])
    return np.pad(pattern, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def _with_bar(background: UInt8[np.ndarray, "h w 3"], share: float) -> UInt8[np.ndarray, "h w 3"]:
    image = background.copy()
    width = image.shape[1]
    columns = (int(share * width) + np.arange(max(1, width // BAR_SHARE))) % width
    image[:, columns] = 255
    image.setflags(write=False)
    return image
