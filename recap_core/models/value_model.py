r"""The value model: views and task text (and the state) in, a distribution over [-1, 0] out.

    fusion "cross_attention" (the reference's, SPEC §8.1)
        images = img_projection(SigLIP(view)) of all views                       one layer
        text   = embedding of "<prompt>\nValue:" (no gradient), then the state token, if any
        text   = text + attention(query = norm(text), key and value = images)
        logits = head(mean over valid tokens of Gemma3([images, text]))          two layers

    fusion "stitched" (SPEC §15)
        images = img_projection(SigLIP(view)) of all views                       two layers
        logits = head(last valid token of causal Gemma3([bos, images, text]))    one layer

A masked view changes nothing, while the reference lets it into the cross-attention
(``cross_attention_reads_masked_views`` brings that back). Without views there are no image
parameters and no cross-attention.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from recap_core.config.training import RematMode
from recap_core.config.value import ValueModelConfig
from recap_core.models.attention import attend, block_causal_mask, token_positions
from recap_core.models.categorical import cross_entropy, expected_value
from recap_core.models.gemma3 import Gemma3, merge_adapters
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
    """Normalised and padded; not read unless ``state_input`` is ``continuous``."""
    tokens: Int[Array, "b l"]
    token_mask: Bool[Array, "b l"]
    image_features: dict[str, Float[Array, "b p d"]] = {}  # noqa: RUF012 - nobody writes to it
    """View to what :meth:`ValueModel.encode_views` makes of its pixels. Where there are any,
    ``images`` is not read and the parameters need no ``img``."""


class _Sequence(NamedTuple):
    """Embedded tokens in the order in which the language model reads them."""

    tokens: Float[Array, "b t d"]
    mask: Bool[Array, "b t"]
    text_index: Int[np.ndarray, " l"]
    """Where every text token stands."""
    num_images: int
    """Image tokens of all views together."""


class ValueModel:
    """The model as functions of a parameter tree; holds no arrays.

    Groups of the tree, in either fusion:

        img                 SigLIP; only where there are views, as the next
        img_projection      cross_attention: kernel, bias; stitched: linear1, linear2
        cross_attn_norm     only cross_attention with views, as the next
        cross_attention     query, key, value, out
        llm                 Gemma 3
        state_proj          only where ``state_input`` is ``continuous``
        value_head          cross_attention: layer_norm, linear1, linear2; stitched: linear
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
            out_dim=config.siglip.width if config.image_head else None,
            compute_dtype=self.dtype,
            loop=LayerLoop.of_depth(config.siglip.depth, remat, split=split),
        )

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh float32 parameters."""
        config, width = self.config, self.config.gemma.width
        keys = jax.random.split(key, 7)
        params: Params = {"llm": self.llm.init(keys[0])}
        if self._is_stitched:
            params["value_head"] = {"linear": init_dense(keys[1], width, config.num_bins)}
        else:
            params["value_head"] = {
                "layer_norm": _init_norm(width),
                "linear1": init_dense(keys[1], width, config.head_hidden),
                "linear2": init_dense(keys[2], config.head_hidden, config.num_bins),
            }
        if config.state_input == "continuous":
            params["state_proj"] = init_dense(keys[3], config.state_dim, width)
        if config.views:
            params["img"] = self.img.init(keys[4])
            params |= self._init_fusion(keys[5], keys[6])
        return params

    def _init_fusion(self, projection_key: PRNGKeyArray, attention_key: PRNGKeyArray) -> Params:
        """What stands between the two encoders."""
        config, width, image_width = self.config, self.config.gemma.width, self.config.siglip.width
        if self._is_stitched:
            first_key, second_key = jax.random.split(projection_key)
            return {
                "img_projection": {
                    "linear1": init_dense(first_key, image_width, image_width),
                    "linear2": init_dense(second_key, image_width, width),
                }
            }
        return {
            "img_projection": init_dense(projection_key, image_width, width),
            "cross_attn_norm": _init_norm(width),
            "cross_attention": _init_attention(attention_key, width, config.cross_attention_heads),
        }

    def encode_views(
        self, params: Params, images: dict[str, Float[Array, "b h w 3"]]
    ) -> dict[str, Float[Array, "b p d"]]:
        """SigLIP's tokens of every view, in the compute dtype: ``ValueInputs.image_features``.

        Args:
            params: Needs the group ``img`` alone.
            images: View to pixels in [-1, 1]; all views of the model.
        """
        views = self.config.views
        pixels = jnp.stack([jnp.asarray(images[view]) for view in views], axis=1)
        b, v, *image_shape = pixels.shape
        encoded = self.img.tokens(params["img"], pixels.reshape(b * v, *image_shape))
        per_view = encoded.reshape(b, v, *encoded.shape[1:])
        return {view: per_view[:, index] for index, view in enumerate(views)}

    def logits(self, params: Params, inputs: ValueInputs) -> Float[Array, "b bins"]:
        """Logits of the value distribution, float32."""
        sequence = self._sequence(params, inputs, with_state=True)
        encoded = self._encoded(params, sequence, is_causal=self._is_stitched)
        if self._is_stitched:
            last = last_valid(encoded, sequence.mask)
            return dense(params["value_head"]["linear"], last, jnp.float32)
        return value_head(params["value_head"], masked_mean(encoded, sequence.mask))

    def token_logits(self, params: Params, inputs: ValueInputs) -> Float[Array, "b l vocab"]:
        """Logits of the next text token after every text token, float32: for questions on images.

        ``[:, i]`` predicts ``tokens[:, i + 1]`` from the images and ``tokens[:, : i + 1]``; the
        state token is left out. Images see each other before text that is causal
        (``cross_attention``), or all tokens are causal and the first one stands before the
        images, so that it does not see them (``stitched``). The head is the embedding table.
        """
        sequence = self._sequence(params, inputs, with_state=False)
        encoded = self._encoded(params, sequence, is_causal=True)
        return self.llm.token_logits(params["llm"], encoded[:, sequence.text_index])

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

    @property
    def _is_stitched(self) -> bool:
        return self.config.fusion == "stitched"

    def _sequence(self, params: Params, inputs: ValueInputs, *, with_state: bool) -> _Sequence:
        """What the language model reads."""
        text, text_mask = self._text_tokens(params, inputs, with_state=with_state)
        num_text = text.shape[1]
        if not self.config.views:
            return _Sequence(text, text_mask, np.arange(num_text), 0)
        images, image_mask = self._image_tokens(params, inputs)
        num_before = 1 if self._is_stitched else 0
        if not self._is_stitched:
            read_mask = image_mask
            if self.config.cross_attention_reads_masked_views:
                read_mask = jnp.ones_like(image_mask)
            normed = layer_norm(params["cross_attn_norm"], text)
            text = text + cross_attention(params["cross_attention"], normed, images, read_mask)
        tokens = [text[:, :num_before], images, text[:, num_before:]]
        masks = [text_mask[:, :num_before], image_mask, text_mask[:, num_before:]]
        num_images = images.shape[1]
        text_index = np.arange(num_text) + num_images * (np.arange(num_text) >= num_before)
        return _Sequence(
            jnp.concatenate(tokens, axis=1), jnp.concatenate(masks, axis=1), text_index, num_images
        )

    def _encoded(
        self, params: Params, sequence: _Sequence, *, is_causal: bool
    ) -> Float[Array, "b t d"]:
        """The language model's output of ``sequence``."""
        tokens, valid = sequence.tokens, sequence.mask
        if not is_causal:
            return self.llm.encode(params["llm"], tokens, valid)
        num_tokens = tokens.shape[1]
        # Every token of the stitched fusion sees only what stands before it; otherwise the images
        # are one block in front of the text.
        starts_block = np.ones(num_tokens, bool)
        if not self._is_stitched:
            starts_block[1 : sequence.num_images] = False
        mask = block_causal_mask(valid, jnp.asarray(starts_block))
        positions = token_positions(valid) if self._is_stitched else None
        return self.llm.encode(params["llm"], tokens, valid, mask=mask, positions=positions)

    def _text_tokens(
        self, params: Params, inputs: ValueInputs, *, with_state: bool
    ) -> tuple[Float[Array, "b l d"], Bool[Array, "b l"]]:
        """Embedded prompt, followed by the state token where the state is one."""
        tokens = jnp.asarray(inputs.tokens)
        # Pretrained word meanings stay as they are, whatever else is trained.
        text = jax.lax.stop_gradient(self.llm.embed(params["llm"], tokens))
        mask = jnp.asarray(inputs.token_mask)
        if with_state and self.config.state_input == "continuous":
            state = dense(params["state_proj"], jnp.asarray(inputs.state), self.dtype)
            text = jnp.concatenate([text, state[:, None, :]], axis=1)
            mask = jnp.concatenate([mask, jnp.ones((len(mask), 1), bool)], axis=1)
        return text, mask

    def _image_tokens(
        self, params: Params, inputs: ValueInputs
    ) -> tuple[Float[Array, "b p d"], Bool[Array, "b p"]]:
        """Projected SigLIP tokens of all views, in the order of ``config.views``."""
        views = self.config.views
        features = inputs.image_features or self.encode_views(params, inputs.images)
        encoded = jnp.concatenate(
            [jnp.asarray(features[view]).astype(self.dtype) for view in views], axis=1
        )
        present = jnp.stack([jnp.asarray(inputs.image_masks[view]) for view in views], axis=1)
        mask = jnp.repeat(present, encoded.shape[1] // len(views), axis=1)
        return self._projected(params["img_projection"], encoded), mask

    def _projected(self, params: Params, encoded: Float[Array, "b p i"]) -> Float[Array, "b p d"]:
        """SigLIP's tokens in the language model's width."""
        if not self._is_stitched:
            return dense(params, encoded, self.dtype)
        hidden = dense(params["linear1"], encoded, self.dtype)
        return dense(params["linear2"], jax.nn.gelu(hidden, approximate=False), self.dtype)


def merge_value_adapters(params: Params, config: ValueModelConfig) -> Params:
    """A value model's tree with the language model's adapters folded into its weights.

    The result belongs to ``config`` with ``gemma.lora`` None and computes the same function.
    """
    return params | {"llm": merge_adapters(params["llm"], config.gemma)}


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


def last_valid(x: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b d"]:
    """The last token that ``mask`` keeps; zero where it keeps none."""
    index = x.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    last = jnp.take_along_axis(x, index[:, None, None], axis=1)[:, 0]
    return last * mask.any(axis=1)[:, None].astype(x.dtype)


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
