r"""The value model: views and task text (and the state) in, a distribution over [-1, 0] out.

    images = img_projection(SigLIP(view)) of all views
    text   = embedding of "<prompt>\nValue:" (no gradient), then the state token, if any
    text   = text + attention(query = norm(text), key and value = images)
    logits = head(mean over valid tokens of Gemma3([images, text]))

The architecture is the reference's (SPEC §8.1) with one repair: a masked view changes nothing,
while the reference lets it into the cross-attention. Without views there are no image parameters
and no cross-attention.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from recap_core.config.training import RematMode
from recap_core.config.value import ValueModelConfig
from recap_core.models.attention import attend
from recap_core.models.categorical import cross_entropy, expected_value
from recap_core.models.gemma3 import Gemma3
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params, dense, init_dense, lecun_normal
from recap_core.models.siglip import Siglip, layer_norm


class ValueInputs(NamedTuple):
    """One batch of what the value model sees; NumPy or JAX arrays."""

    images: dict[str, Float[Array, "b h w 3"]]
    """View to pixels in [-1, 1]."""
    image_masks: dict[str, Bool[Array, " b"]]
    """View to whether the sample has that camera."""
    state: Float[Array, "b s"]
    """Normalised and padded; ignored unless ``state_input`` is ``continuous``."""
    tokens: Int[Array, "b l"]
    token_mask: Bool[Array, "b l"]


class ValueModel:
    """The model as functions of a parameter tree; holds no arrays.

    Top groups of the tree: ``img``, ``img_projection``, ``cross_attention``, ``cross_attn_norm``
    (where there are views), ``state_proj`` (where the state is read), ``llm``, ``value_head``.
    """

    def __init__(
        self,
        config: ValueModelConfig,
        *,
        remat: RematMode = "auto",
        split: NamedSharding | None = None,
    ) -> None:
        """Describe a model.

        Args:
            config: Sizes.
            remat: What the backward pass recomputes, see :meth:`LayerLoop.of_depth`.
            split: How batches are spread over devices.
        """
        self.config = config
        self.dtype = jnp.dtype(config.compute_dtype)
        self.llm = Gemma3(
            config.gemma,
            vocab_size=config.vocab_size,
            compute_dtype=self.dtype,
            loop=LayerLoop.of_depth(config.gemma.depth, remat, split=split),
        )
        self.img = Siglip(
            config.siglip,
            image_px=config.image_px,
            compute_dtype=self.dtype,
            loop=LayerLoop.of_depth(config.siglip.depth, remat, split=split),
        )

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh float32 parameters."""
        config, width = self.config, self.config.gemma.width
        keys = jax.random.split(key, 7)
        params: Params = {
            "llm": self.llm.init(keys[0]),
            "value_head": {
                "layer_norm": _init_norm(width),
                "linear1": init_dense(keys[1], width, config.head_hidden),
                "linear2": init_dense(keys[2], config.head_hidden, config.num_bins),
            },
        }
        if config.state_input == "continuous":
            params["state_proj"] = init_dense(keys[3], config.state_dim, width)
        if config.views:
            params["img"] = self.img.init(keys[4])
            params["img_projection"] = init_dense(keys[5], config.siglip.width, width)
            params["cross_attn_norm"] = _init_norm(width)
            params["cross_attention"] = _init_attention(
                keys[6], width, config.cross_attention_heads
            )
        return params

    def logits(self, params: Params, inputs: ValueInputs) -> Float[Array, "b bins"]:
        """Logits of the value distribution, float32."""
        text, text_mask = self._text_tokens(params, inputs)
        if self.config.views:
            images, image_mask = self._image_tokens(params, inputs)
            normed = layer_norm(params["cross_attn_norm"], text)
            text = text + cross_attention(params["cross_attention"], normed, images, image_mask)
            tokens = jnp.concatenate([images, text], axis=1)
            mask = jnp.concatenate([image_mask, text_mask], axis=1)
        else:
            tokens, mask = text, text_mask
        encoded = self.llm.encode(params["llm"], tokens, mask)
        return value_head(params["value_head"], masked_mean(encoded, mask))

    def value(self, params: Params, inputs: ValueInputs) -> Float[Array, " b"]:
        """V(o): mean of the predicted distribution, float32, in [-1, 0]."""
        return expected_value(self.logits(params, inputs))

    def loss(
        self, params: Params, inputs: ValueInputs, target_probs: Float[Array, "b bins"]
    ) -> Float[Array, " b"]:
        """Cross-entropy per sample, float32.

        Args:
            params: As :meth:`init` makes them.
            inputs: What the model sees.
            target_probs: Target distributions, rows sum to 1 (two-hot).
        """
        return cross_entropy(self.logits(params, inputs), target_probs)

    def _text_tokens(
        self, params: Params, inputs: ValueInputs
    ) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
        """Embedded prompt, followed by the state token where the state is read."""
        tokens = jnp.asarray(inputs.tokens)
        # Pretrained word meanings stay as they are, whatever else is trained.
        text = jax.lax.stop_gradient(self.llm.embed(params["llm"], tokens))
        mask = jnp.asarray(inputs.token_mask)
        if self.config.state_input == "continuous":
            state = dense(params["state_proj"], jnp.asarray(inputs.state), self.dtype)
            text = jnp.concatenate([text, state[:, None, :]], axis=1)
            mask = jnp.concatenate([mask, jnp.ones((len(mask), 1), bool)], axis=1)
        return text, mask

    def _image_tokens(
        self, params: Params, inputs: ValueInputs
    ) -> tuple[Float[Array, "b p d"], Bool[Array, "b p"]]:
        """Projected SigLIP tokens of all views, in the order of ``config.views``."""
        views = self.config.views
        pixels = jnp.stack([jnp.asarray(inputs.images[view]) for view in views], axis=1)
        b, v, *image_shape = pixels.shape
        encoded = self.img.tokens(params["img"], pixels.reshape(b * v, *image_shape))
        projected = dense(params["img_projection"], encoded, self.dtype)
        present = jnp.stack([jnp.asarray(inputs.image_masks[view]) for view in views], axis=1)
        mask = jnp.repeat(present, self.img.num_tokens, axis=1)
        return projected.reshape(b, v * self.img.num_tokens, -1), mask


