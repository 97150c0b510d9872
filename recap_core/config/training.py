"""One training loop's settings, for the policy and for the value model."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config, RuntimeConfig


class OptimizerConfig(Config):
    """AdamW under a warm-up and cosine schedule (openpi's defaults)."""

    peak_lr: float = Field(default=2.5e-5, gt=0)
    end_lr: float = Field(default=2.5e-6, ge=0)
    warmup_steps: int = Field(default=1000, ge=0)
    decay_steps: int = Field(default=30_000, ge=1)
    """Step at which the cosine reaches ``end_lr``; includes the warm-up."""
    b1: float = Field(default=0.9, ge=0, lt=1)
    b2: float = Field(default=0.95, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=1e-10, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _warm_up_ends_before_the_decay(self) -> "OptimizerConfig":
        if self.warmup_steps >= self.decay_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be below decay_steps ({self.decay_steps})"
            )
        return self


class SamplingConfig(Config):
    """Which frames a batch holds."""

    expert_fraction: float | None = Field(default=None, ge=0, le=1)
    """Share of each batch from expert frames (demonstrations and interventions), the rest from
    autonomous frames; None samples all frames uniformly, as the reference does."""
    frames: Literal["all", "expert", "demonstrations"] = "all"
    """``demonstrations`` trains on fully human episodes only."""
    order: Literal["random", "blocks"] = "random"
    """``random`` draws every frame on its own, with replacement. ``blocks`` goes through shuffled
    blocks of episodes and sees every frame once per epoch: for videos too large to keep decoded."""
    block_episodes: int = Field(default=8, ge=1)
    """Episodes per block: more mix better and take more memory, two blocks' images at a time."""


class AugmentConfig(Config):
    """Random changes of training images; the defaults are openpi's."""

    crop: float = Field(default=0.95, gt=0, le=1)
    """Side of the random crop as a share of the image's; views on a wrist are not cropped."""
    rotate_deg: float = Field(default=5.0, ge=0, le=180)
    """Largest rotation either way; views on a wrist are not rotated."""
    color_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the samples that change colour."""
    brightness: float = Field(default=0.3, ge=0, lt=1)
    contrast: float = Field(default=0.4, ge=0, lt=1)
    hue: float = Field(default=0.1, ge=0, le=0.5)
    """Largest shift either way, turns of the colour circle."""


class TrainConfig(Config):
    """Optimisation of one model."""

    num_steps: int = Field(default=30_000, ge=1)
    batch_size: int = Field(default=32, ge=1)
    seed: int = Field(default=42, ge=0)
    ema_decay: float | None = Field(default=0.99, gt=0, lt=1)
    optimizer: OptimizerConfig = OptimizerConfig()
    sampling: SamplingConfig = SamplingConfig()
    augment: AugmentConfig | None = None
    """Random changes of the images; None: none. openpi always makes them."""
    loss_weight: Literal["plain", "reference_time"] = "plain"
    """``reference_time`` multiplies a policy sample's loss by 0.5 exp(-0.5 (1 - t)) (SPEC §5.3)."""


class TrainRuntime(RuntimeConfig):
    """How training runs."""

    log_interval: int = Field(default=50, ge=1)
    save_interval: int = Field(default=1000, ge=1)
    """Steps between resumable checkpoints."""
    images: Literal["auto", "cache", "decode"] = "auto"
    """``cache`` keeps every video decoded at the model's size, in ``RECAP_HOME/cache/frames``, for
    all trainings on it; ``decode`` decodes during training; ``auto`` caches what fits, and decodes
    larger data where it is ordered in blocks."""
    image_cache_gb: float | None = Field(default=None, gt=0)
    """Most that decoded videos may take on the disk; None: 80 % of what is free there, their own
    files included."""
