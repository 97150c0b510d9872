"""Import of published weights as a value model that trainings start from."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config
from recap_core.config.labels import TargetConfig
from recap_core.config.value import ValueConfig

type ValueLayout = Literal[
    "value_model", "big_vision", "deepmind_gemma", "transformers_siglip", "transformers_gemma"
]
"""Whose files: the reference's value training (Orbax), big_vision's SigLIP (npz), DeepMind's
Gemma 3 (Orbax), or ``save_pretrained`` of transformers (safetensors)."""

type Part = Literal["all", "backbones"]
"""What is taken of a value model: every part that it holds, or SigLIP and Gemma alone."""


class WeightSourceConfig(Config):
    """One checkpoint outside the store: which files, and what is taken of them."""

    layout: ValueLayout
    digest: str
    """Of the files that hold the weights."""
    take: tuple[str, ...]
    """Top groups of the value model that it fills."""
    ema: bool = False
    """Of a value model: the averaged parameters instead of the raw ones."""


class ImportValueConfig(Config):
    """A value model from weights outside the store."""

    value: ValueConfig
    sources: tuple[WeightSourceConfig, ...] = Field(min_length=1)
    min_match: float = Field(default=1.0, gt=0, le=1)
    """Share of the leaves that must be found, of the parts that the sources hold."""
    seed: int = Field(default=0, ge=0)
    """Of the leaves that no source holds."""
    targets: TargetConfig = TargetConfig()
    """What the values of a model that is imported whole count."""
