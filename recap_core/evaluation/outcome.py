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
