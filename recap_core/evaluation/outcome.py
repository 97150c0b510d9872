"""The result of one evaluation episode."""

from pydantic import BaseModel, ConfigDict, Field


class EpisodeOutcome(BaseModel):
    """How one episode of a policy went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(ge=0)
    """Seed of the scene."""
    success: bool
    num_frames: int = Field(ge=0)
    """Frames until success, or until the episode was given up."""
    num_correcting_frames: int = Field(default=0, ge=0)
    """Frames that an operator drove; 0 in an evaluation."""
    best_stage: int = Field(ge=0)
    """How far the task got: 0 nothing, 1 touched, 2 lifted, 3 left touches, 4 handed over."""
    task: str | None = None
    """What the policy was told; None: the evaluation's one instruction."""
    failure_reason: str | None = None
    """What the operator says went wrong; None: nothing was said, or nobody watched."""
    episode: str | None = None
    """Name of the recorded episode; None: it was simulated."""
    started_at_s: float | None = None
    """Unix time of its first frame, where a real clock was there."""
    duration_s: float | None = Field(default=None, ge=0)
    """From its first to its last frame."""
