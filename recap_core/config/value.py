"""Sizes and inputs of the value model (SPEC §8.1)."""

from pydantic import Field, model_validator

from recap_core.config.base import Config
from recap_core.config.embodiment import EmbodimentConfig, View
from recap_core.config.policy import ComputeDtype, PromptConfig, SiglipConfig, StateInput


class Gemma3Config(Config):
    """The language model of the value model."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    mlp_dim: int = Field(ge=8)
    num_heads: int = Field(ge=1)
    num_kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=2, multiple_of=2)
    sliding_window: int = Field(default=512, ge=1)
    """Reach of the local layers, tokens on each side."""
    global_every: int = Field(default=6, ge=1)
    """Every n-th layer attends globally."""
    local_rope_base: float = 10_000.0
    global_rope_base: float = 1_000_000.0


class ValueModelConfig(Config):
    """SigLIP, cross-attention and Gemma 3 with a 201-bin head over [-1, 0]."""

    gemma: Gemma3Config
    siglip: SiglipConfig
    vocab_size: int = Field(default=262_144, ge=16)
    views: tuple[View, ...] = ("base_0_rgb", "left_wrist_0_rgb")
    """Cameras; empty: no images and no cross-attention."""
    image_px: int = Field(default=224, ge=14)
    cross_attention_heads: int = Field(default=8, ge=1)
    head_hidden: int = Field(default=320, ge=1)
    num_bins: int = Field(default=201, ge=2)
    max_token_len: int = Field(default=48, ge=1)
    state_dim: int = Field(default=32, ge=1)
    """Padded state width where ``state_input`` is ``continuous``."""
    state_input: StateInput = "none"
    """``continuous`` adds one token through ``state_proj`` among the text tokens."""
    compute_dtype: ComputeDtype = "bfloat16"

    @model_validator(mode="after")
    def _state_is_no_text(self) -> "ValueModelConfig":
        if self.state_input == "tokens":
            raise ValueError("the value model reads state as 'continuous' or 'none', not 'tokens'")
        return self


class ValueConfig(Config):
    """A value model: architecture, robot and text."""

    model: ValueModelConfig
    embodiment: EmbodimentConfig = EmbodimentConfig()
    prompt: PromptConfig = PromptConfig(tokenizer="gemma3", advantage=False)
