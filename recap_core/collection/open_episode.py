"""The episode that is being recorded: rows in memory, an encoder thread per camera."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recap_core.collection.camera_encoder import CameraEncoder, ImagePool, VideoSettings
from recap_core.collection.episode_rows import EpisodeRows, timing_of
from recap_core.collection.live_session import delete_whole, write_json
from recap_core.collection.recorder import MARKERS
from recap_core.data.in_progress import IN_PROGRESS, METADATA
from recap_core.errors import EpisodeError
from recap_core.lineage.files import sync, sync_all
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import (
    CAMERA_TIMES,
    OBSERVED_AT,
    EpisodeSummary,
    LiveFrame,
    RobotDescription,
)
from recap_core.rollout.phase import Phase

logger = logging.getLogger(__name__)

IMAGES = "observation.images."
BYTES_PER_ROW = 1000
"""Of the arrays of a tick on the disk, about."""


class Saved(NamedTuple):
    """An episode that is on the disk."""

    summary: EpisodeSummary
    metadata: dict[str, Any]


class OpenEpisode:
    """Takes frames until it is saved or deleted.

    A camera's image is taken once: where its time has not changed, it is the same image. Its time
    in the recording is never later than the tick that saw it, so that "the last image at or before
    a tick" is the one that was seen. A clock that is set back does not turn time around: from then
    on all times of the episode are shifted.

    Args:
        directory: The episode's, with its marker.
        robot: What is recorded.
        video: How images are encoded.
        pools: Image buffers by camera.
        max_frames: At this many it must end.
    """

    def __init__(
        self,
        directory: Path,
        robot: RobotDescription,
        video: VideoSettings,
        pools: Mapping[str, ImagePool],
        *,
        max_frames: int,
    ) -> None:
        self.directory = directory
        self._robot = robot
        self._max_frames = max_frames
        self._rows = EpisodeRows(robot)
        self._encoders = {
            camera: CameraEncoder(directory / f"{camera}.mp4", video, pool)
            for camera, pool in pools.items()
        }
        self._seen_s: dict[str, float] = {}
        """Time of the newest image of every camera, by its own clock."""
        self._kept_s: dict[str, float] = {}
        """Time of the newest image that is queued, as it is recorded."""
        self.num_dropped = dict.fromkeys(pools, 0)
        self._last_s = -math.inf
        self._shift_s = 0.0
        self._was_clock_set = False
        self._cut_short: str | None = None
        """Why the frames end before the episode did."""

    @property
    def num_frames(self) -> int:
        """Ticks so far."""
        return len(self._rows)

    @property
    def num_bytes(self) -> int:
        """Bytes on the disk so far, about."""
        encoded = sum(encoder.num_bytes for encoder in self._encoders.values())
        return encoded + BYTES_PER_ROW * len(self._rows)

    @property
    def problem(self) -> str | None:
        """Why it cannot be saved, or must end; None: all is well."""
        lost = next((e.problem for e in self._encoders.values() if e.problem is not None), None)
        if lost is not None or self._cut_short is not None:
            return lost or self._cut_short
        if len(self._rows) >= self._max_frames:
            return (
                f"the episode has {len(self._rows)} frames, as many as it may "
                "(max_episode_frames). End it."
            )
        return None

    def record(self, frame: LiveFrame) -> None:
        """Take one frame; one that cannot be recorded is the last, and :attr:`problem` says why.

        What came before it can be saved.
        """
        number = len(self._rows)
        try:
            self._record(frame)
        except Exception as error:  # noqa: BLE001 - nothing may stop the control loop
            logger.warning("a frame cannot be recorded: %s", error)
            self._cut_short = (
                f"frame {number} cannot be recorded "
                f"({type(error).__name__}: {error}). Check the robot's settings."
            )

    def _record(self, frame: LiveFrame) -> None:
        if self._cut_short is not None or len(self._rows) >= self._max_frames:
            return
        self._check_images(frame)
        time_s = frame.time_s + self._shift_s
        if not math.isfinite(time_s):
            raise ValueError(f"its time is {frame.time_s}")
        if time_s <= self._last_s:
            forward_s = self._last_s + 1 / self._robot.fps - time_s
            self._shift_s, self._was_clock_set = self._shift_s + forward_s, True
            time_s += forward_s
        self._rows.append(frame, time_s)
        self._last_s = time_s
        times = frame.observation.get(CAMERA_TIMES, {})
        default_s = frame.observation.get(OBSERVED_AT, frame.time_s)
        for camera, encoder in self._encoders.items():
            own_s = float(times.get(camera, default_s))
            if own_s != self._seen_s.get(camera):
                self._seen_s[camera] = own_s
                image = frame.observation.get(IMAGES + camera)
                self._take(camera, encoder, image, min(own_s + self._shift_s, time_s))
        for encoder in self._encoders.values():
            encoder.send()

    def _check_images(self, frame: LiveFrame) -> None:
        for camera, size in self._robot.cameras.items():
            image, wanted = frame.observation.get(IMAGES + camera), (*size, 3)
            if image is not None and (image.shape != wanted or image.dtype != np.uint8):
                raise EpisodeError(
                    f"camera {camera} gives {image.dtype} {image.shape}, not uint8 {wanted}"
                )

    def _take(
        self, camera: str, encoder: CameraEncoder, image: np.ndarray | None, time_s: float
    ) -> None:
        if image is not None:
            is_later = time_s > self._kept_s.get(camera, -math.inf)  # also False for NaN
            if is_later and encoder.copy(image, time_s):
                self._kept_s[camera] = time_s
                return
        self.num_dropped[camera] += 1

    def save(
        self, outcome: Outcome, notes: Mapping[str, Any], *, min_frames: int, timeout_s: float
    ) -> Saved:
        """Write everything; ``metadata.json`` comes last, but for the marker that goes.

        Args:
            outcome: SUCCESS or FAILURE.
            notes: Added to the metadata.
            min_frames: A shorter episode is refused.
            timeout_s: How long the encoders may take, seconds.

        Raises:
            EpisodeError: If it cannot be saved; the directory is as it was, unfinished.
            OSError: If the disk is full.
        """
        for encoder in self._encoders.values():
            encoder.end()
        if len(self._rows) < min_frames:
            why = "" if self._cut_short is None else f" {self._cut_short}"
            raise EpisodeError(
                f"{self.directory.name} has {len(self._rows)} frames, fewer than {min_frames}: "
                f"it is deleted.{why}"
            )
        self._rows.write(self.directory)
        for camera, encoder in self._encoders.items():
            encoder.finish(timeout_s)
            if not encoder.times:
                raise EpisodeError(f"camera {camera} has shown no image. Check its connection.")
            times = np.array(encoder.times, dtype=np.float64)
            np.save(self.directory / f"{camera}_timestamps.npy", times)
        (self.directory / MARKERS[outcome]).touch()
        sync_all([path for path in self.directory.iterdir() if path.suffix != ".mp4"])
        metadata = {**notes, **self._metadata(outcome)}
        write_json(self.directory / METADATA, metadata)
        (self.directory / IN_PROGRESS).unlink()
        sync(self.directory)
        return Saved(self._summary(outcome, metadata), metadata)

    def delete(self, timeout_s: float) -> None:
        """Stop the encoders and delete the directory; where that fails the marker stays."""
        for encoder in self._encoders.values():
            encoder.abandon(timeout_s)
        try:
            delete_whole(self.directory)
        except OSError as error:
            logger.warning("%s cannot be deleted (%s)", self.directory, error)

    def _metadata(self, outcome: Outcome) -> dict[str, Any]:
        times, phases = self._rows.times(), self._rows.phases()
        num_corrected = sum(phase is Phase.CORRECTING for phase in phases)
        return {
            "robot_type": self._robot.robot_type,
            "start_time": float(times[0]),
            "end_time": float(times[-1]),
            "num_steps": len(times),
            "duration_s": float(times[-1] - times[0]),
            "recording_fps": self._robot.fps,
            "cameras": list(self._encoders),
            "arms": [arm.name for arm in self._robot.arms],
            "leaders": [arm.name for arm in self._robot.leaders],
            "ee_frame_names": dict(self._robot.ee_frame_names),
            "success": outcome is Outcome.SUCCESS,
            "intervention_count": self._rows.num_corrections,
            "num_intervention_steps": num_corrected,
            "num_paused_steps": sum(phase is Phase.PAUSED for phase in phases),
            "intervention_fraction": num_corrected / len(times),
            "dropped_images": dict(self.num_dropped),
            "padded_rows": self._rows.num_padded,
            "clock_was_set": self._was_clock_set,
            "cut_short": self._cut_short,
            "policy_ids": self._rows.policy_ids(),
            "timing": timing_of(times, self._robot.fps),
            "clock": "system",
        }

    def _summary(self, outcome: Outcome, metadata: Mapping[str, Any]) -> EpisodeSummary:
        return EpisodeSummary(
            directory=str(self.directory),
            outcome=outcome,
            num_frames=metadata["num_steps"],
            duration_s=metadata["duration_s"],
            num_corrections=metadata["intervention_count"],
            num_correcting_frames=metadata["num_intervention_steps"],
            num_dropped=sum(self.num_dropped.values()),
        )
