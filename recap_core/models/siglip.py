"""SigLIP's vision transformer: image in, one token per patch out.

    patches = image cut into patch_px squares, linear, + pos_embedding         float32
    block   = x + attention(norm(x)), then x + mlp(norm(x))        depth times, compute dtype
    tokens  = head(norm(block output))                                          the head is optional

Weights are stacked over layers (``Transformer/encoderblock``) under the names that big_vision and
openpi use, so their checkpoints load unchanged.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.config.policy import SiglipConfig
from recap_core.models.attention import attend
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params, dense, init_dense, lecun_normal, normal

NORM_EPS = 1e-6

_xavier = jax.nn.initializers.xavier_uniform()


class Siglip:
    """The encoder as functions of a parameter tree; holds no arrays."""

    def __init__(
        self,
        config: SiglipConfig,
        *,
        image_px: int,
        out_dim: int | None = None,
        compute_dtype: DTypeLike = jnp.float32,
        loop: LayerLoop = LayerLoop(),
    ) -> None:
        """Describe an encoder.

        Args:
            config: Sizes.
            image_px: Side of the square images, at least ``config.patch_px``.
            out_dim: Width of the linear head; None: no head, tokens have ``config.width`` dims.
            compute_dtype: Type of the blocks' activations; the patch embedding is float32.
            loop: How the blocks are compiled.
        """
        self.config = config
        self.out_dim = out_dim
        self.grid = image_px // config.patch_px
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.loop = loop

    @property
    def num_tokens(self) -> int:
        """Tokens per image."""
        return self.grid**2

    @property
    def token_dim(self) -> int:
        """Width of a token."""
        return self.config.width if self.out_dim is None else self.out_dim

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh float32 parameters.

        Xavier uniform in the blocks, LeCun normal patches and head, positions normal with std
        1/sqrt(width), norms one, biases zero.
        """
        width, patch = self.config.width, self.config.patch_px
        patch_key, position_key, block_key, head_key = jax.random.split(key, 4)
        block_keys = jax.random.split(block_key, self.config.depth)
        positions = normal(position_key, (1, self.num_tokens, width)) * width**-0.5
        params: Params = {
            "embedding": {
                "kernel": lecun_normal(patch_key, (patch, patch, 3, width)),
                "bias": jnp.zeros(width),
            },
            "pos_embedding": positions,
            "Transformer": {
                "encoderblock": jax.vmap(functools.partial(init_block, self.config))(block_keys),
                "encoder_norm": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
            },
        }
        if self.out_dim is not None:
            params["head"] = init_dense(head_key, width, self.out_dim)
        return params

    def tokens(self, params: Params, images: Float[Array, "b h w 3"]) -> Float[Array, "b p o"]:
        """Tokens of ``images`` in [-1, 1], row by row from the top left, in the compute dtype."""
        encoded = self.encode(params, images)
        if self.out_dim is None:
            return encoded
        return dense(params["head"], encoded, self.compute_dtype)

    def encode(self, params: Params, images: Float[Array, "b h w 3"]) -> Float[Array, "b p d"]:
        """Encoder output of width ``config.width``, after the last norm and before the head."""
        x = self.embed_patches(params, images) + params["pos_embedding"].astype(jnp.float32)
        x = x.astype(self.compute_dtype)

        def step(x: Array, layer: Params) -> tuple[Array, None]:
            return encoder_block(layer, x), None

        transformer = params["Transformer"]
        x, _ = self.loop.scan(step, x, transformer["encoderblock"])
        return layer_norm(transformer["encoder_norm"], x)

    def embed_patches(
        self, params: Params, images: Float[Array, "b h w 3"]
    ) -> Float[Array, "b p d"]:
        """Linear embedding of each patch, float32, without positions."""
        b, patch, grid = images.shape[0], self.config.patch_px, self.grid
        images = images[:, : grid * patch, : grid * patch].astype(jnp.float32)
        patches = images.reshape(b, grid, patch, grid, patch, 3).transpose(0, 1, 3, 2, 4, 5)
        flat = {
            "kernel": params["embedding"]["kernel"].reshape(-1, self.config.width),
            "bias": params["embedding"]["bias"],
        }
        return dense(flat, patches.reshape(b, grid**2, patch * patch * 3), jnp.float32)


