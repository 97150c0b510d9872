"""A recording as a robot: it shows one recorded row per tick, over and over."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from recap_core.collection.robots.action_check import checked_action
from recap_core.collection.robots.arms import SIDES, infer_arms
from recap_core.collection.robots.faults import IMAGES, observed
from recap_core.collection.robots.replay_images import (
    Clip,
    DecodedImages,
    ImageFeed,
    StoredImages,
)
from recap_core.config.live_robot import ReplayConfig
from recap_core.data.in_progress import METADATA
from recap_core.data.raw_episode import (
    LEADER,
    RawEpisode,
    episode_directories,
    read_metadata,
    read_raw_episode,
)
from recap_core.data.resample import hold_indices, measured_fps
from recap_core.data.video_files import probe_video
from recap_core.errors import ConfigError, RobotError
from recap_core.rollout.frame import Action, Observation
from recap_core.rollout.live import CameraFormat, RobotDescription

MIB = 1 << 20
EARLY_S = 1e-3
"""An image stamped this little after its tick was seen by it."""


class _Camera(NamedTuple):
    """One camera over all rows."""

    clips: tuple[Clip, ...]
    ages_s: Float64[np.ndarray, " t"]
    """How old the image of every row was at its tick."""
    is_new: Bool[np.ndarray, " t"]
    """Whether a row shows another image than the row before."""
    format: CameraFormat


class ReplayRobot:
    """Replays the finished episodes of a session, or one episode, in order of their names.

    Images have the ages that they had when they were recorded, and a row without a new image keeps
    the time of the last one, as a camera's thread would give it. Images are read-only.

    Args:
        config: What to replay, and how.
        now: Unix time, s.
    """

    def __init__(self, config: ReplayConfig, *, now: Callable[[], float] = time.time) -> None:
        self._config = config
        self._now = now
        self._description: RobotDescription | None = None
        self._states: Float[np.ndarray, "t s"] = np.zeros((0, 0), dtype=np.float32)
        self._cameras: Mapping[str, _Camera] = {}
        self._feeds: dict[str, ImageFeed] = {}
        self._times: dict[str, float] = {}
        self._tick = 0
        self._sent: Float[np.ndarray, " a"] | None = None

    @property
    def description(self) -> RobotDescription:
        """What was recorded.

        Raises:
            RobotError: If it is not connected.
        """
        if self._description is None:
            raise RobotError("The recording is not open; call connect() first.")
        return self._description

    @property
    def last_action(self) -> Float[np.ndarray, " a"] | None:
        """What was sent last; None: nothing."""
        return self._sent

    def connect(self) -> None:
        """Read all rows, and decode what fits into memory.

        Raises:
            DataError: If there is no finished episode, or one is broken.
            ConfigError: If its episodes have different robots or cameras.
        """
        if self._description is not None:
            return
        episodes, sides = read_replayed(self._config)
        self._cameras = {name: _camera(episodes, name) for name in episodes[0].cameras}
        self._states = np.concatenate([episode.state for episode in episodes])
        fits = _decoded_bytes(self._cameras, len(self._states)) <= self._config.memory_mib * MIB
        make_feed = StoredImages if fits else DecodedImages
        self._feeds = {name: make_feed(camera.clips) for name, camera in self._cameras.items()}
        self._tick, self._sent, self._times = 0, None, {}
        self._description = RobotDescription(
            robot_type=self._config.recording.robot_type or "replay",
            fps=self._config.fps or round(measured_fps(episodes[0].timestamps)),
            arms=infer_arms(episodes[0].action_names, sides),
            cameras={name: camera.format for name, camera in self._cameras.items()},
        )

    def get_observation(self) -> Observation:
        """The next row.

        Raises:
            RobotError: If a video cannot be decoded.
        """
        now, row = self._now(), self._tick % len(self._states)
        self._tick += 1
        images = {IMAGES + name: feed.next_image() for name, feed in self._feeds.items()}
        for name, camera in self._cameras.items():
            if camera.is_new[row] or name not in self._times:
                self._times[name] = now - float(camera.ages_s[row])
        state = self._states[row].copy()
        if self._config.follow and self._sent is not None:
            state = self._sent.copy()
        return observed({"observation.state": state, **images}, now, self._times)

    def send_action(self, action: Action) -> Action:
        """Keep it; nothing moves.

        Raises:
            RobotError: If it has a wrong shape, or is not finite.
        """
        dims = sum(len(arm.joints) + len(arm.gripper) for arm in self.description.arms)
        self._sent = checked_action(action, dims)
        return {"action": self._sent.copy()}

    def disconnect(self) -> None:
        """Close the videos."""
        for feed in self._feeds.values():
            feed.close()
        self._feeds.clear()
        self._description = None


def read_replayed(config: ReplayConfig) -> tuple[list[RawEpisode], list[str]]:
    """The episodes that a config replays, and their arms; images are left on disk.

    Raises:
        DataError: If there is no finished episode, or one is broken.
        ConfigError: If they have different robots or cameras.
    """
    path = config.path.expanduser()
    paths = [path] if (path / METADATA).exists() else episode_directories(path)
    episodes = [read_raw_episode(path, config.recording) for path in paths]
    arms = [arm for arm in read_metadata(paths[0]).get("arms", ()) if not arm.startswith(LEADER)]
    first = episodes[0]
    for episode in episodes[1:]:
        if list(episode.cameras) != list(first.cameras) or _names(episode) != _names(first):
            raise ConfigError(
                f"{path} cannot be replayed as one robot: {episode.name} has other dims or cameras "
                f"than {first.name}. Replay a single episode."
            )
    if config.follow and len(first.state_names) != len(first.action_names):
        raise ConfigError(
            f"follow needs a state as wide as the action; {first.name} has "
            f"{len(first.state_names)} and {len(first.action_names)} dims"
        )
    return episodes, arms or list(SIDES)


def _names(episode: RawEpisode) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return episode.state_names, episode.action_names


def _camera(episodes: Sequence[RawEpisode], name: str) -> _Camera:
    clips, ages, is_new = [], [], []
    for episode in episodes:
        frames, age_s = frames_of_rows(episode, name)
        clips.append(Clip(episode.cameras[name].path, frames))
        ages.append(age_s)
        is_new.append(np.diff(frames, prepend=-1) > 0)
    info = probe_video(clips[0].path)
    return _Camera(
        clips=tuple(clips),
        ages_s=np.concatenate(ages),
        is_new=np.concatenate(is_new),
        format=CameraFormat(info.height, info.width),
    )


def frames_of_rows(
    episode: RawEpisode, camera: str
) -> tuple[Int[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """Which frame of a camera's video every row saw, and how old it was then, s.

    The latest one that was taken by then; before the first, the first.
    """
    taken = episode.cameras[camera].timestamps
    if taken is None:
        num_rows = len(episode.timestamps)
        return np.arange(num_rows), np.zeros(num_rows)
    frames = hold_indices(taken, episode.timestamps + EARLY_S)
    return frames, np.maximum(episode.timestamps - taken[frames], 0.0)


def _decoded_bytes(cameras: Mapping[str, _Camera], num_rows: int) -> int:
    sizes = [camera.format.height_px * camera.format.width_px * 3 for camera in cameras.values()]
    return num_rows * sum(sizes)
