"""Camera images without a display."""

import re
import subprocess
import sys

from recap_core.arrays import Image
from recap_core.config.robot import SimRobotConfig
from recap_core.errors import RenderingError
from recap_core.sim.engine import MjData, mujoco
from recap_core.sim.scene import Scene

PROBE_TIMEOUT_S = 60
PROBE = """
from recap_core.sim.engine import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='1' rgba='1 0 0 1'/></worldbody></mujoco>"
)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
assert renderer.render().max() > 0, "the image is black"
renderer.close()
"""
ADVICE = (
    "Install Mesa's software driver (Debian: apt-get install libegl1 libegl-mesa0 "
    "libgl1-mesa-dri), or work without cameras (robot.cameras: [])."
)


def probe_rendering(*, timeout_s: float = PROBE_TIMEOUT_S) -> None:
    """Render one image in a child process, because a broken driver may crash its process.

    Raises:
        RenderingError: If no GL context can be made; says what to install.
    """
    try:
        result = subprocess.run(  # noqa: S603 (our own interpreter and text)
            [sys.executable, "-c", PROBE],
            capture_output=True,
            check=False,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise RenderingError(
            f"Rendering one 16x16 image took longer than {timeout_s:g} s, so cameras cannot be "
            f"used. {ADVICE}"
        ) from error
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        raised = (line for line in lines if re.match(r"[\w.]*Error\b", line))
        reason = next(raised, lines[-1] if lines else "")
        raise RenderingError(
            f"No GL context can be made (a test process ended with {result.returncode}: "
            f"{reason.strip() or 'no message'}), so cameras cannot be rendered. {ADVICE}"
        )


class SceneRenderer:
    """Renders the cameras of every robot of one thread; ``close`` it in the end.

    Shadows, reflections, the sky and multisampling are off: they are what makes software
    rendering slow. The lens of each camera comes from its config.

    Args:
        scene: The scene, whose cameras' field of view is set here.
        config: Cameras and image size.
    """

    def __init__(self, scene: Scene, config: SimRobotConfig) -> None:
        model = scene.model
        model.vis.quality.offsamples = 0
        self._camera_ids: dict[str, int] = {}
        for camera in config.cameras:
            index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera.mount)
            model.cam_fovy[index] = camera.fovy_deg
            self._camera_ids[camera.name] = index
        try:
            self._renderer = mujoco.Renderer(model, config.image_px, config.image_px)
        except Exception as error:
            raise RenderingError(f"No GL context can be made: {error}. {ADVICE}") from error
        flags = mujoco.mjtRndFlag
        for flag in (flags.mjRND_SHADOW, flags.mjRND_REFLECTION, flags.mjRND_SKYBOX):
            self._renderer.scene.flags[flag] = 0

    def render(self, data: MjData, camera: str) -> Image:
        """The image of a camera, by its name in the config."""
        self._renderer.update_scene(data, self._camera_ids[camera])
        return self._renderer.render()

    def close(self) -> None:
        """Free the GL context; left to the garbage collector it prints tracebacks at exit."""
        self._renderer.close()
