"""How a live session is recorded: where, how well, and within which limits."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from recap_core.config.base import RuntimeConfig

MIB = 2**20
GIB = 2**30


class RecordingConfig(RuntimeConfig):
    """Files, encoders and limits of a live recorder."""

    base_dir: Path = Path("recordings")
    """Directory of sessions; every session makes one of its own in it."""
    queue_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds of images per camera that may wait for the encoder; what comes then is dropped."""
    queue_bytes: int = Field(default=512 * MIB, ge=MIB)
    """Memory of all queues together, bytes; it shortens ``queue_s`` where images are large."""
    disk_reserve_bytes: int = Field(default=2 * GIB, ge=0)
    """No episode begins with less free space, bytes; below half of it, the open one must end."""
    crf: int = Field(default=18, ge=1, le=40)
    """Constant rate factor of H.264: lower is better and larger. Without dropped images these are
    the very packets that a policy is trained on."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster"] = "veryfast"
    """Speed of the encoder; ``ultrafast`` halves its CPU time for files 60 % larger."""
    keyframe_interval: int = Field(default=2, ge=1, le=300)
    """Frames from one keyframe to the next; what training reads at random is decoded from one."""
    min_episode_frames: int = Field(default=2, ge=2)
    """A shorter episode cannot be saved: it has no rate."""
    max_episode_frames: int = Field(default=108_000, ge=2)
    """Rows of an episode are held in memory; at this many it must end (an hour at 30 Hz)."""
    finish_timeout_s: float = Field(default=30.0, gt=0)
    """How long saving waits for the encoders, seconds."""
    interrupted: Literal["delete", "keep"] = "delete"
    """What becomes of an episode whose recorder was killed. ``keep`` leaves the directory, without
    metadata, for people; no conversion reads it."""
    operator: str | None = Field(default=None, min_length=1)
    """Who operates; kept in ``metadata.json`` and, with it, in every copy."""
