"""Gemma 3's text model: embeddings in, one vector per token out (SPEC §8.1).

    block  = x + norm(attention(norm(x))), then x + norm(mlp(norm(x)))       depth times
    result = norm(block output)

Every ``global_every``-th block attends to all valid tokens; the others only to tokens less than
``sliding_window`` away, with a shorter rotary base. Queries and keys are RMS-normalised per head.
All tokens see each other unless a mask says otherwise (a causal one for the published model).
Weights are stacked over layers under ``layers``; einsum weights have openpi's axis order, and
adapters stand beside them as in :mod:`recap_core.models.lora`.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from recap_core.config.policy import LoraConfig
from recap_core.config.value import Gemma3Config
from recap_core.models.attention import attend
from recap_core.models.layers import LayerLoop
from recap_core.models.lora import Weight, init_silent_adapter, merged_weight
from recap_core.models.parameters import Params

NORM_EPS = 1e-6

_ATTENTION_WEIGHTS = ("q_einsum", "kv_einsum", "attn_vec_einsum")
_MLP_WEIGHTS = ("gating_einsum", "linear")


class RotaryTable(NamedTuple):
    """Sine and cosine of every token's rotary angles; one row of tokens, or one per sample."""

    sin: Float[Array, "#b t r"]
    cos: Float[Array, "#b t r"]


class Gemma3:
    """The text model as functions of a parameter tree; holds no arrays."""

    def __init__(
        self,
        config: Gemma3Config,
        *,
        vocab_size: int,
        compute_dtype: DTypeLike = jnp.float32,
        loop: LayerLoop = LayerLoop(),
    ) -> None:
        """Describe a model.

        Args:
            config: Sizes.
            vocab_size: Rows of the embedding.
            compute_dtype: Type of the activations; norms and softmax are float32.
            loop: How the blocks are compiled.
        """
        self.config = config
        self.vocab_size = vocab_size
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.loop = loop

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh float32 parameters: embedded tokens of unit variance, LeCun normal weights.

        Adapters change nothing until they are trained.
        """
        width = self.config.width
        embedding_key, layer_key = jax.random.split(key)
        layer_keys = jax.random.split(layer_key, self.config.depth)
        embedding = jax.random.normal(embedding_key, (self.vocab_size, width)) * width**-0.5
        return {
            "embedder": {"input_embedding": embedding},
            "layers": jax.vmap(functools.partial(init_block, self.config))(layer_keys),
            "final_norm": {"scale": jnp.zeros(width)},
        }

    def embed(self, params: Params, tokens: Int[Array, "b l"]) -> Float[Array, "b l d"]:
        """Embedding of token ids, times sqrt(width), in the compute dtype."""
        rows = params["embedder"]["input_embedding"][tokens].astype(self.compute_dtype)
        return rows * jnp.asarray(self.config.width**0.5, self.compute_dtype)

    def encode(
        self,
        params: Params,
        x: Float[Array, "b t d"],
        valid: Bool[Array, "b t"],
        *,
        mask: Bool[Array, "b t t"] | None = None,
        positions: Int[Array, "b t"] | None = None,
    ) -> Float[Array, "b t d"]:
        """All blocks and the last norm, in the compute dtype.

        Args:
            params: As :meth:`init` makes them.
            x: Embeddings.
            valid: Tokens that may be seen. Rows of other tokens carry no meaning.
            mask: Further restriction of who sees whom: ``[i, j]`` is true where query i may see
                key j (e.g. causal); None: no further one.
            positions: Of every token, below t, for rotation and windows; None: token i has
                position i, valid or not.
        """
        b, t, _ = x.shape
        config = self.config
        near = _near(t, config.sliding_window, positions)
        visible = jnp.broadcast_to(valid[:, None, :], (b, t, t))
        if mask is not None:
            visible &= mask
        local_table = rotary_table(t, config.head_dim, config.local_rope_base, positions)
        global_table = rotary_table(t, config.head_dim, config.global_rope_base, positions)

        adapter_scale = config.lora.scale if config.lora else 1.0

        def step(x: Array, layer: tuple[Params, Array]) -> tuple[Array, None]:
            params, is_global = layer
            table = RotaryTable(*_select(is_global, global_table, local_table))
            layer_mask = visible if near is None else visible & (near | is_global)
            return block(params, x, layer_mask, table, adapter_scale), None

        layers = (params["layers"], jnp.asarray(config.layer_is_global))
        x, _ = self.loop.scan(step, x.astype(self.compute_dtype), layers)
        return rms_norm(params["final_norm"], x)

    def token_logits(
        self, params: Params, encoded: Float[Array, "b t d"]
    ) -> Float[Array, "b t vocab"]:
        """Logits of the next token after each of the ``encoded``, float32.

        The head is the embedding table, which gets no gradient: as :class:`ValueModel` treats it.
        """
        table = jax.lax.stop_gradient(params["embedder"]["input_embedding"])
        return jnp.einsum(
            "btd,vd->btv",
            encoded.astype(self.compute_dtype),
            table.astype(self.compute_dtype),
            preferred_element_type=jnp.float32,
        )


def init_block(config: Gemma3Config, key: PRNGKeyArray) -> Params:
    """Fresh parameters of one block."""
    width, mlp_dim, head_dim = config.width, config.mlp_dim, config.head_dim
    heads, kv_heads = config.num_heads, config.num_kv_heads
    shapes = (
        (heads, width, head_dim),
        (2, kv_heads, width, head_dim),
        (heads, head_dim, width),
        (2, width, mlp_dim),
        (mlp_dim, width),
    )
    # One draw for all weights: every further one costs a compilation of the generator.
    sizes = np.array([math.prod(shape) for shape in shapes])
    flat = jnp.split(jax.random.normal(key, (int(sizes.sum()),)), np.cumsum(sizes)[:-1])
    q, kv, out, gating, linear = (
        weight.reshape(shape) for weight, shape in zip(flat, shapes, strict=True)
    )

    def norm(num_dims: int = width) -> Params:
        return {"scale": jnp.zeros(num_dims)}

    params: Params = {
        "pre_attention_norm": norm(),
        "attn": {
            "q_einsum": {"w": q * width**-0.5},
            "kv_einsum": {"w": kv * width**-0.5},
            "attn_vec_einsum": {"w": out * (heads * head_dim) ** -0.5},
            "query_norm": norm(head_dim),
            "key_norm": norm(head_dim),
        },
        "post_attention_norm": norm(),
        "pre_ffw_norm": norm(),
        "mlp": {
            "gating_einsum": gating * width**-0.5,
            "linear": linear * mlp_dim**-0.5,
        },
        "post_ffw_norm": norm(),
    }
    return params if config.lora is None else _with_adapters(params, config.lora, key)


def merge_adapters(params: Params, config: Gemma3Config) -> Params:
    """``params`` of a text model with every adapter folded into its weight, and no adapter leaves.

    The result belongs to ``config`` without ``lora`` and computes the same function. A merged
    weight has the wider of its own and its adapter's types.

    Args:
        params: The subtree ``llm``, with or without adapters.
        config: Of the model that the adapters were trained in; gives their scale.
    """
    scale = config.lora.scale if config.lora else 1.0
    layers = dict(params["layers"])
    attn = dict(layers["attn"])
    for name in _ATTENTION_WEIGHTS:
        sums_heads = name == "attn_vec_einsum"
        attn[name] = {"w": merged_weight(_attention(attn, name, scale), sums_heads=sums_heads)}
    mlp = layers["mlp"]
    merged = {name: merged_weight(_feed_forward(mlp, name, scale)) for name in _MLP_WEIGHTS}
    return params | {"layers": layers | {"attn": attn, "mlp": merged}}


def block(
    params: Params,
    x: Float[Array, "b t d"],
    mask: Bool[Array, "b t t"],
    table: RotaryTable,
    adapter_scale: float = 1.0,
) -> Float[Array, "b t d"]:
    """One block, in ``x``'s type."""
    y = rms_norm(params["pre_attention_norm"], x)
    y = self_attention(params["attn"], y, mask, table, adapter_scale)
    x = x + rms_norm(params["post_attention_norm"], y)
    y = feed_forward(params["mlp"], rms_norm(params["pre_ffw_norm"], x), adapter_scale)
    return x + rms_norm(params["post_ffw_norm"], y)


