"""Gemma with two experts: two token streams, each with weights of its own, and one attention.

The first expert (the VLM) reads images and text, the second the noisy actions. Every layer projects
both streams to queries, keys and values, lets all tokens attend together under one mask, and
returns to each stream's width. Weights are stacked over layers; the second expert's names end in
``_1``, as in openpi.

    x = x + gate * attention(norm(x)),  x = x + gate * mlp(norm(x)),  mlp = (gelu(y g0) * (y g1)) W
    norm(x) = x / rms(x) * (1 + scale) + shift

``scale`` is a parameter (then ``gate`` is 1 and ``shift`` 0), or all three come from a condition
vector through a linear layer (adaRMS, the flow time of pi0.5).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from recap_core.config.policy import GemmaConfig
from recap_core.models.attention import attend, rotate
from recap_core.models.layers import LayerLoop
from recap_core.models.lora import (
    attention_weight,
    contract,
    expand,
    feed_forward_weight,
    init_adapter,
)
from recap_core.models.parameters import Params, dense, normal

NORM_EPS = 1e-6


class KeyValueCache(NamedTuple):
    """Rotated keys, and values, of every layer."""

    keys: Float[Array, "depth b s k d"]
    values: Float[Array, "depth b s k d"]


class Streams(NamedTuple):
    """Tokens of each expert; None where an expert has none in this pass."""

    vlm: Float[Array, "b t1 d1"] | None
    expert: Float[Array, "b t2 d2"] | None


class Context(NamedTuple):
    """What all layers share. ``s`` counts cached tokens, then the streams' tokens in order."""

    positions: Int[Array, "b t"]
    mask: Bool[Array, "b t s"]
    condition: Float[Array, "b c"] | None
    """Of the second expert's adaRMS norms."""


