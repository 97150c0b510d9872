"""The simulated robot and the people around it, as settings."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config

type Mount = Literal[
    "top", "angle", "front_close", "left_pillar", "right_pillar", "left_wrist", "right_wrist"
]
"""Cameras of gym-aloha's scene."""


class CameraConfig(Config):
    """One camera of the rig."""

    name: str
    """Name in recordings and datasets: ``head_camera``, ``left_wrist_camera``, ..."""
    mount: Mount
    """Camera of the simulator's scene."""
    fovy_deg: float = Field(gt=0, lt=180)
    """Vertical field of view of the lens, degrees."""


HEAD = CameraConfig(name="head_camera", mount="top", fovy_deg=45)
LEFT_WRIST = CameraConfig(name="left_wrist_camera", mount="left_wrist", fovy_deg=60)
RIGHT_WRIST = CameraConfig(name="right_wrist_camera", mount="right_wrist", fovy_deg=60)


class SimRobotConfig(Config):
    """gym-aloha's bimanual robot, driven at a policy rate below its 50 Hz control rate."""

    kind: Literal["sim_aloha"] = "sim_aloha"
    task: Literal["transfer_cube"] = "transfer_cube"
    instruction: str = "transfer cube"
    """Task text of every episode; short, because every token costs training time on a CPU."""
    fps: Literal[10, 25, 50] = 10
    """Policy rate, Hz; 50 / fps control steps per frame, targets interpolated linearly."""
    cameras: tuple[CameraConfig, ...] = (HEAD, LEFT_WRIST, RIGHT_WRIST)
    """Cameras to render; empty where no GL context can be made."""
    image_px: int = Field(default=64, ge=16, le=480)
    """Height and width of every camera image, pixels."""


class ExpertConfig(Config):
    """The scripted teleoperator."""

    noise_rad: float = Field(default=0.02, ge=0, le=0.1)
    """Standard deviation of AR(1) joint noise in demonstrations, rad; grippers get none."""
    noise_correlation: float = Field(default=0.7, ge=0, lt=1)
    """Correlation of that noise from one frame to the next."""


class SupervisorConfig(Config):
    """The scripted human who watches, takes over when the robot stalls, and judges the episode."""

    supervised_share: float = Field(default=0.6, ge=0, le=1)
    """Share of episodes that are watched at all; the others stay autonomous and may fail."""
    stall_frames: int = Field(default=10, ge=1)
    """Frames without progress before a takeover."""
    min_progress: float = Field(default=0.02, gt=0)
    """What counts as progress, on a scale where each stage of the task is 1."""
    grace_frames: int = Field(default=8, ge=0)
    """Frames at the start of an episode during which nobody takes over."""
    takeover_frames: int = Field(default=8, ge=1)
    """Length of one correction."""
