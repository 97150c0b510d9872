"""Small recordings and datasets with known content, for tests, examples and plumbing checks.

In episode ``e`` at frame ``t``: state dimension ``d`` is ``e + 0.01 t + 0.1 d``, the action is the
state one frame later, dimension ``d`` of the environment state is ``-e - 0.01 t - 0.1 d``, and
every pixel of camera ``c`` has the grey level ``16 + (8 t + 40 e + 20 c) mod 200``, up to what
video compression does to it.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recap_core.config.dataset import ConvertConfig
from recap_core.data.columns import AUTONOMOUS, CORRECTING
from recap_core.data.convert import convert_recording
from recap_core.data.dataset_writer import DatasetSummary
from recap_core.data.video_files import encode_video

START_S = 1_700_000_000.0
"""Unix time at which the first synthetic episode starts."""


class SyntheticEpisode(NamedTuple):
    """One episode to make up."""

    length: int = 12
    success: bool = True
    interventions: tuple[int, ...] = ()
    """Frames that a human drove."""
    paused: tuple[int, ...] = ()
    demonstration: bool = False
    """A human drove all frames."""
    task: str = "transfer cube"


class SyntheticRobot(NamedTuple):
    """The robot that the episodes come from."""

    arms: tuple[str, ...] = ("left", "right")
    num_joints: int = 6
    """Per arm; each arm has one gripper more."""
    cameras: tuple[str, ...] = ("head_camera", "left_wrist_camera", "right_wrist_camera")
    image_px: int = 32
    environment_dims: int = 0
    fps: int = 10


def synthetic_phase(episode: SyntheticEpisode) -> np.ndarray:
    """Phase of every frame."""
    phase = np.full(episode.length, CORRECTING if episode.demonstration else AUTONOMOUS, "U16")
    phase[list(episode.interventions)] = CORRECTING
    phase[list(episode.paused)] = "paused"
    return phase


def synthetic_state(number: int, length: int, dims: int) -> np.ndarray:
    """State of episode ``number``: one row per frame and one row more, float32."""
    return (number + 0.01 * np.arange(length + 1)[:, None] + 0.1 * np.arange(dims)[None]).astype(
        np.float32
    )


def synthetic_grey(number: int, length: int, camera: int) -> np.ndarray:
    """Grey level of every frame of one camera, uint8."""
    return (16 + (8 * np.arange(length) + 40 * number + 20 * camera) % 200).astype(np.uint8)


def write_synthetic_episode(
    directory: Path, episode: SyntheticEpisode, robot: SyntheticRobot, *, number: int = 0
) -> None:
    """Write one raw episode (SPEC §2.4) into the new directory ``directory``."""
    directory.mkdir(parents=True)
    length, per_arm = episode.length, robot.num_joints + 1
    times = START_S + 1000 * number + np.arange(length) / robot.fps
    np.save(directory / "timestamps.npy", times)
    values = synthetic_state(number, length, per_arm * len(robot.arms))
    for i, arm in enumerate(robot.arms):
        own = values[:, i * per_arm : (i + 1) * per_arm]
        joints, gripper = own[:-1, : robot.num_joints], own[:-1, robot.num_joints :]
        np.savez(
            directory / f"{arm}_states.npz",
            joint_pos=joints,
            joint_vel=np.zeros_like(joints),
            gripper_pos=gripper,
            ee_pose=np.zeros((length, 7)),
        )
        np.savez(directory / f"{arm}_actions.npz", pos=own[1:])
    if robot.environment_dims:
        extra = -synthetic_state(number, length, robot.environment_dims)[:-1]
        np.save(directory / "environment_state.npy", extra)
    size = (robot.image_px, robot.image_px, 3)
    for i, camera in enumerate(robot.cameras):
        greys = synthetic_grey(number, length, i)
        frames = (np.full(size, grey, dtype=np.uint8) for grey in greys)
        encode_video(frames, directory / f"{camera}.mp4", fps=robot.fps)
        np.save(directory / f"{camera}_timestamps.npy", times)
    phase = synthetic_phase(episode)
    np.save(directory / "phase.npy", phase)
    np.save(directory / "interventions.npy", phase == CORRECTING)
    is_correcting = (phase == CORRECTING).astype(np.int32)
    starts = np.diff(is_correcting, prepend=0) > 0
    np.save(directory / "correction_index.npy", np.cumsum(starts).astype(np.int32))
    (directory / ("SUCCESS" if episode.success else "FAILURE")).touch()
    metadata = {
        "task_instruction": episode.task,
        "start_time": times[0],
        "end_time": times[-1],
        "num_steps": length,
        "duration_s": times[-1] - times[0],
        "recording_fps": robot.fps,
        "cameras": list(robot.cameras),
        "arms": list(robot.arms),
        "intervention_count": int(starts.sum()),
        "intervention_fraction": float(is_correcting.mean()),
    }
    (directory / "metadata.json").write_text(json.dumps(metadata))


def default_episodes() -> tuple[SyntheticEpisode, ...]:
    """A success, a rescued success, a paused failure, and a short failure of another task."""
    return (
        SyntheticEpisode(length=12),
        SyntheticEpisode(length=15, interventions=(6, 7, 8)),
        SyntheticEpisode(length=10, success=False, paused=(3,), interventions=(4, 5)),
        SyntheticEpisode(length=9, success=False, task="insert peg"),
    )


def write_synthetic_recording(
    directory: Path,
    episodes: Sequence[SyntheticEpisode] | None = None,
    robot: SyntheticRobot | None = None,
) -> Path:
    """Write a recording of raw episodes; returns ``directory``."""
    for number, episode in enumerate(default_episodes() if episodes is None else episodes):
        name = f"episode_20240101_120000_{number:04d}"
        write_synthetic_episode(directory / name, episode, robot or SyntheticRobot(), number=number)
    return directory


def write_synthetic_dataset(  # noqa: PLR0913 - options are keyword-only
    output: Path,
    episodes: Sequence[SyntheticEpisode] | None = None,
    robot: SyntheticRobot | None = None,
    *,
    config: ConvertConfig | None = None,
    round_index: int = 1,
    source: str = "synthetic",
) -> DatasetSummary:
    """Write a LeRobot v3.0 dataset, converted from a synthetic recording."""
    with tempfile.TemporaryDirectory() as scratch:
        recording = write_synthetic_recording(Path(scratch) / "recording", episodes, robot)
        return convert_recording(
            recording, output, config or ConvertConfig(), round_index=round_index, source=source
        )
