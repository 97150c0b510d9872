"""Videos of simulated evaluation episodes: each is run again from its seed, with a camera.

Nothing is published, so this is no stage of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from recap_core.config.collection import CollectRuntime
from recap_core.config.evaluation import EvaluationConfig
from recap_core.config.robot import CameraConfig, Mount, SimRobotConfig
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.device_lock import device_lock
from recap_core.lineage.store import Store
from recap_core.progress import Progress, Silent

if TYPE_CHECKING:
    import numpy as np

    from recap_core.evaluation.outcome import EpisodeOutcome
    from recap_core.rollout.frame import Frame, Outcome
    from recap_core.sim.aloha import SimAloha
    from recap_core.sim.rendering import SceneRenderer

VIDEO_PX: Final = 320
MAX_ROBOTS: Final = 8
"""Episodes filmed at a time; each keeps its images until it ends."""
_MOUNTS: Final[tuple[Mount, ...]] = ("angle", "left_pillar", "right_pillar", "top")
_FOVY_DEG: Final = 65.0


class Filmed(NamedTuple):
    """The video of an episode."""

    outcome: "EpisodeOutcome"
    """Of this run."""
    path: Path
    is_repeated: bool
    """Whether it went exactly as it was evaluated; another processor may round differently."""


def film_episodes(  # noqa: PLR0913 - all but the first three by name
    policy: PolicyCheckpoint,
    outcomes: "Sequence[EpisodeOutcome]",
    config: EvaluationConfig,
    *,
    directory: Path,
    store: Store,
    runtime: CollectRuntime | None = None,
    progress: Progress | None = None,
) -> list[Filmed]:
    """Run episodes again and write ``<policy>-seed-<seed>.mp4`` of each.

    Args:
        policy: Who drives.
        outcomes: How the episodes went.
        config: Under which settings; the policy sees what it saw.
        directory: Where the videos go; made if necessary.
        store: Where the policy is.
        runtime: How many robots.
        progress: Told about every episode.

    Raises:
        RenderingError: If there is no GL context.
    """
    from recap_core.evaluation.episodes import Watching, evaluate

    if not outcomes:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    num_robots = (runtime or CollectRuntime()).num_robots
    paths = {
        outcome.seed: directory / f"{policy.name}-{policy.id[:8]}-seed-{outcome.seed}.mp4"
        for outcome in outcomes
    }
    with device_lock(progress), _Studio(config, paths) as studio:
        from recap_core.serving.policy import LoadedPolicy

        again = evaluate(
            LoadedPolicy.load(store.path(policy), batch_size=num_robots),
            config,
            num_robots=min(num_robots, MAX_ROBOTS),
            progress=progress or Silent(),
            seeds=list(paths),
            watching=Watching(studio.witness),
        )
    return [
        Filmed(now, paths[now.seed], _result(now) == _result(before))
        for now, before in zip(again, outcomes, strict=True)
    ]


def _result(outcome: "EpisodeOutcome") -> tuple[bool, int, int]:
    return outcome.success, outcome.num_frames, outcome.best_stage


class _Studio:
    """A camera that the policy does not see, moved from robot to robot."""

    def __init__(self, config: EvaluationConfig, paths: Mapping[int, Path]) -> None:
        from recap_core.sim.rendering import probe_rendering

        probe_rendering()
        used: set[Mount] = {camera.mount for camera in config.robot.cameras}
        mount: Mount = next(mount for mount in _MOUNTS if mount not in used)
        self._view = SimRobotConfig(
            fps=config.robot.fps,
            cameras=(CameraConfig(name="film", mount=mount, fovy_deg=_FOVY_DEG),),
            image_px=VIDEO_PX,
        )
        self._paths = paths
        self._renderer: SceneRenderer | None = None

    def __enter__(self) -> "_Studio":
        return self

    def __exit__(self, *_: object) -> None:
        if self._renderer is not None:
            self._renderer.close()

    def witness(self, seed: int, robot: "SimAloha") -> "_Camera":
        """A camera for the episode of that seed."""
        from recap_core.sim.rendering import SceneRenderer

        if self._renderer is None:
            self._renderer = SceneRenderer(robot.scene, self._view)
        return _Camera(robot, self._renderer, self._paths[seed], fps=self._view.fps)


class _Camera:
    """Keeps an image per frame, and writes them when the episode ends."""

    def __init__(
        self, robot: "SimAloha", renderer: "SceneRenderer", path: Path, *, fps: int
    ) -> None:
        self._robot = robot
        self._renderer = renderer
        self._path = path
        self._fps = fps
        self._images: list[np.ndarray] = [self._image()]

    def record(self, frame: "Frame") -> None:
        """See the scene after that frame."""
        del frame
        self._images.append(self._image())

    def finish(self, outcome: "Outcome") -> None:
        """Write the video."""
        from recap_core.data.video_files import encode_video

        del outcome
        encode_video(self._images, self._path, fps=self._fps, keyframe_interval=self._fps)
        self._images.clear()

    def _image(self) -> "np.ndarray":
        return self._renderer.render(self._robot.data, "film")
