"""Gemma 3's text model, bidirectional: embeddings in, one vector per token out (SPEC §8.1).

    block  = x + norm(attention(norm(x))), then x + norm(mlp(norm(x)))       depth times
    result = norm(block output)

Every ``global_every``-th block attends to all valid tokens; the others only to tokens less than
``sliding_window`` away, with a shorter rotary base. Queries and keys are RMS-normalised per head.
Weights are stacked over layers under ``layers``; einsum weights have openpi's axis order.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from recap_core.config.value import Gemma3Config
from recap_core.models.attention import attend
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params

NORM_EPS = 1e-6


class RotaryTable(NamedTuple):
    """Sine and cosine of the rotary angles of every position."""

    sin: Float[Array, "t r"]
    cos: Float[Array, "t r"]


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
        """Fresh float32 parameters: embedded tokens of unit variance, LeCun normal weights."""
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
    ) -> Float[Array, "b t d"]:
        """All blocks and the last norm, in the compute dtype.

        Args:
            params: As :meth:`init` makes them.
            x: Embeddings; token i has position i, valid or not.
            valid: Tokens that may be seen. Rows of other tokens carry no meaning.
            mask: Further restriction of who sees whom: ``[i, j]`` is true where query i may see
                key j (e.g. causal); None: no further one.
        """
        b, t, _ = x.shape
        near = _near(t, self.config.sliding_window)
        visible = jnp.broadcast_to(valid[:, None, :], (b, t, t))
        if mask is not None:
            visible &= mask
        local_table = rotary_table(t, self.config.head_dim, self.config.local_rope_base)
        global_table = rotary_table(t, self.config.head_dim, self.config.global_rope_base)
        is_global = (np.arange(self.config.depth) + 1) % self.config.global_every == 0

        def step(x: Array, layer: tuple[Params, Array]) -> tuple[Array, None]:
            params, is_global = layer
            table = RotaryTable(*_select(is_global, global_table, local_table))
            layer_mask = visible if near is None else visible & (near | is_global)[None]
            return block(params, x, layer_mask, table), None

        layers = (params["layers"], jnp.asarray(is_global))
        x, _ = self.loop.scan(step, x.astype(self.compute_dtype), layers)
        return rms_norm(params["final_norm"], x)


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

    return {
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


def block(
    params: Params, x: Float[Array, "b t d"], mask: Bool[Array, "b t t"], table: RotaryTable
) -> Float[Array, "b t d"]:
    """One block, in ``x``'s type."""
    y = self_attention(params["attn"], rms_norm(params["pre_attention_norm"], x), mask, table)
    x = x + rms_norm(params["post_attention_norm"], y)
    y = feed_forward(params["mlp"], rms_norm(params["pre_ffw_norm"], x))
    return x + rms_norm(params["post_ffw_norm"], y)


def self_attention(
    params: Params, x: Float[Array, "b t d"], mask: Bool[Array, "b t t"], table: RotaryTable
) -> Float[Array, "b t d"]:
    """Attention with normalised, rotated queries and keys shared by groups of heads."""
    b, t, width = x.shape
    rows = x.reshape(b * t, width)  # plain matrix products: twice as fast backwards on a CPU

    def project(weight: Float[Array, "n d h"]) -> Float[Array, "b t n h"]:
        flat = weight.astype(x.dtype).transpose(1, 0, 2).reshape(width, -1)
        return (rows @ flat).reshape(b, t, -1, weight.shape[-1])

    key_weight, value_weight = params["kv_einsum"]["w"]
    q = _turn(rms_norm(params["query_norm"], project(params["q_einsum"]["w"])), table)
    k = _turn(rms_norm(params["key_norm"], project(key_weight)), table)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    mixed = attend(q, k, project(value_weight), mask)
    out_weight = params["attn_vec_einsum"]["w"].astype(x.dtype).reshape(-1, width)
    return (mixed.reshape(b * t, -1) @ out_weight).reshape(b, t, width)


def feed_forward(params: Params, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    """``(gelu(x W0) * (x W1)) W2`` with the tanh gelu."""
    gate, up = params["gating_einsum"].astype(x.dtype)
    rows = x.reshape(-1, x.shape[-1])
    hidden = jax.nn.gelu(rows @ gate, approximate=True) * (rows @ up)
    return (hidden @ params["linear"].astype(x.dtype)).reshape(x.shape)


def rms_norm(params: Params, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """Divide by the root mean square, times ``1 + scale``; float32 inside, ``x``'s type outside."""
    exact = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(exact), axis=-1, keepdims=True)
    factor = 1 + params["scale"].astype(jnp.float32).reshape((1,) * (x.ndim - 1) + (-1,))
    return (exact * jax.lax.rsqrt(mean_square + NORM_EPS) * factor).astype(x.dtype)


def rotary_table(num_positions: int, head_dim: int, base: float) -> RotaryTable:
    """Angles ``position / base**(2 i / head_dim)`` of positions 0, 1, ..."""
    half = head_dim // 2
    period = base ** (np.arange(half) / half)
    angle = np.arange(num_positions)[:, None] / period
    return RotaryTable(jnp.asarray(np.sin(angle), "float32"), jnp.asarray(np.cos(angle), "float32"))


def _turn(x: Float[Array, "b t n h"], table: RotaryTable) -> Float[Array, "b t n h"]:
    """Rotate dims i and i + h/2 of every head by the position's angle, in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    sin, cos = table.sin[None, :, None, :], table.cos[None, :, None, :]
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def _near(num_positions: int, window: int) -> Bool[Array, "t t"] | None:
    """Which pairs of positions are less than ``window`` apart; None if all are."""
    if num_positions <= window:
        return None
    position = np.arange(num_positions)
    return jnp.asarray(np.abs(position[:, None] - position[None, :]) < window)


def _select(is_global: Array, if_global: RotaryTable, if_local: RotaryTable) -> list[Array]:
    return [jnp.where(is_global, a, b) for a, b in zip(if_global, if_local, strict=True)]