def cross_attention(
    params: Params,
    text: Float[Array, "b l d"],
    images: Float[Array, "b p d"],
    image_mask: Bool[Array, "b p"],
) -> Float[Array, "b l d"]:
    """What the text tokens read from the valid image tokens; zero where there is none."""
    b, num_text, _ = text.shape

    def project(name: str, x: Array) -> Array:
        kernel, bias = params[name]["kernel"].astype(x.dtype), params[name]["bias"].astype(x.dtype)
        return jnp.einsum("bld,dnh->blnh", x, kernel) + bias[None, None]

    q = project("query", text)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    mask = jnp.broadcast_to(image_mask[:, None, :], (b, num_text, image_mask.shape[1]))
    mixed = attend(q, project("key", images), project("value", images), mask)
    out = params["out"]
    read = jnp.einsum("blnh,nhd->bld", mixed, out["kernel"].astype(text.dtype))
    read = read + out["bias"].astype(text.dtype)[None, None]
    return read * image_mask.any(axis=1)[:, None, None].astype(text.dtype)


def masked_mean(x: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b d"]:
    """Mean over the tokens that ``mask`` keeps, float32; zero where it keeps none."""
    weight = mask.astype(jnp.float32)
    total = jnp.einsum("btd,bt->bd", x.astype(jnp.float32), weight)
    return total / jnp.maximum(weight.sum(axis=1, keepdims=True), 1)


def value_head(params: Params, x: Float[Array, "b d"]) -> Float[Array, "b bins"]:
    """LayerNorm, then two linear layers with a tanh gelu between, float32."""
    normed = layer_norm(params["layer_norm"], x[:, None])[:, 0]
    hidden = jax.nn.gelu(dense(params["linear1"], normed, jnp.float32), approximate=True)
    return dense(params["linear2"], hidden, jnp.float32)


def _init_norm(width: int) -> Params:
    return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}


def _init_attention(key: PRNGKeyArray, width: int, num_heads: int) -> Params:
    head_dim = width // num_heads
    keys = jax.random.split(key, 4)

    def projection(key: PRNGKeyArray) -> Params:
        kernel = lecun_normal(key, (width, width)).reshape(width, num_heads, head_dim)
        return {"kernel": kernel, "bias": jnp.zeros((num_heads, head_dim))}

    return {
        "query": projection(keys[0]),
        "key": projection(keys[1]),
        "value": projection(keys[2]),
        "out": {
            "kernel": lecun_normal(keys[3], (width, width)).reshape(num_heads, head_dim, width),
            "bias": jnp.zeros(width),
        },
    }