class Gemma:
    """The two experts as functions of a parameter tree; holds no arrays."""

    def __init__(  # noqa: PLR0913 - sizes and keyword-only options
        self,
        vlm: GemmaConfig,
        expert: GemmaConfig,
        *,
        vocab_size: int,
        adaptive: bool,
        compute_dtype: DTypeLike = jnp.float32,
        loop: LayerLoop = LayerLoop(),
    ) -> None:
        """Describe the model.

        Args:
            vlm: First expert; owns the embedding table.
            expert: Second expert; same depth, heads and head_dim.
            vocab_size: Rows of the embedding table.
            adaptive: Whether the second expert's norms are adaRMS.
            compute_dtype: Type of activations; norms, rotation and softmax are float32.
            loop: How the layers are compiled.
        """
        self.vlm = vlm
        self.expert = expert
        self.vocab_size = vocab_size
        self.adaptive = adaptive
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.loop = loop

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh float32 parameters.

        Weights are LeCun normal over what they sum, the embedding has std 1/sqrt(width) (lookups
        multiply by sqrt(width)), RMSNorm scales are zero, adapters normal with std 0.01.
        """
        embed_key, layer_key = jax.random.split(key)
        table = jax.random.normal(embed_key, (self.vocab_size, self.vlm.width))
        return {
            "embedder": {"input_embedding": table * self.vlm.width**-0.5},
            "layers": self._init_layers(layer_key),
            "final_norm": _init_norm((self.vlm.width,), adaptive=False),
            "final_norm_1": _init_norm((self.expert.width,), adaptive=self.adaptive),
        }

    def _init_layers(self, key: PRNGKeyArray) -> Params:
        # Stacked weights are drawn at once: mapping over layers takes XLA ten times as long.
        depth = self.vlm.depth
        attn: Params = {}
        layers: Params = {"attn": attn}
        experts = (("", self.vlm, False), ("_1", self.expert, self.adaptive))
        for suffix, config, adaptive in experts:
            attention_key, mlp_key = jax.random.split(jax.random.fold_in(key, len(suffix)))
            for name, weight in _init_attention(attention_key, config, depth).items():
                attn[name + suffix] = weight
            layers[f"mlp{suffix}"] = _init_feed_forward(mlp_key, config, depth)
            for name in ("pre_attention_norm", "pre_ffw_norm"):
                norm = _init_norm((depth, config.width), adaptive=adaptive)
                layers[name + suffix] = norm
        return layers

    def embed(self, params: Params, tokens: Int[Array, "b l"]) -> Float[Array, "b l d"]:
        """Embeddings of token ids times sqrt(width), in the compute dtype."""
        table = params["embedder"]["input_embedding"]
        rows = jnp.take(table, tokens, axis=0, mode="clip")
        return (rows * jnp.sqrt(self.vlm.width).astype(table.dtype)).astype(self.compute_dtype)

    def forward(
        self,
        params: Params,
        streams: Streams,
        context: Context,
        cache: KeyValueCache | None = None,
        *,
        vlm_output: bool = True,
    ) -> Streams:
        """Run all layers and the final norms.

        Args:
            params: Tree as ``init`` makes it, any float type.
            streams: At least one of the two.
            context: Mask rows and positions in the streams' order.
            cache: Keys and values of an earlier pass; the mask's first columns are theirs.
            vlm_output: False returns None for the VLM's own output; unrolled layers then skip what
                only it needs: the queries, attention and feed-forward of the last layer.

        Returns:
            Outputs in the compute dtype; rows of padded tokens mean nothing.
        """
        streams, context = self._cast(streams, context)

        def step(
            streams: Streams,
            layer: tuple[Params, KeyValueCache | None, Bool[Array, ""] | None],
        ) -> tuple[Streams, None]:
            params, cache, is_last = layer
            return self._layer(params, streams, context, cache, is_last)[0], None

        layers = (params["layers"], cache, self._is_last(vlm_output=vlm_output))
        streams, _ = self.loop.scan(step, streams, layers)
        return _final_norms(params, streams, context, vlm_output=vlm_output)

    def encode(
        self,
        params: Params,
        streams: Streams,
        context: Context,
        *,
        vlm_output: bool = True,
    ) -> tuple[Streams, KeyValueCache]:
        """As ``forward``, and the keys and values for later passes."""
        streams, context = self._cast(streams, context)

        def step(
            streams: Streams, layer: tuple[Params, Bool[Array, ""] | None]
        ) -> tuple[Streams, KeyValueCache]:
            params, is_last = layer
            return self._layer(params, streams, context, None, is_last)

        layers = (params["layers"], self._is_last(vlm_output=vlm_output))
        streams, cache = self.loop.scan(step, streams, layers)
        return _final_norms(params, streams, context, vlm_output=vlm_output), cache

    def _is_last(self, *, vlm_output: bool) -> Bool[Array, " depth"] | None:
        """Where the VLM stream needs no update; None: nowhere.

        Only where layers are unrolled, so that the branch is gone once it is compiled: in a loop it
        would hand everything that its gradient needs from branch to branch.
        """
        if vlm_output or not self.loop.unroll:
            return None
        return jnp.arange(self.vlm.depth) == self.vlm.depth - 1

    def _cast(self, streams: Streams, context: Context) -> tuple[Streams, Context]:
        dtype = self.compute_dtype
        if context.condition is not None:
            context = context._replace(condition=context.condition.astype(dtype))
        return Streams(*(None if x is None else x.astype(dtype) for x in streams)), context

    def _layer(
        self,
        params: Params,
        streams: Streams,
        context: Context,
        cache: KeyValueCache | None,
        is_last: Bool[Array, ""] | None,
    ) -> tuple[Streams, KeyValueCache]:
        """One layer, its slice of the cache, and whether it leaves the VLM stream as it is."""
        vlm, expert = streams
        parts, start = [], 0
        for x, suffix, config, condition in (
            (vlm, "", self.vlm, None),
            (expert, "_1", self.expert, context.condition),
        ):
            if x is not None:
                rows = slice(start, start := start + x.shape[1])
                y, gate = rms_norm(params[f"pre_attention_norm{suffix}"], x, condition)
                parts.append(_Part(x, y, gate, rows, suffix, config, condition))
        pairs = [_keys_and_values(params["attn"], part) for part in parts]
        k, v = (jnp.concatenate(both, axis=1) for both in zip(*pairs, strict=True))
        k = rotate(k, context.positions)
        if cache is not None:
            k = jnp.concatenate([cache.keys, k], axis=1)
            v = jnp.concatenate([cache.values, v], axis=1)
        here = KeyValueCache(k, v)
        for part in parts:
            # Every row of the attention stands alone, so the streams may be updated one by one.
            if part.suffix:
                expert = self._updated(params, part, context, here)
            elif is_last is None:
                vlm = self._updated(params, part, context, here)
            else:
                vlm = self._updated_unless(is_last, params, part, context, here)
        return Streams(vlm, expert), here

    def _updated_unless(
        self,
        is_last: Bool[Array, ""],
        params: Params,
        part: "_Part",
        context: Context,
        cache: KeyValueCache,
    ) -> Float[Array, "b t d"]:
        """``_updated``, or the stream as it is.

        A branch hands everything that its gradient needs to the backward pass as separate arrays.
        So only products are kept, and what lies between them is computed again, as XLA does where
        there is no branch.
        """
        update = jax.checkpoint(
            partial(self._updated, params, part, context, cache),
            policy=jax.checkpoint_policies.dots_saveable,
            prevent_cse=False,
        )
        return jax.lax.cond(is_last, lambda: part.x, update)

    def _updated(
        self, params: Params, part: "_Part", context: Context, cache: KeyValueCache
    ) -> Float[Array, "b t d"]:
        """One stream after its attention to ``cache`` and its feed-forward."""
        weight = attention_weight(params["attn"][f"q_einsum{part.suffix}"], part.config)
        q = rotate(expand(part.normed, weight), context.positions[:, part.rows])
        mask = context.mask[:, part.rows]
        mixed = attend(q * self.vlm.head_dim**-0.5, cache.keys, cache.values, mask)
        weight = attention_weight(params["attn"][f"attn_vec_einsum{part.suffix}"], part.config)
        x = _gated_sum(part.x, contract(mixed, weight), part.gate)
        y, gate = rms_norm(params[f"pre_ffw_norm{part.suffix}"], x, part.condition)
        return _gated_sum(x, feed_forward(params[f"mlp{part.suffix}"], y), gate)


class _Part(NamedTuple):
    """One stream in a layer."""

    x: Float[Array, "b t d"]
    normed: Float[Array, "b t d"]
    gate: Float[Array, "b 1 d"] | None
    """Of the attention's residual branch."""
    rows: slice
    """Where its tokens are among all tokens of the pass."""
    suffix: str
    config: GemmaConfig
    condition: Float[Array, "b c"] | None


