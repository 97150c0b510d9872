"""Low-rank adapters beside a weight, and the two products that every Gemma weight takes part in.

A weight of shape ``[*heads, i, o]`` has ``lora_a [*heads, i, r]`` and ``lora_b [*heads, r, o]``.

    expand      y[g, o] = sum_i x[i] (w[g, i, o] + scale * sum_r a[g, i, r] b[g, r, o])
    contract    y[o]    = sum_gi x[g, i] (w[g, i, o] + scale * sum_r a[g, i, r] B[r, o])
                B       = sum_g b[g]: both sides of an adapter sum over the heads, as in openpi

openpi scales adapters by ``alpha / rank`` (or ``alpha / sqrt(rank)``, rank-stabilised) in attention
and by 1 in the feed-forward layers. Gemma 3, which no openpi model adapts, scales all by the first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.config.policy import GemmaConfig, LoraConfig
from recap_core.models.parameters import Params, normal

_INIT_STD = 0.01


class Weight(NamedTuple):
    """A weight with or without an adapter."""

    w: Float[Array, "*heads i o"]
    lora_a: Float[Array, "*heads i r"] | None = None
    lora_b: Float[Array, "*heads r o"] | None = None
    scale: float = 1.0

    def part(self, index: int) -> "Weight":
        """Entry ``index`` of the first head axis."""
        a, b = self.lora_a, self.lora_b
        return self._replace(
            w=self.w[index],
            lora_a=None if a is None else a[index],
            lora_b=None if b is None else b[index],
        )


def init_adapter(
    key: PRNGKeyArray, shape: tuple[int, ...], config: LoraConfig
) -> tuple[Float[Array, "*heads i r"], Float[Array, "*heads r o"]]:
    """Both sides of an adapter for a weight of ``shape``: normal with std 0.01.

    Neither side is zero, as in openpi: a fresh adapter changes the outputs a little.
    """
    a_key, b_key = jax.random.split(key)
    *heads, i, o = shape
    a = normal(a_key, (*heads, i, config.rank)) * _INIT_STD
    b = normal(b_key, (*heads, config.rank, o)) * _INIT_STD
    return a, b


def init_silent_adapter(
    key: PRNGKeyArray, shape: tuple[int, ...], config: LoraConfig
) -> tuple[Float[Array, "*heads i r"], Float[Array, "*heads r o"]]:
    """As :func:`init_adapter`, but ``lora_b`` is zero: changes no output until it is trained."""
    a, b = init_adapter(key, shape, config)
    return a, jnp.zeros_like(b)


def attention_weight(params: Params, config: GemmaConfig) -> Weight:
    """The weight of one attention projection."""
    scale = config.lora.scale if config.lora else 1.0
    return Weight(params["w"], params.get("lora_a"), params.get("lora_b"), scale)


def feed_forward_weight(params: Params, name: str) -> Weight:
    """The weight ``name`` of a feed-forward layer."""
    return Weight(params[name], params.get(f"{name}_lora_a"), params.get(f"{name}_lora_b"))


def expand(x: Float[Array, "b t i"], weight: Weight) -> Float[Array, "b t *heads o"]:
    """Every head's view of ``x``, computed in ``x``'s type."""
    y = jnp.einsum("bti,...io->bt...o", x, weight.w.astype(x.dtype))
    if weight.lora_a is None or weight.lora_b is None:
        return y
    low = jnp.einsum("bti,...ir->bt...r", x, weight.lora_a.astype(x.dtype))
    high = jnp.einsum("bt...r,...ro->bt...o", low, weight.lora_b.astype(x.dtype))
    return y + high * weight.scale


def contract(x: Float[Array, "b t g i"], weight: Weight) -> Float[Array, "b t o"]:
    """All heads of ``x`` brought back into one vector, computed in ``x``'s type."""
    y = jnp.einsum("btgi,gio->bto", x, weight.w.astype(x.dtype))
    if weight.lora_a is None or weight.lora_b is None:
        return y
    low = jnp.einsum("btgi,gir->btr", x, weight.lora_a.astype(x.dtype))
    high = low @ jnp.sum(weight.lora_b, axis=0).astype(x.dtype)
    return y + high * weight.scale


def merge_adapters(params: Params, vlm: GemmaConfig, expert: GemmaConfig) -> Params:
    """A policy's tree with every adapter folded into its weight, and no adapter leaves.

    The result belongs to the same configuration without LoRA and computes the same function. A
    merged weight has the wider of its own and its adapter's types: bfloat16 would round the
    adapters of a training run away, whose frozen weights are kept in it.

    Args:
        params: Tree of a policy, with adapters on both, one or no expert.
        vlm: First expert, with the adapters' scale.
        expert: Second expert, likewise.
    """
    llm = params["PaliGemma"]["llm"]
    layers, attn = dict(llm["layers"]), {}
    for suffix, config in (("", vlm), ("_1", expert)):
        for name in ("q_einsum", "kv_einsum", "attn_vec_einsum"):
            weight = attention_weight(layers["attn"][name + suffix], config)
            attn[name + suffix] = {"w": merged_weight(weight, sums_heads=name == "attn_vec_einsum")}
        mlp = layers[f"mlp{suffix}"]
        layers[f"mlp{suffix}"] = {
            name: merged_weight(feed_forward_weight(mlp, name))
            for name in ("gating_einsum", "linear")
        }
    layers["attn"] = attn
    return params | {"PaliGemma": params["PaliGemma"] | {"llm": llm | {"layers": layers}}}


def merged_weight(weight: Weight, *, sums_heads: bool = False) -> Float[Array, "depth *heads i o"]:
    """``w`` plus the product of its adapter's sides, over all layers.

    Args:
        weight: Stacked over layers.
        sums_heads: Of an output projection, whose ``lora_b`` is summed over the heads.
    """
    if weight.lora_a is None or weight.lora_b is None:
        return weight.w
    a, b = weight.lora_a.astype(jnp.float32), weight.lora_b.astype(jnp.float32)
    if sums_heads:
        b = jnp.broadcast_to(jnp.sum(b, axis=1, keepdims=True), b.shape)
    product = jnp.einsum("...ir,...ro->...io", a, b) * weight.scale
    dtype = jnp.promote_types(weight.w.dtype, weight.lora_a.dtype)
    return (weight.w.astype(jnp.float32) + product).astype(dtype)
