"""Import and export of policies that other software trains and serves."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.policy import PolicyConfig

type PolicyLayout = Literal["openpi", "lerobot"]


class ImportPolicyConfig(Config):
    """A policy from outside the store: which files, and what they are."""

    policy: PolicyConfig
    """Architecture, robot and prompt that it was trained with; files do not say all of it."""
    layout: PolicyLayout
    source_digest: str
    """Digest of the files that hold the parameters."""
    norm_stats: dict[str, dict[str, tuple[float, ...]]] | None = None
    """Whole content of the norm stats, so that other numbers are another artifact; None: a base
    policy, to start trainings from."""


class ExportPolicyConfig(Config):
    """How a policy is written for other software."""

    layout: PolicyLayout = "openpi"
    step: int | None = Field(default=None, ge=0)
    """openpi: number of the step directory; None: the index of the policy's last training step."""
    nnx_values: bool | None = None
    """openpi: one level ``value`` below every leaf; None: as the policy is stored."""
    merge_lora: bool = False
    """Fold LoRA adapters into their weights."""
    vision_model: bool = True
    """lerobot: names of transformers before 5.6, which lerobot 0.6 pins."""