def self_attention(
    params: Params,
    x: Float[Array, "b t d"],
    mask: Bool[Array, "b t t"],
    table: RotaryTable,
    adapter_scale: float = 1.0,
) -> Float[Array, "b t d"]:
    """Attention with normalised, rotated queries and keys shared by groups of heads."""
    b, t, width = x.shape
    rows = x.reshape(b * t, width)  # plain matrix products: twice as fast backwards on a CPU
    queries, keys_values, out = (
        _attention(params, name, adapter_scale) for name in _ATTENTION_WEIGHTS
    )

    def project(weight: Weight) -> Float[Array, "b t n h"]:
        return _heads(rows, weight).reshape(b, t, *weight.w.shape[::2])

    q = _turn(rms_norm(params["query_norm"], project(queries)), table)
    k = _turn(rms_norm(params["key_norm"], project(keys_values.part(0))), table)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    mixed = attend(q, k, project(keys_values.part(1)), mask)
    return _product(mixed.reshape(b * t, -1), _joined(out)).reshape(b, t, width)


def feed_forward(
    params: Params, x: Float[Array, "b t d"], adapter_scale: float = 1.0
) -> Float[Array, "b t d"]:
    """``(gelu(x W0) * (x W1)) W2`` with the tanh gelu."""
    gating, linear = (_feed_forward(params, name, adapter_scale) for name in _MLP_WEIGHTS)
    rows = x.reshape(-1, x.shape[-1])
    gate, up = _product(rows, gating.part(0)), _product(rows, gating.part(1))
    return _product(jax.nn.gelu(gate, approximate=True) * up, linear).reshape(x.shape)


