"""One training loop's settings, for the policy and for the value model."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from recap_core.config.base import Config
from recap_core.config.isolation import AcceleratorRuntime

type RematMode = Literal["auto", "none", "full", "dots"]


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


class FrozenArmsConfig(Config):
    """Corrections that moved one arm: the arm that stood still is not imitated (SPEC §17)."""

    arms: tuple[tuple[int, int], ...] = Field(default=((0, 7), (7, 14)), min_length=2)
    """First action dim of every arm, and one past its last."""
    ratio: float = Field(default=0.25, gt=0, lt=1)
    """An arm stood still if it moved less than this share of what the busiest arm moved."""

    @field_validator("arms")
    @classmethod
    def _arms_are_apart(cls, arms: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        ordered = sorted(arms)
        overlap = any(a[1] > b[0] for a, b in pairwise(ordered))
        if overlap or any(not 0 <= first < end for first, end in arms):
            raise ValueError(f"arms must be separate, non-empty ranges of dims, got {arms}")
        return arms


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
    mask_padded_actions: bool = False
    """Leave out of a policy's loss the actions past the end of an episode, which repeat its last
    one. openpi trains on them."""
    mask_padded_dims: bool = False
    """Leave out of a policy's loss the action dims that the robot does not have."""
    frozen_arms: FrozenArmsConfig | None = None
    """Leave out of a policy's loss the arm that a correction did not move; None: imitate both."""
    negatives: Literal["conditioned", "unconditional"] = "conditioned"
    """``unconditional``: negative frames train without their advantage clause, as in RLinf."""


class ValidationConfig(Config):
    """Measuring a model while it trains, on episodes that it is not trained on."""

    interval: int = Field(default=100, ge=1)
    """Steps between two measurements; the last step is measured too."""
    patience: int | None = Field(default=5, ge=1)
    """Measurements in a row without a new best after which training stops; None: never."""
    max_frames: int | None = Field(default=None, ge=1)
    """Frames that are measured, spread evenly over the validation episodes; None: all."""


class TrainRuntime(AcceleratorRuntime):
    """How training runs."""

    log_interval: int = Field(default=50, ge=1)
    save_interval: int = Field(default=1000, ge=1)
    """Steps between resumable checkpoints."""
    micro_batches: int = Field(default=1, ge=1)
    """Parts that a batch is computed in, one after the other: memory of one part, the gradient of
    the whole batch."""
    remat: RematMode = "auto"
    """What the backward pass computes again: ``none`` keeps all activations, ``dots`` the products
    with weights, ``full`` only what passes from layer to layer; ``auto`` is ``none`` for models of
    up to four layers, else ``full``."""
    num_devices: int | None = Field(default=None, ge=1)
    """Devices to use; None: all."""
    fsdp_devices: int = Field(default=1, ge=1)
    """Devices that share one copy of the training state; batches are split over all devices."""
    fsdp_min_bytes: int = Field(default=4 << 20, ge=1)
    """Leaves of the training state below this size are not split."""
    coordinator: str | None = None
    """``host:port`` of the first of several processes that train together; None: this one alone."""
    num_processes: int | None = Field(default=None, ge=1)
    process_id: int | None = Field(default=None, ge=0)
    images: Literal["auto", "cache", "decode"] = "auto"
    """``cache`` keeps every video decoded at the model's size, in ``RECAP_HOME/cache/frames``, for
    all trainings on it; ``decode`` decodes during training; ``auto`` caches what fits, and decodes
    larger data where it is ordered in blocks."""
    image_cache_gb: float | None = Field(default=None, gt=0)
    """Most that decoded videos may take on the disk; None: 80 % of what is free there, their own
    files included."""
    features: Literal["auto", "cache", "recompute"] = "auto"
    """Of a value model whose vision encoder is frozen: ``cache`` computes the encoder's tokens of
    all images once and keeps them in ``RECAP_HOME/cache/features`` for all trainings with the same
    encoder; ``recompute`` runs it in every step; ``auto`` caches where images are not augmented,
    every one is seen more than once, and the tokens fit on the disk."""
    feature_cache_gb: float | None = Field(default=None, gt=0)
    """Most that the tokens may take on the disk; None: as ``image_cache_gb``."""
    vqa_file: Path | None = None
    """Questions about images that a value model is co-trained with: the file whose digest its
    settings hold."""
    vqa_images: Path | None = None
    """Directory of the images of ``vqa_file``."""

    @model_validator(mode="after")
    def _hosts_are_complete(self) -> "TrainRuntime":
        several = (self.coordinator, self.num_processes, self.process_id)
        if any(part is not None for part in several) and any(part is None for part in several):
            raise ValueError(
                "coordinator, num_processes and process_id go together: set all three, or none"
            )
        if self.coordinator is not None and self.num_devices is not None:
            raise ValueError("num_devices is for one process; several processes use all devices")
        return self
