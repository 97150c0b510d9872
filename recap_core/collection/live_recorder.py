"""Recording of live sessions: never blocks the control loop, never loses an image in silence."""

import importlib.metadata
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from recap_core.collection.camera_encoder import ImagePool, probe_encoder, video_settings
from recap_core.collection.disk_watch import DiskWatch, free_bytes
from recap_core.collection.live_session import LiveSession, SessionSettings, recover
from recap_core.collection.open_episode import OpenEpisode
from recap_core.config.recording import GIB, RecordingConfig
from recap_core.config.recording_map import PLAIN_NAME
from recap_core.errors import ConfigError, EpisodeError
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSummary, LiveFrame, RecorderStatus, RobotDescription

logger = logging.getLogger(__name__)

MIN_QUEUED = 4
"""Images per camera that may wait in any case."""
RATE_FROM_S = 1.0
"""Seconds that must have been recorded before a rate is told."""


class SessionRecorder:
    """One session's recorder; the :class:`recap_core.rollout.live.LiveRecorder` of a cell.

    What killed sessions left in the base directory is put in order first, then the session's
    directory is made. All methods but ``status`` belong to the control loop's thread.

    Args:
        config: Where and how.
        settings: What the session is.
        robot: What is recorded.
        clock: Unix time, seconds.
        measure: Free bytes where a directory is.

    Raises:
        ConfigError: If a camera's images have an odd height or width, or a name is no file's name.
        EpisodeError: If the session's directory cannot be made.
    """

    def __init__(
        self,
        config: RecordingConfig,
        settings: SessionSettings,
        robot: RobotDescription,
        *,
        clock: Callable[[], float] = time.time,
        measure: Callable[[Path], int] = free_bytes,
    ) -> None:
        _check_robot(robot)
        self._config = config
        self._robot = robot
        self._clock = clock
        self._notes = _session_notes(config, settings)
        self._episode_notes: dict[str, Any] = {}
        self._video = video_settings(config, robot.fps)
        self.recovered = recover(config.base_dir, interrupted=config.interrupted)
        """What killed sessions had left in the base directory."""
        facts = {"robot_type": robot.robot_type, "operator": config.operator}
        self._session = LiveSession(config.base_dir, settings, facts, clock())
        self._pools = _make_pools(config, robot)
        self._disk = DiskWatch(self._session.directory, measure)
        self._episode: OpenEpisode | None = None
        self._failure: str | None = None
        """Why the last episode could not be saved."""
        self._num_dropped = self._num_bytes = self._num_frames = 0
        """Of the episodes that are over."""
        self._is_closed = False

    @property
    def directory(self) -> Path:
        """The session's directory."""
        return self._session.directory

    def start(self) -> None:
        """Begin an episode.

        Raises:
            EpisodeError: If one is open, there is no room on the disk, or what has kept the last
                one from being saved is still so.
        """
        if self._episode is not None:
            raise EpisodeError(f"{self._episode.directory.name} is still open. End it first.")
        try:
            self._disk.look()
            self._check_room(self._config.disk_reserve_bytes)
            if self._failure is not None:
                self._check_encoders()
            directory = self._session.open_episode(self._clock())
        except OSError as error:
            raise EpisodeError(
                f"no episode can begin in {self.directory} ({error}). Check the disk."
            ) from error
        self._failure = None
        self._episode_notes = {}
        self._episode = OpenEpisode(
            directory,
            self._robot,
            self._video,
            self._pools,
            max_frames=self._config.max_episode_frames,
        )

    def record(self, frame: LiveFrame) -> None:
        """Take one frame; without an open episode nothing happens. Returns at once, never raises.

        Images are copied, so their arrays may be used again.
        """
        if self._episode is not None:
            self._episode.record(frame)

    def describe_episode(self, **facts: Any) -> None:  # noqa: ANN401 - any JSON value
        """Add facts to the open episode's metadata, such as its seed or the loop's statistics."""
        self._episode_notes.update(facts)

    def finish(self, outcome: Literal[Outcome.SUCCESS, Outcome.FAILURE]) -> EpisodeSummary:
        """Save the open episode; waits for the encoders.

        Raises:
            EpisodeError: If none is open, or it cannot be written. It is then deleted, or, where
                that fails, too, left with its marker for the next session to sweep.
        """
        episode = self._close_episode()
        try:
            saved = episode.save(
                outcome,
                {**self._notes, **self._episode_notes},
                min_frames=self._config.min_episode_frames,
                timeout_s=self._config.finish_timeout_s,
            )
        except (EpisodeError, OSError, ValueError, LookupError, MemoryError) as error:
            is_short = episode.num_frames < self._config.min_episode_frames
            if episode.problem is not None or not is_short:
                self._failure = str(error)
            self._session.num_unsaved += 1
            episode.delete(self._config.finish_timeout_s)
            self._write_summary()
            raise EpisodeError(f"the episode is not saved: {error}") from error
        finally:
            self._count(episode)
        self._session.add(episode.directory.name, saved.metadata)
        self._write_summary()
        return saved.summary

    def discard(self) -> None:
        """Delete the open episode, if there is one."""
        if self._episode is None:
            return
        episode = self._close_episode()
        self._count(episode)
        self._session.num_discarded += 1
        episode.delete(self._config.finish_timeout_s)
        self._write_summary()

    def status(self) -> RecorderStatus:
        """How it is doing; any thread may ask."""
        episode = self._episode
        frames, size = self._num_frames, self._num_bytes
        dropped = self._num_dropped
        if episode is not None:
            frames, size = frames + episode.num_frames, size + episode.num_bytes
            dropped += sum(episode.num_dropped.values())
        seconds = frames / self._robot.fps
        room = max(self._disk.free_bytes - self._config.disk_reserve_bytes, 0)
        return RecorderStatus(
            is_recording=episode is not None,
            num_frames=0 if episode is None else episode.num_frames,
            queue_share=max((pool.used_share for pool in self._pools.values()), default=0.0),
            num_dropped=dropped,
            free_bytes=self._disk.free_bytes,
            seconds_left=room * seconds / size if seconds >= RATE_FROM_S and size else None,
            problem=self._problem(episode),
        )

    def close(self) -> None:
        """End its threads and write the summary; an open episode is saved as a failure."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._episode is not None:
            try:
                self.finish(Outcome.FAILURE)
            except EpisodeError as error:
                logger.warning("%s", error)
        self._disk.stop()
        try:
            self._session.close()
        except OSError as error:
            logger.warning("the summary of %s cannot be written (%s)", self.directory, error)

    def _problem(self, episode: OpenEpisode | None) -> str | None:
        if episode is not None and episode.problem is not None:
            return episode.problem
        reserve = self._config.disk_reserve_bytes
        try:
            self._check_room(reserve if episode is None else reserve // 2)
        except EpisodeError as error:
            return str(error)
        return self._failure

    def _check_room(self, needed_bytes: int) -> None:
        free = self._disk.free_bytes
        if free < needed_bytes:
            raise EpisodeError(
                f"the disk of {self.directory} has {free / GIB:.2f} GiB left, less than "
                f"{needed_bytes / GIB:.2f} GiB. Make room, or record to another disk "
                "(base_dir)."
            )

    def _check_encoders(self) -> None:
        """Whether videos can be written again after an episode was lost."""
        for camera, size in self._robot.cameras.items():
            try:
                probe_encoder(self.directory / f".{camera}.mp4", self._video, size)
            except Exception as error:
                raise EpisodeError(
                    f"videos of {camera} can still not be written ({error}). Before: "
                    f"{self._failure}"
                ) from error

    def _close_episode(self) -> OpenEpisode:
        if self._episode is None:
            raise EpisodeError("no episode is open. Start one first.")
        episode, self._episode = self._episode, None
        return episode

    def _count(self, episode: OpenEpisode) -> None:
        self._num_dropped += sum(episode.num_dropped.values())
        self._num_bytes += episode.num_bytes
        self._num_frames += episode.num_frames

    def _write_summary(self) -> None:
        try:
            self._session.write_summary()
        except OSError as error:  # the episode itself is safe, and the next one tries again
            logger.warning("the summary of %s cannot be written (%s)", self.directory, error)


def _check_robot(robot: RobotDescription) -> None:
    names = [*robot.cameras, *(arm.name for arm in (*robot.arms, *robot.leaders))]
    wrong = [name for name in names if not re.fullmatch(PLAIN_NAME, name)]
    if wrong or len(set(names)) < len(names):
        raise ConfigError(
            f"arms and cameras are called {', '.join(names)}; they become names of files, so each "
            f"is plain ({PLAIN_NAME}) and there once. Rename them in the robot's settings."
        )
    for camera, (height_px, width_px) in robot.cameras.items():
        if height_px % 2 or width_px % 2:
            raise ConfigError(
                f"camera {camera} has images of {height_px} x {width_px} pixels, but videos need "
                "even sizes. Choose another resolution."
            )


def _make_pools(config: RecordingConfig, robot: RobotDescription) -> dict[str, ImagePool]:
    pools = {}
    for camera, size in robot.cameras.items():
        share_bytes = config.queue_bytes // len(robot.cameras)
        fitting = share_bytes // (size.height_px * size.width_px * 3)
        capacity = max(min(round(config.queue_s * robot.fps), fitting), MIN_QUEUED)
        pools[camera] = ImagePool(size, capacity)
    return pools


def _session_notes(config: RecordingConfig, settings: SessionSettings) -> dict[str, Any]:
    """What every ``metadata.json`` of the session says."""
    notes: dict[str, Any] = {
        **settings.metadata,
        "task_instruction": settings.task,
        "mode": settings.mode,
        "recorder_version": _version(),
    }
    if settings.round_index is not None:
        notes["round_index"] = settings.round_index
    if config.operator is not None:
        notes["operator"] = config.operator
    return notes


def _version() -> str:
    try:
        return importlib.metadata.version("recap")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
