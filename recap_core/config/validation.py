"""How closely a dataset is looked at, and what counts as healthy."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config


class ValidateConfig(Config):
    """Bands and limits of the checks of ``recap doctor data`` (SPEC §3.5)."""

    decode: Literal["none", "sampled", "all"] = "sampled"
    """Images to decode: none, the first, middle and last of every episode, or all."""
    intervention_rate: tuple[float, float] = (0.1, 0.6)
    """Share of a rollout's frames that a human drives in a healthy round."""
    success_rate: tuple[float, float] = (0.2, 0.7)
    """Share of successful rollouts in a healthy round."""
    jump_factor: float = Field(default=10.0, gt=1)
    """A step of a joint this many times larger than its large steps (95 %) is a jump."""
    jump_share: float = Field(default=0.2, gt=0, le=1)
    """And at least this share of the joint's range."""
    length_factor: float = Field(default=4.0, gt=1)
    """Episodes this many times longer or shorter than the median are outliers."""
    frozen_s: float = Field(default=2.0, gt=0)
    """Seconds without any change after which a picture counts as frozen."""
    rate_error: float = Field(default=0.05, gt=0)
    """Relative difference of measured and nominal frame rate that is worth a warning."""