def init_block(config: SiglipConfig, key: PRNGKeyArray) -> Params:
    """Fresh parameters of one encoder block."""
    width, heads, head_dim = config.width, config.num_heads, config.width // config.num_heads
    keys = jax.random.split(key, 6)

    def norm() -> Params:
        return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}

    def projection(key: PRNGKeyArray) -> Params:
        kernel = _xavier(key, (width, width)).reshape(width, heads, head_dim)
        return {"kernel": kernel, "bias": jnp.zeros((heads, head_dim))}

    return {
        "LayerNorm_0": norm(),
        "MultiHeadDotProductAttention_0": {
            "query": projection(keys[0]),
            "key": projection(keys[1]),
            "value": projection(keys[2]),
            "out": {
                "kernel": _xavier(keys[3], (width, width)).reshape(heads, head_dim, width),
                "bias": jnp.zeros(width),
            },
        },
        "LayerNorm_1": norm(),
        "MlpBlock_0": {
            "Dense_0": {
                "kernel": _xavier(keys[4], (width, config.mlp_dim)),
                "bias": jnp.zeros(config.mlp_dim),
            },
            "Dense_1": {
                "kernel": _xavier(keys[5], (config.mlp_dim, width)),
                "bias": jnp.zeros(width),
            },
        },
    }


def encoder_block(params: Params, x: Float[Array, "b p d"]) -> Float[Array, "b p d"]:
    """One pre-norm block: attention among all patches, then a tanh-gelu MLP."""
    y = layer_norm(params["LayerNorm_0"], x)
    x = x + self_attention(params["MultiHeadDotProductAttention_0"], y)
    y = layer_norm(params["LayerNorm_1"], x)
    hidden = jax.nn.gelu(dense(params["MlpBlock_0"]["Dense_0"], y, x.dtype), approximate=True)
    return x + dense(params["MlpBlock_0"]["Dense_1"], hidden, x.dtype)


def self_attention(params: Params, x: Float[Array, "b p d"]) -> Float[Array, "b p d"]:
    """Multi-head attention with biases, in ``x``'s type."""
    b, p, width = x.shape
    heads, head_dim = params["query"]["bias"].shape

    def project(name: str) -> Array:
        flat = {
            "kernel": params[name]["kernel"].reshape(width, width),
            "bias": params[name]["bias"].reshape(width),
        }
        return dense(flat, x, x.dtype).reshape(b, p, heads, head_dim)

    q, k, v = project("query"), project("key"), project("value")
    mixed = attend(q, k, v, scale=head_dim**-0.5)
    out = {"kernel": params["out"]["kernel"].reshape(width, width), "bias": params["out"]["bias"]}
    return dense(out, mixed.reshape(b, p, width), x.dtype)


def layer_norm(params: Params, x: Float[Array, "b p d"]) -> Float[Array, "b p d"]:
    """LayerNorm with float32 statistics; the result has ``x``'s type."""
    exact = x.astype(jnp.float32)
    mean = jnp.mean(exact, axis=-1, keepdims=True)
    # Flax's formula, so openpi's: both means in one pass over x.
    square = jnp.mean(jnp.square(exact), axis=-1, keepdims=True)
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    normed = (exact - mean) * jax.lax.rsqrt(variance + NORM_EPS)
    scale = params["scale"].astype(jnp.float32).reshape(1, 1, -1)
    bias = params["bias"].astype(jnp.float32).reshape(1, 1, -1)
    return (normed * scale + bias).astype(x.dtype)
