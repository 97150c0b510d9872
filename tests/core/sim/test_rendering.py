"""Camera images."""

import contextlib
from collections.abc import Generator
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from recap_core.config.robot import CameraConfig, Mount, SimRobotConfig
from recap_core.errors import RenderingError, RobotError
from recap_core.sim import rendering
from recap_core.sim.aloha import SimAloha
from recap_core.sim.rendering import SceneRenderer, probe_rendering
from recap_core.sim.scene import Scene

CONFIG = SimRobotConfig(image_px=64)
HEAD_IMAGE = "observation.images.head_camera"


@pytest.fixture(scope="module", autouse=True)
def gl() -> None:
    """These tests need a GL context."""
    try:
        probe_rendering()
    except RenderingError as error:
        pytest.skip(str(error))


@pytest.fixture
def robot() -> Generator[SimAloha]:
    scene = Scene()
    with contextlib.closing(SceneRenderer(scene, CONFIG)) as renderer:
        robot = SimAloha(scene, CONFIG, renderer=renderer)
        robot.reset_to(np.array([0.1, 0.5, 0.05, 1, 0, 0, 0]))
        yield robot


def red_pixels(image: np.ndarray) -> int:
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return int(np.count_nonzero((red > 100) & (green < 60) & (blue < 60)))


def test_the_cube_is_about_five_pixels_wide_from_above(robot: SimAloha) -> None:
    """4 cm seen from 0.8 m through a 45 degree lens are 64 * 0.04 / 0.66 = 3.9 px.

    With its near side, that makes 12 to 50 red pixels.
    """
    image = robot.get_observation()[HEAD_IMAGE]
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert 12 <= red_pixels(image) <= 50


def test_images_are_the_same_every_time(robot: SimAloha) -> None:
    """Rendering is deterministic, and cameras do not disturb each other."""
    first = {camera.name: robot.render(camera.name) for camera in CONFIG.cameras}
    second = {camera.name: robot.render(camera.name) for camera in reversed(CONFIG.cameras)}
    assert len(first) == 3
    for name, image in first.items():
        np.testing.assert_array_equal(image, second[name])


def test_an_image_read_too_late_is_an_error(robot: SimAloha) -> None:
    """After the robot has moved, the old moment cannot be seen any more."""
    observation = robot.get_observation()
    robot.send_action({"action": observation["observation.state"]})
    with pytest.raises(RobotError, match="read images before send_action"):
        observation[HEAD_IMAGE]


def test_an_image_that_was_read_stays(robot: SimAloha) -> None:
    """Copying an observation renders it once and for all."""
    kept = dict(robot.get_observation())
    robot.send_action({"action": kept["observation.state"]})
    assert set(kept) >= {f"observation.images.{camera.name}" for camera in CONFIG.cameras}


def test_a_camera_on_an_unknown_mount_is_refused() -> None:
    """The message lists the mounts that there are."""
    with pytest.raises(ValidationError, match=r"'top'"):
        CameraConfig.model_validate({"name": "elbow", "mount": "elbow", "fovy_deg": 45})


def test_every_mount_is_a_camera_of_the_scene() -> None:
    """The names that settings allow are the names in gym-aloha's files."""
    model = Scene().model
    assert set(get_args(Mount.__value__)) <= {model.camera(i).name for i in range(model.ncam)}


def test_a_robot_with_cameras_needs_a_renderer() -> None:
    """Else its observations would lack images."""
    with pytest.raises(RobotError, match="needs a renderer"):
        SimAloha(Scene(), CONFIG)


def test_a_crash_of_the_driver_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probing process kills itself; this one lives and says what to install."""
    monkeypatch.setattr(rendering, "PROBE", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(RenderingError, match=r"ended with -11.*libegl1"):
        probe_rendering()


def test_a_driver_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe may take its time limit and no longer."""
    monkeypatch.setattr(rendering, "PROBE", "import time; time.sleep(30)")
    with pytest.raises(RenderingError, match=r"longer than 0\.2 s"):
        probe_rendering(timeout_s=0.2)
