"""Writes raw episodes: one directory per episode, as SPEC §2.4 lays them out."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from recap_core.collection.camera_video import CameraVideo
from recap_core.rollout.frame import Frame, Outcome
from recap_core.rollout.phase import Phase

IN_PROGRESS = "RECORDING_IN_PROGRESS"
METADATA = "metadata.json"
MARKERS = {Outcome.SUCCESS: "SUCCESS", Outcome.FAILURE: "FAILURE"}
ARM_SLICES = {"left": slice(0, 7), "right": slice(7, 14)}
"""Where an arm's six joints and its gripper are in state and action."""


class RecorderSettings(NamedTuple):
    """What is the same for every episode of a session."""

    fps: int
    cameras: tuple[str, ...]
    image_px: int
    metadata: dict[str, Any]
    """Added to every ``metadata.json``: task, mode, round, config."""


class EpisodeRecorder:
    """Records one episode; the :class:`FrameSink` of a rollout.

    The directory carries ``RECORDING_IN_PROGRESS`` until everything else is in place;
    ``metadata.json`` is written last but for that. Images are encoded as they come; the rest is
    kept in memory until the end (about 300 bytes per frame).

    Args:
        directory: The episode directory; an unfinished one of that name is replaced.
        settings: See :class:`RecorderSettings`.
    """

    def __init__(self, directory: Path, settings: RecorderSettings) -> None:
        self._directory = directory
        self._settings = settings
        self._frames: list[Frame] = []
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        (directory / IN_PROGRESS).write_text(f"{os.getpid()} {process_start_time(os.getpid())}\n")
        self._videos = {
            camera: CameraVideo(
                directory / f"{camera}.mp4",
                fps=settings.fps,
                height_px=settings.image_px,
                width_px=settings.image_px,
            )
            for camera in settings.cameras
        }

    def record(self, frame: Frame) -> None:
        """Keep one frame and encode its images."""
        for camera, video in self._videos.items():
            video.write(frame.observation[f"observation.images.{camera}"])
        state_only = {
            key: value
            for key, value in frame.observation.items()
            if not key.startswith("observation.images.")
        }
        self._frames.append(frame._replace(observation=state_only))

    def discard(self) -> None:
        """Delete the episode."""
        for video in self._videos.values():
            video.abandon()
        shutil.rmtree(self._directory)

    def finish(self, outcome: Outcome) -> dict[str, Any]:
        """Write everything, mark the outcome, and return the metadata.

        Args:
            outcome: SUCCESS or FAILURE.
        """
        for camera, video in self._videos.items():
            video.finish()
            self._save(f"{camera}_timestamps", self._times())
        self._save("timestamps", self._times())
        self._write_arms()
        self._write_phases()
        if "observation.environment_state" in self._frames[0].observation:
            self._save("environment_state", self._observed("observation.environment_state"))
        (self._directory / MARKERS[outcome]).touch()
        metadata = self._metadata(outcome)
        text = json.dumps(metadata, indent=2, sort_keys=True) + "\n"
        partial = self._directory / f".{METADATA}"
        partial.write_text(text)
        partial.rename(self._directory / METADATA)
        (self._directory / IN_PROGRESS).unlink()
        return metadata

    def _write_arms(self) -> None:
        state = self._observed("observation.state")
        velocity = self._observed("observation.joint_velocity")
        poses = self._observed("observation.ee_pose")
        actions = np.stack([frame.action for frame in self._frames])
        policy_actions = np.stack([frame.policy_action for frame in self._frames])
        for arm, part in ARM_SLICES.items():
            joints = state[:, part]
            np.savez(
                self._directory / f"{arm}_states.npz",
                joint_pos=joints[:, :6],
                joint_vel=velocity[:, part][:, :6],
                gripper_pos=joints[:, 6:],
                ee_pose=poses[:, part],
            )
            np.savez(self._directory / f"{arm}_actions.npz", pos=actions[:, part])
            np.savez(self._directory / f"{arm}_policy_actions.npz", pos=policy_actions[:, part])

    def _write_phases(self) -> None:
        phases = [frame.phase for frame in self._frames]
        self._save("phase", np.array([phase.value for phase in phases], dtype="<U16"))
        self._save("interventions", np.array([phase is Phase.CORRECTING for phase in phases]))
        corrections = [frame.correction_index for frame in self._frames]
        self._save("correction_index", np.array(corrections, dtype=np.int32))

    def _metadata(self, outcome: Outcome) -> dict[str, Any]:
        times = self._times()
        frames, fps = self._frames, self._settings.fps
        num_corrected = sum(frame.phase is Phase.CORRECTING for frame in frames)
        return {
            **self._settings.metadata,
            "start_time": float(times[0]),
            "end_time": float(times[-1]),
            "num_steps": len(frames),
            "duration_s": float(times[-1] - times[0]),
            "recording_fps": fps,
            "cameras": list(self._settings.cameras),
            "arms": list(ARM_SLICES),
            "ee_frame_names": {arm: f"vx300s_{arm}/gripper_link" for arm in ARM_SLICES},
            "success": outcome is Outcome.SUCCESS,
            "intervention_count": frames[-1].correction_index,
            "num_intervention_steps": num_corrected,
            "intervention_fraction": num_corrected / len(frames),
        }

    def _times(self) -> Float[np.ndarray, " t"]:
        return np.array([frame.time_s for frame in self._frames], dtype=np.float64)

    def _observed(self, key: str) -> np.ndarray:
        return np.stack([frame.observation[key] for frame in self._frames])

    def _save(self, name: str, values: np.ndarray) -> None:
        np.save(self._directory / f"{name}.npy", values)


def process_start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where it is gone or cannot be known.

    A process id alone may have been given to another process since.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
