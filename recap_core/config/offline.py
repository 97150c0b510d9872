"""Checks of a policy without a robot."""

from pydantic import Field

from recap_core.config.base import Config


class CheckPolicyConfig(Config):
    """Held-out frames, what the policy is asked there, and what of its answers is worth a warning.

    Distances are in standard deviations of the recorded actions, dimension by dimension.
    """

    held_out_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the episodes in each of the validation and the test split, whose episodes are used
    (by episode, seed 42, as the value model's)."""
    max_frames_per_class: int = Field(default=96, ge=1)
    """Most frames of each class: demonstration, intervention, positive, negative, none."""
    execute_frames: int = Field(default=4, ge=1)
    """Actions of a chunk that the robot carries out before it asks again; how far apart two chunks
    are compared for jumps."""
    max_outside_share: float = Field(default=0.02, ge=0, le=1)
    """Check ``range``: largest share of actions outside what was recorded."""
    range_tolerance: float = Field(default=0.1, ge=0)
    """How far outside counts as inside, in parts of the recorded range."""
    max_jump_ratio: float = Field(default=5.0, gt=0)
    """Check ``jumps``: 95 % quantile of the steps from one chunk to the next, as a multiple of that
    of the recorded steps."""
    max_error_growth: float = Field(default=0.2, ge=0)
    """Check ``error``: by how much more than the current policy's the action error may be, where
    a human drove or the label says positive; as a share of it."""
