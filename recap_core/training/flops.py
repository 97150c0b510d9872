"""Floating-point operations that a policy or value model needs, counted from its architecture.

Products of matrices are counted, each multiplication and addition as one: m x n x k takes 2 m n k.
Norms, softmax and the like are not. What remat computes again is not needed, so it does not count.
Attention counts every pair of tokens of a pass, as is usual.
"""

from typing import Literal, NamedTuple

from recap_core.config.policy import GemmaConfig, PolicyModelConfig, SiglipConfig
from recap_core.config.value import ValueModelConfig

_PEAKS = (
    ("B200", 2250e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("A10G", 70e12),
    ("RTX 5090", 209.5e12),
    ("RTX 4090", 165.2e12),
    ("RTX 3090", 71e12),
)
"""bfloat16 FLOP/s with float32 sums, without sparsity, by a part of the device's name; the first
that fits counts. From the makers' data sheets."""


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of a device; None if it is not known (a CPU, for one).

    Args:
        device_kind: ``jax.Device.device_kind``, such as ``NVIDIA H100 80GB HBM3``.
    """
    return next((peak for part, peak in _PEAKS if part in device_kind), None)


class Flops(NamedTuple):
    """Operations per sample."""

    forward: int
    backward: int
    """For the gradients of the leaves that train, and of all activations on the way to them."""

    @property
    def train(self) -> int:
        """Forward and backward pass."""
        return self.forward + self.backward

    def plus(self, other: "Flops", *, times: int = 1) -> "Flops":
        """The sum with ``times`` times ``other``."""
        return Flops(self.forward + times * other.forward, self.backward + times * other.backward)


_NONE = Flops(0, 0)


def policy_flops(config: PolicyModelConfig) -> Flops:
    """Operations to train the policy on one sample, frozen weights left without gradients."""
    num_prefix, num_suffix = _num_tokens(config)
    total = _NONE
    if config.views:
        total = total.plus(_siglip(config), times=len(config.views))
    total = total.plus(_gemma(config, num_prefix, num_suffix))
    return total.plus(_suffix_projections(config))


def sampling_flops(config: PolicyModelConfig, *, num_steps: int) -> int:
    """Operations to sample one chunk of actions without guidance, the prefix encoded once."""
    num_prefix, num_suffix = _num_tokens(config)
    prefix = _gemma(config, num_prefix, 0).forward
    if config.views:
        prefix += len(config.views) * _siglip(config).forward
    step = _keys_and_values(config.expert, num_suffix).forward
    step += _update(config.expert, num_suffix, num_prefix + num_suffix).forward
    if config.time_input == "adarms":
        step += _modulation(config).forward
    step = config.expert.depth * step + _suffix_projections(config).forward
    if config.time_input == "adarms":
        step += _final_modulation(config).forward
    return prefix + num_steps * step


def value_flops(
    config: ValueModelConfig,
    *,
    train: bool,
    freeze: Literal["none", "siglip_only", "all_backbones"] = "none",
    cached_features: bool = False,
) -> int:
    """Operations of the value model on one sample.

    Args:
        config: Its sizes.
        train: Forward and backward pass; False: forward only.
        freeze: Which encoders are not trained, adapters aside. Gradients still pass through a
            frozen language model, to what is trained below it.
        cached_features: SigLIP's tokens are read, not computed.
    """
    frozen_llm = freeze == "all_backbones"
    num_images, num_text = _num_value_tokens(config)
    num_tokens = num_images + num_text
    total = _NONE
    if config.views:
        total = total.plus(_value_images(config, freeze == "none", cached_features))
    if config.views and config.fusion == "cross_attention":
        total = total.plus(_cross_attention(config, num_text, num_images))
    if config.state_input == "continuous":
        total = total.plus(_first_product(1, config.state_dim, config.gemma.width))
    gemma = GemmaConfig(**config.gemma.model_dump(include=set(GemmaConfig.model_fields)))
    layer = _keys_and_values(gemma, num_tokens, frozen=frozen_llm)
    layer = layer.plus(_update(gemma, num_tokens, num_tokens, frozen=frozen_llm))
    encoded = _NONE.plus(layer, times=config.gemma.depth)
    if config.fusion == "cross_attention":  # the mean over tokens
        encoded = encoded.plus(_product(1, num_tokens, config.gemma.width, frozen=True))
    if frozen_llm and gemma.lora is None and total == _NONE:
        encoded = Flops(encoded.forward, 0)  # nothing below is trained
    total = total.plus(encoded).plus(_value_head(config))
    return total.train if train else total.forward


def _num_tokens(config: PolicyModelConfig) -> tuple[int, int]:
    patches = _num_patches(config.siglip, config.image_px)
    prefix = len(config.views) * patches + config.max_token_len
    return prefix, config.action_horizon + (config.state_input == "continuous")


def _product(rows: int, in_dim: int, out_dim: int, *, frozen: bool = False) -> Flops:
    """``x @ w``: one more product for the gradient of x, and one for that of w."""
    forward = 2 * rows * in_dim * out_dim
    return Flops(forward, forward if frozen else 2 * forward)


def _first_product(rows: int, in_dim: int, out_dim: int) -> Flops:
    """``x @ w`` of an input of the model, which has no gradient."""
    forward = 2 * rows * in_dim * out_dim
    return Flops(forward, forward)


def _siglip(config: PolicyModelConfig) -> Flops:
    """One view, with its projection into the VLM."""
    patches = _num_patches(config.siglip, config.image_px)
    encoder = _siglip_encoder(config.siglip, patches)
    return encoder.plus(_product(patches, config.siglip.width, config.vlm.width))


def _num_patches(siglip: SiglipConfig, image_px: int) -> int:
    return (image_px // siglip.patch_px) ** 2


def _siglip_encoder(siglip: SiglipConfig, patches: int) -> Flops:
    """One view, to the encoder's last norm."""
    width = siglip.width
    total = _first_product(patches, siglip.patch_px**2 * 3, width)
    layer = _product(patches, width, width)
    layer = layer.plus(layer, times=3)  # query, key, value, out
    layer = layer.plus(_attention_products(patches**2, width))
    layer = layer.plus(_product(patches, width, siglip.mlp_dim), times=2)
    return total.plus(layer, times=siglip.depth)


def _gemma(config: PolicyModelConfig, num_prefix: int, num_suffix: int) -> Flops:
    """Both experts in one pass; the VLM's own output, which nobody reads, is not computed."""
    num_tokens = num_prefix + num_suffix
    layer = _keys_and_values(config.vlm, num_prefix)
    if num_suffix:
        layer = layer.plus(_keys_and_values(config.expert, num_suffix))
        layer = layer.plus(_update(config.expert, num_suffix, num_tokens))
        if config.time_input == "adarms":
            layer = layer.plus(_modulation(config))
    total = _NONE.plus(layer, times=config.vlm.depth)
    update = _update(config.vlm, num_prefix, num_tokens)
    total = total.plus(update, times=config.vlm.depth - 1)
    if num_suffix and config.time_input == "adarms":
        total = total.plus(_final_modulation(config))
    return total


def _keys_and_values(config: GemmaConfig, num_tokens: int, *, frozen: bool = False) -> Flops:
    """One layer's keys and values of one expert's tokens."""
    return _into_heads(config, num_tokens, 2 * config.num_kv_heads, frozen=frozen)


def _update(config: GemmaConfig, num_tokens: int, num_seen: int, *, frozen: bool = False) -> Flops:
    """The rest of one layer of one expert: queries, attention to ``num_seen``, feed-forward."""
    heads, width = config.num_heads, config.width
    head_dim, mlp, frozen = config.head_dim, config.mlp_dim, frozen or config.lora is not None
    total = _into_heads(config, num_tokens, heads, frozen=frozen)
    total = total.plus(_attention_products(num_tokens * num_seen, heads * head_dim))
    total = total.plus(_product(num_tokens, heads * head_dim, width, frozen=frozen))
    total = total.plus(_product(num_tokens, width, mlp, frozen=frozen), times=3)
    if config.lora is None:
        return total
    rank = config.lora.rank
    total = total.plus(_product(num_tokens, heads * head_dim, rank))
    total = total.plus(_product(num_tokens, rank, width))
    feed_forward = _product(num_tokens, width, rank).plus(_product(num_tokens, rank, mlp))
    return total.plus(feed_forward, times=3)  # two into the hidden layer, one out of it


def _into_heads(
    config: GemmaConfig, num_tokens: int, num_heads: int, *, frozen: bool = False
) -> Flops:
    """Projections to ``num_heads`` heads, adapters included."""
    width, head_dim = config.width, config.head_dim
    frozen = frozen or config.lora is not None
    total = _product(num_tokens, width, num_heads * head_dim, frozen=frozen)
    if config.lora is None:
        return total
    rank = config.lora.rank
    adapter = _product(num_tokens, width, rank).plus(_product(num_tokens, rank, head_dim))
    return total.plus(adapter, times=num_heads)


def _attention_products(pairs: int, width: int) -> Flops:
    """Logits and mixing; both factors of both have gradients."""
    forward = 2 * 2 * pairs * width
    return Flops(forward, 2 * forward)


def _modulation(config: PolicyModelConfig) -> Flops:
    """The two adaRMS layers of one block of the action expert."""
    return _NONE.plus(_final_modulation(config), times=2)


def _final_modulation(config: PolicyModelConfig) -> Flops:
    width = config.expert.width
    return _product(1, width, 3 * width, frozen=config.expert.lora is not None)


def _suffix_projections(config: PolicyModelConfig) -> Flops:
    """Actions, state and time into the action expert's width, and velocities out of it."""
    width, horizon, action_dim = config.expert.width, config.action_horizon, config.action_dim
    total = _first_product(horizon, action_dim, width).plus(_product(horizon, width, action_dim))
    if config.state_input == "continuous":
        total = total.plus(_first_product(1, config.state_dim or action_dim, width))
    if config.time_input == "adarms":
        return total.plus(_first_product(1, width, width)).plus(_product(1, width, width))
    return total.plus(_product(horizon, 2 * width, width)).plus(_product(horizon, width, width))


def _num_value_tokens(config: ValueModelConfig) -> tuple[int, int]:
    """Image and text tokens; the state's is among the text."""
    num_images = len(config.views) * _num_patches(config.siglip, config.image_px)
    return num_images, config.max_token_len + (config.state_input == "continuous")


def _value_images(config: ValueModelConfig, trained: bool, cached: bool) -> Flops:  # noqa: FBT001
    """All views, encoded and projected to the language model's width."""
    patches = _num_patches(config.siglip, config.image_px)
    width, is_stitched = config.siglip.width, config.fusion == "stitched"
    view = _siglip_encoder(config.siglip, patches)
    first_dim = width if is_stitched else config.gemma.width
    if trained and not cached:
        view = view.plus(_product(patches, width, first_dim))
    else:
        view = Flops(0 if cached else view.forward, 0)
        view = view.plus(_first_product(patches, width, first_dim))
    if is_stitched:
        view = view.plus(_product(patches, width, config.gemma.width))
    return _NONE.plus(view, times=len(config.views))


def _cross_attention(config: ValueModelConfig, num_text: int, num_images: int) -> Flops:
    """Text tokens read image tokens."""
    width = config.gemma.width
    total = _NONE.plus(_product(num_text, width, width), times=2)  # queries, out
    total = total.plus(_product(num_images, width, width), times=2)  # keys, values
    return total.plus(_attention_products(num_text * num_images, width))


def _value_head(config: ValueModelConfig) -> Flops:
    width, hidden = config.gemma.width, config.head_hidden
    if config.fusion == "stitched":
        return _product(1, width, config.num_bins)
    return _product(1, width, hidden).plus(_product(1, hidden, config.num_bins))