def rms_norm(params: Params, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """Divide by the root mean square, times ``1 + scale``; float32 inside, ``x``'s type outside."""
    exact = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(exact), axis=-1, keepdims=True)
    factor = 1 + params["scale"].astype(jnp.float32).reshape((1,) * (x.ndim - 1) + (-1,))
    return (exact * jax.lax.rsqrt(mean_square + NORM_EPS) * factor).astype(x.dtype)


def rotary_table(
    num_positions: int, head_dim: int, base: float, positions: Int[Array, "b t"] | None = None
) -> RotaryTable:
    """Angles ``position / base**(2 i / head_dim)`` of ``positions``, or of 0, 1, ..."""
    half = head_dim // 2
    period = base ** (np.arange(half) / half)
    angle = np.arange(num_positions)[:, None] / period
    sin, cos = jnp.asarray(np.sin(angle), "float32"), jnp.asarray(np.cos(angle), "float32")
    if positions is None:
        return RotaryTable(sin[None], cos[None])
    return RotaryTable(sin[positions], cos[positions])


def _turn(x: Float[Array, "b t n h"], table: RotaryTable) -> Float[Array, "b t n h"]:
    """Rotate dims i and i + h/2 of every head by the position's angle, in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    sin, cos = table.sin[:, :, None, :], table.cos[:, :, None, :]
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def _near(
    num_positions: int, window: int, positions: Int[Array, "b t"] | None
) -> Bool[Array, "#b t t"] | None:
    """Which pairs of tokens are less than ``window`` apart; None if all are."""
    if num_positions <= window:
        return None
    if positions is None:
        positions = jnp.arange(num_positions)[None]
    return jnp.abs(positions[:, :, None] - positions[:, None, :]) < window


def _select(is_global: Array, if_global: RotaryTable, if_local: RotaryTable) -> list[Array]:
    return [jnp.where(is_global, a, b) for a, b in zip(if_global, if_local, strict=True)]


def _product(rows: Float[Array, "m i"], weight: Weight) -> Float[Array, "m o"]:
    """``rows @ w`` plus what the adapter adds, in the type of ``rows``."""
    y = rows @ weight.w.astype(rows.dtype)
    if weight.lora_a is None or weight.lora_b is None:
        return y
    low = rows @ weight.lora_a.astype(rows.dtype)
    return y + (low @ weight.lora_b.astype(rows.dtype)) * weight.scale


def _heads(rows: Float[Array, "m d"], weight: Weight) -> Float[Array, "m n h"]:
    """Every head's view of the rows, each head with an adapter of its own."""

    def project(kernel: Float[Array, "n d h"]) -> Float[Array, "m n h"]:
        heads, width, head_dim = kernel.shape
        flat = kernel.astype(rows.dtype).transpose(1, 0, 2).reshape(width, heads * head_dim)
        return (rows @ flat).reshape(-1, heads, head_dim)

    y = project(weight.w)
    if weight.lora_a is None or weight.lora_b is None:
        return y
    high = jnp.einsum("mnr,nrh->mnh", project(weight.lora_a), weight.lora_b.astype(rows.dtype))
    return y + high * weight.scale


def _joined(weight: Weight) -> Weight:
    """The output projection ``[n, h, d]`` as one matrix over all heads."""
    w, a, b, scale = weight
    return Weight(
        w.reshape(-1, w.shape[-1]),
        None if a is None else a.reshape(-1, a.shape[-1]),
        None if b is None else jnp.sum(b, axis=0),
        scale,
    )


def _attention(params: Params, name: str, scale: float) -> Weight:
    weight = params[name]
    return Weight(weight["w"], weight.get("lora_a"), weight.get("lora_b"), scale)


def _feed_forward(params: Params, name: str, scale: float) -> Weight:
    a, b = params.get(f"{name}_lora_a"), params.get(f"{name}_lora_b")
    return Weight(params[name], a, b, scale)


def _with_adapters(params: Params, lora: LoraConfig, key: PRNGKeyArray) -> Params:
    """A block's parameters and adapters beside its weights."""
    # Folded in, not split off: the weights of a seed are the same with and without adapters.
    keys = iter(jax.random.split(jax.random.fold_in(key, 1), 5))
    attn, mlp = dict(params["attn"]), dict(params["mlp"])
    for name in _ATTENTION_WEIGHTS:
        a, b = init_silent_adapter(next(keys), attn[name]["w"].shape, lora)
        attn[name] = attn[name] | {"lora_a": a, "lora_b": b}
    for name in _MLP_WEIGHTS:
        a, b = init_silent_adapter(next(keys), mlp[name].shape, lora)
        mlp |= {f"{name}_lora_a": a, f"{name}_lora_b": b}
    return params | {"attn": attn, "mlp": mlp}
