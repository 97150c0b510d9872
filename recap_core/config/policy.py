"""Sizes and inputs of the policy (pi0, pi0.5, pi0.6)."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config
from recap_core.config.embodiment import EmbodimentConfig, View

type StateInput = Literal["tokens", "continuous", "none"]
type ComputeDtype = Literal["float32", "bfloat16"]

VIEWS: tuple[View, ...] = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")


class LoraConfig(Config):
    """Low-rank adapters on attention and feed-forward weights."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    rank_stabilized: bool = False
    """Attention adapters are scaled by ``alpha / sqrt(rank)`` instead of ``alpha / rank``
    (openpi's ``rslora``)."""

    @property
    def scale(self) -> float:
        """Factor of an attention adapter's output."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)


class GemmaConfig(Config):
    """One Gemma expert."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    mlp_dim: int = Field(ge=8)
    num_heads: int = Field(ge=1)
    num_kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=2, multiple_of=2)
    lora: LoraConfig | None = None


class SiglipConfig(Config):
    """The vision encoder."""

    width: int = Field(ge=8)
    depth: int = Field(ge=1)
    mlp_dim: int = Field(ge=8)
    num_heads: int = Field(ge=1)
    patch_px: int = Field(default=14, ge=2)


class PolicyModelConfig(Config):
    """Architecture of the policy; the parameter tree is openpi's wherever openpi has one."""

    vlm: GemmaConfig
    expert: GemmaConfig
    siglip: SiglipConfig
    vocab_size: int = Field(default=257_152, ge=16)
    views: tuple[View, ...] = VIEWS
    """Cameras in token order; empty: no images, and no SigLIP parameters."""
    image_px: int = Field(default=224, ge=14)
    action_dim: int = Field(default=32, ge=1)
    """Padded action width."""
    state_dim: int | None = Field(default=None, ge=1)
    """Padded width of a continuous state; None: ``action_dim``, as openpi."""
    action_horizon: int = Field(default=50, ge=1)
    max_token_len: int = Field(default=203, ge=1)
    time_input: Literal["adarms", "concat"] = "adarms"
    """How flow time enters: adaptive RMSNorm (pi0.5) or joined to the action tokens (pi0)."""
    state_input: StateInput = "tokens"
    """``tokens``: 256-bin text in the prompt; ``continuous``: one suffix token through
    ``state_proj``; ``none``: the policy does not see the state."""
    compute_dtype: ComputeDtype = "bfloat16"

    @model_validator(mode="after")
    def _experts_share_attention(self) -> "PolicyModelConfig":
        for field in ("depth", "num_heads", "num_kv_heads", "head_dim"):
            a, b = getattr(self.vlm, field), getattr(self.expert, field)
            if a != b:
                raise ValueError(
                    f"vlm.{field} is {a} and expert.{field} is {b}; they must be equal"
                )
        return self


class PromptConfig(Config):
    """The text in front of the actions."""

    tokenizer: str = "paligemma"
    """``tiny`` (committed, 400 pieces), ``paligemma`` or ``gemma3`` (looked up in the weights
    directory), or a path to a sentencepiece model."""
    tokenizer_digest: str | None = None
    """blake2b-128 of the model file; filled in when the config is resolved, so that a stage key
    depends on the text the model really reads."""
    advantage: bool = True
    """Carry ``Advantage: <adv_ind>`` in the prompt (pi0.6)."""
    advantage_dropout: float = Field(default=0.3, ge=0, le=1)
    """Share of training samples without the clause; serving never drops it."""


class PolicyConfig(Config):
    """A policy: architecture, robot and prompt. The same for training and serving."""

    model: PolicyModelConfig
    embodiment: EmbodimentConfig = EmbodimentConfig()
    prompt: PromptConfig = PromptConfig()
    num_denoise_steps: int = Field(default=10, ge=1, le=1000)
    guidance: float = Field(default=1.0, ge=0)
    """Classifier-free guidance beta at sampling; 1 asks for the conditioned policy alone."""