def rms_norm(
    params: Params, x: Float[Array, "b t d"], condition: Float[Array, "b c"] | None
) -> tuple[Float[Array, "b t d"], Float[Array, "b 1 d"] | None]:
    """RMSNorm in float32, result in ``x``'s type, and the gate of the residual branch.

    With a ``scale`` parameter the gate is None (that is, 1) and the condition is not read.
    """
    exact = x.astype(jnp.float32)
    normed = exact * jax.lax.rsqrt(jnp.mean(jnp.square(exact), -1, keepdims=True) + NORM_EPS)
    if "scale" in params:
        scale = params["scale"].astype(jnp.float32).reshape(1, 1, -1)
        return (normed * (1 + scale)).astype(x.dtype), None
    if condition is None:
        raise ValueError("an adaptive norm needs a condition, got None")
    modulation = dense(params["Dense_0"], condition, x.dtype)[:, None, :]
    scale, shift, gate = jnp.split(modulation, 3, axis=-1)
    normed = normed * (1 + scale.astype(jnp.float32)) + shift.astype(jnp.float32)
    return normed.astype(x.dtype), gate


def feed_forward(params: Params, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """Gated tanh-gelu layer, in ``x``'s type."""
    gating = feed_forward_weight(params, "gating_einsum")
    gate = jax.nn.gelu(expand(x, gating.part(0)), approximate=True)
    return expand(gate * expand(x, gating.part(1)), feed_forward_weight(params, "linear"))


def _final_norms(
    params: Params, streams: Streams, context: Context, *, vlm_output: bool
) -> Streams:
    vlm, expert = streams
    if not vlm_output:
        vlm = None
    if vlm is not None:
        vlm, _ = rms_norm(params["final_norm"], vlm, None)
    if expert is not None:
        expert, _ = rms_norm(params["final_norm_1"], expert, context.condition)
    return Streams(vlm, expert)


def _keys_and_values(
    params: Params, part: _Part
) -> tuple[Float[Array, "b t k h"], Float[Array, "b t k h"]]:
    """Keys (not yet rotated) and values of one stream's tokens."""
    pair = attention_weight(params[f"kv_einsum{part.suffix}"], part.config)
    return expand(part.normed, pair.part(0)), expand(part.normed, pair.part(1))


def _gated_sum(
    x: Float[Array, "b t d"], branch: Float[Array, "b t d"], gate: Float[Array, "b 1 d"] | None
) -> Float[Array, "b t d"]:
    return x + branch if gate is None else x + branch * gate


def _init_norm(shape: tuple[int, ...], *, adaptive: bool) -> Params:
    """A norm, or one per layer: the last axis is the width."""
    if not adaptive:
        return {"scale": jnp.zeros(shape)}
    *layers, width = shape
    # Open gates: every block starts as a plain pre-norm block, whatever the flow time.
    gate_open = jnp.concatenate([jnp.zeros((*layers, 2 * width)), jnp.ones(shape)], axis=-1)
    return {"Dense_0": {"kernel": jnp.zeros((*shape, 3 * width)), "bias": gate_open}}


def _init_attention(key: PRNGKeyArray, config: GemmaConfig, depth: int) -> dict[str, Params]:
    n, k, h, d = config.num_heads, config.num_kv_heads, config.head_dim, config.width
    keys = jax.random.split(key, 6)
    weights = {
        "q_einsum": _init_einsum(keys[0], (depth, n, d, h), summed=d),
        "kv_einsum": _init_einsum(keys[1], (depth, 2, k, d, h), summed=d),
        "attn_vec_einsum": _init_einsum(keys[2], (depth, n, h, d), summed=n * h),
    }
    params: dict[str, Params] = {name: {"w": w} for name, w in weights.items()}
    if config.lora:
        for adapter_key, (name, w) in zip(keys[3:], weights.items(), strict=True):
            a, b = init_adapter(adapter_key, w.shape, config.lora)
            params[name] |= {"lora_a": a, "lora_b": b}
    return params


def _init_feed_forward(key: PRNGKeyArray, config: GemmaConfig, depth: int) -> Params:
    d, m = config.width, config.mlp_dim
    keys = jax.random.split(key, 4)
    weights = {
        "gating_einsum": _init_einsum(keys[0], (depth, 2, d, m), summed=d),
        "linear": _init_einsum(keys[1], (depth, m, d), summed=m),
    }
    params: Params = dict(weights)
    if config.lora:
        for adapter_key, (name, w) in zip(keys[2:], weights.items(), strict=True):
            a, b = init_adapter(adapter_key, w.shape, config.lora)
            params |= {f"{name}_lora_a": a, f"{name}_lora_b": b}
    return params


def _init_einsum(key: PRNGKeyArray, shape: tuple[int, ...], *, summed: int) -> Array:
    return normal(key, shape) * summed**-0.5
