"""Sizes and inputs of the value model (SPEC §8.1)."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config
from recap_core.config.embodiment import EmbodimentConfig, View
from recap_core.config.policy import (
    ComputeDtype,
    LoraConfig,
    PromptConfig,
    SiglipConfig,
    StateInput,
)

type Fusion = Literal["cross_attention", "stitched"]


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
    lora: LoraConfig | None = None
    """Adapters on all attention and feed-forward weights, every one scaled by ``lora.scale``."""

    @property
    def layer_is_global(self) -> tuple[bool, ...]:
        """Of every layer, whether it attends globally; the others see ``sliding_window``."""
        return tuple((layer + 1) % self.global_every == 0 for layer in range(self.depth))


class ValueModelConfig(Config):
    """SigLIP and Gemma 3 with a 201-bin head over [-1, 0]."""

    gemma: Gemma3Config
    siglip: SiglipConfig
    vocab_size: int = Field(default=262_144, ge=16)
    views: tuple[View, ...] = ("base_0_rgb", "left_wrist_0_rgb")
    """Cameras; empty: no images and no cross-attention."""
    image_px: int = Field(default=224, ge=14)
    image_head: bool = False
    """A linear layer of SigLIP's own width behind SigLIP (``img/head``), which the first version of
    the reference has: needed for weights that were trained with it (241 leaf arrays, not 239)."""
    fusion: Fusion = "cross_attention"
    """``cross_attention`` (the reference): text reads the images, then all tokens see each other,
    mean pool, two-layer head; ``stitched``: images through a two-layer projector in front of the
    text, causal language model, last token, linear head (SPEC §15)."""
    cross_attention_heads: int = Field(default=8, ge=1)
    cross_attention_reads_masked_views: bool = False
    """Let the cross-attention read cameras that a sample does not have, as the reference does: to
    reproduce values of the reference's weights."""
    head_hidden: int = Field(default=320, ge=1)
    """Hidden width of the two-layer head (``cross_attention``)."""
    num_bins: int = Field(default=201, ge=2)
    max_token_len: int = Field(default=48, ge=1)
    state_dim: int = Field(default=32, ge=1)
    """Padded state width where ``state_input`` is ``continuous``."""
    state_input: StateInput = "none"
    """``continuous`` adds one token through ``state_proj`` among the text tokens; ``tokens`` writes
    the state into the prompt, 256 bins; ``none``: the model does not see the state."""
    compute_dtype: ComputeDtype = "bfloat16"

    @property
    def reads_state(self) -> bool:
        """Whether the model sees the state, as a token or as text."""
        return self.state_input != "none"

    @model_validator(mode="after")
    def _cross_attention_exists(self) -> "ValueModelConfig":
        if self.cross_attention_reads_masked_views and self.fusion != "cross_attention":
            raise ValueError(
                f"fusion {self.fusion!r} has no cross-attention; "
                "cross_attention_reads_masked_views must be false"
            )
        if (
            self.views
            and self.fusion == "cross_attention"
            and self.gemma.width % self.cross_attention_heads
        ):
            raise ValueError(
                f"gemma.width {self.gemma.width} is no multiple of cross_attention_heads "
                f"{self.cross_attention_heads}"
            )
        return self


class ValueConfig(Config):
    """A value model: architecture, robot and text."""

    model: ValueModelConfig
    embodiment: EmbodimentConfig = EmbodimentConfig()
    prompt: PromptConfig = PromptConfig(tokenizer="gemma3", advantage=False)
