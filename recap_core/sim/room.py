"""Where simulated robots of one thread live: a scene, and a renderer if there are cameras."""

import contextlib
from collections.abc import Generator
from typing import NamedTuple

from recap_core.config.robot import SimRobotConfig
from recap_core.sim.aloha import SimAloha
from recap_core.sim.rendering import SceneRenderer, probe_rendering
from recap_core.sim.scene import Scene


class Room(NamedTuple):
    """What robots share."""

    config: SimRobotConfig
    scene: Scene
    renderer: SceneRenderer | None

    def make_robot(self) -> SimAloha:
        """One more robot."""
        return SimAloha(self.scene, self.config, renderer=self.renderer)


@contextlib.contextmanager
def open_room(config: SimRobotConfig) -> Generator[Room]:
    """A room for robots of that config; its GL context is freed in the end.

    Raises:
        RenderingError: If the config has cameras and there is no GL context.
    """
    if not config.cameras:
        yield Room(config, Scene(), None)
        return
    probe_rendering()
    scene = Scene()
    with contextlib.closing(SceneRenderer(scene, config)) as renderer:
        yield Room(config, scene, renderer)
