"""A value model's vision encoder while it is frozen: images in, tokens out, always the same.

What it makes of an image depends on its weights, the compute dtype and the image alone, so it can
be computed once (:mod:`recap_core.features.cache`).
"""

import json
from functools import cached_property
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import xxhash
from jaxtyping import Array, Float, UInt8

from recap_core.config.value import ValueModelConfig
from recap_core.data.image_fit import RESIZE_VERSION
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueModel
from recap_core.sharding import batch_sharding, device_mesh, place_batch, replicated
from recap_core.transforms.images import to_model_range

ENCODER_VERSION: Final = 1
"""Raise it when the encoder's code changes its tokens, so that cached ones are made again."""

BATCH_PER_DEVICE: Final = 32
"""Images that a device encodes at once. Other batches would round differently."""


_VIEW: Final = "base_0_rgb"
"""All views have the same encoder."""


class FrozenEncoder:
    """SigLIP with its weights, for batches of one fixed size.

    Args:
        config: The value model.
        params: Its parameters, as training or inference reads them; only ``img`` is used.
    """

    def __init__(self, config: ValueModelConfig, params: Params) -> None:
        self._config = config
        self._params = {"img": params["img"]}
        self._model = ValueModel(config.model_copy(update={"views": (_VIEW,)}))
        self.dtype: np.dtype[Any] = np.dtype(self._model.dtype)
        self.shape = (self._model.img.num_tokens, config.siglip.width)
        """Tokens of an image, and their width."""

    @property
    def image_px(self) -> int:
        """Side of the square images, pixels."""
        return self._config.image_px

    @property
    def item_bytes(self) -> int:
        """Size of one image's tokens."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @cached_property
    def recipe(self) -> str:
        """All that the tokens of an image depend on, but for the image, as part of a file name."""
        digest = encoder_digest(self._config, self._params["img"])
        versions = f"v{RESIZE_VERSION}.{ENCODER_VERSION}"
        return f"{digest}-{self.dtype.name}-{self.image_px}px-{versions}"

    @cached_property
    def batch_size(self) -> int:
        """Images per call."""
        return BATCH_PER_DEVICE * jax.local_device_count()

    def encode(self, images: UInt8[np.ndarray, "b px px 3"]) -> Float[Array, "_ p d"]:
        """Tokens of up to ``batch_size`` images, and of padding; returns before they are computed.

        Each local device encodes a part.
        """
        missing = self.batch_size - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        params, encode, mesh = self._compiled
        return encode(params, place_batch(images, mesh))

    @cached_property
    def _compiled(self) -> tuple[Params, Any, Any]:
        mesh = device_mesh(devices=jax.local_devices())
        # A table, because a compiler may divide by 255 in another way than NumPy does.
        pixels = to_model_range(np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1))[:, 0]
        model = self._model

        def encode(params: Params, images: UInt8[Array, "b px px 3"]) -> Float[Array, "b p d"]:
            return model.encode_views(params, {_VIEW: jnp.asarray(pixels)[images]})[_VIEW]

        compiled = jax.jit(encode, out_shardings=batch_sharding(mesh))
        return jax.device_put(self._params, replicated(mesh)), compiled, mesh


def encoder_digest(config: ValueModelConfig, params: Params) -> str:
    """xxh3-128 of an encoder's shape and numbers, in hexadecimal.

    Numbers count as float32: bfloat16 weights are the same weights when they are read as float32.
    """
    digest = xxhash.xxh3_128(json.dumps(config.siglip.model_dump(), sort_keys=True).encode())
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    for keys, leaf in flat:
        name = jax.tree_util.keystr(keys, simple=True, separator="/")
        numbers = np.ascontiguousarray(leaf, dtype=np.float32)
        digest.update(f"{name}{numbers.shape}".encode())
        digest.update(numbers.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
