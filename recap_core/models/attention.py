"""What the transformers share: masks, positions, rotary embedding, softmax attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MASKED_LOGIT = -2.3819763e38
"""Logit of a key that a query must not see; finite, so a row without any key stays finite."""

type AttentionKernel = Literal["einsum", "fused_unmasked", "fused"]
"""``einsum``: products and softmax, as XLA compiles them; ``fused``: cuDNN's flash attention on an
NVIDIA GPU; ``fused_unmasked``: that where nothing is masked. A fused kernel holds no logits in
memory, and rounds in another order."""

DEFAULT_KERNEL: AttentionKernel = "fused"
"""Measured on an H200: 1.2 x ``einsum`` in inference of the value model, 1.26 x in its training."""

_kernel: ContextVar[AttentionKernel] = ContextVar("attention_kernel", default=DEFAULT_KERNEL)


@contextmanager
def attention_kernel(kernel: AttentionKernel) -> Iterator[None]:
    """Compile what is traced inside with ``kernel``, where the device and the sizes allow it."""
    token = _kernel.set(kernel)
    try:
        yield
    finally:
        _kernel.reset(token)


def block_causal_mask(
    valid: Bool[Array, "b t"], starts_block: Bool[Array, " t"]
) -> Bool[Array, "b t t"]:
    """Who sees whom: ``[i, j]`` is true where query i sees key j.

    A token that ``starts_block`` opens a new block. Tokens see every valid token of their own block
    and of the blocks before it; padding neither sees nor is seen.
    """
    block = jnp.cumsum(starts_block.astype(jnp.int32))
    return (block[None, None, :] <= block[None, :, None]) & valid[:, None, :] & valid[:, :, None]


def token_positions(valid: Bool[Array, "b t"]) -> Int[Array, "b t"]:
    """Position of every token among the valid ones; padding repeats the position before it."""
    return jnp.cumsum(valid.astype(jnp.int32), axis=1) - 1


def rotate(
    x: Float[Array, "b t n d"], positions: Int[Array, "b t"], *, base: float = 10_000.0
) -> Float[Array, "b t n d"]:
    """Rotary position embedding, computed in float32.

    Dims i and i + d/2 form a pair that is turned by ``position / base**(2 i / d)`` radians.
    """
    half = x.shape[-1] // 2
    period = base ** (jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions.astype(jnp.float32)[:, :, None, None] / period.reshape(1, 1, 1, half)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def attend(
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s k d"],
    v: Float[Array, "b s k d"],
    mask: Bool[Array, "b t s"] | None = None,
    *,
    scale: float = 1.0,
) -> Float[Array, "b t n d"]:
    """Softmax attention; each of the ``k`` key heads serves ``n / k`` query heads.

    Logits and softmax are float32, the weights are cast to ``v``'s type. ``scale`` multiplies
    ``q`` in its own type; a fused kernel multiplies the logits with it.
    """
    if _is_fused(q, masked=mask is not None):
        return attend_fused(q, k, v, mask, scale=scale)
    if scale != 1:
        q = q * scale
    b, t, num_heads, head_dim = q.shape
    num_kv_heads = k.shape[2]
    grouped = q.reshape(b, t, num_kv_heads, num_heads // num_kv_heads, head_dim)
    logits = jnp.einsum("btkgd,bskd->bkgts", grouped, k, preferred_element_type=jnp.float32)
    if mask is not None:
        logits = jnp.where(mask[:, None, None, :, :], logits, MASKED_LOGIT)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bkgts,bskd->btkgd", weights, v).reshape(b, t, num_heads, head_dim)


def _is_fused(q: Float[Array, "b t n d"], *, masked: bool) -> bool:
    kernel, head_dim = _kernel.get(), q.shape[-1]
    return (
        (kernel == "fused" or (kernel == "fused_unmasked" and not masked))
        and q.dtype in (jnp.bfloat16, jnp.float16)
        and head_dim % 8 == 0
        and head_dim <= _max_fused_head_dim()
    )


def _max_fused_head_dim() -> int:
    """What cuDNN's kernel takes on this machine's device, backwards too; 0: it cannot run."""
    if jax.default_backend() != "gpu":
        return 0
    major = str(getattr(jax.devices()[0], "compute_capability", "")).partition(".")[0]
    if not major.isdecimal() or int(major) < 8:  # an older one, or another maker's
        return 0
    return 256 if int(major) == 9 else 128


def attend_fused(  # noqa: PLR0913 - what attention takes
    q: Float[Array, "b t n d"],
    k: Float[Array, "b s k d"],
    v: Float[Array, "b s k d"],
    mask: Bool[Array, "b t s"] | None,
    *,
    scale: float = 1.0,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "b t n d"]:
    """:func:`attend` by cuDNN, or by JAX's formula for it.

    cuDNN wants masked lengths even; multiples of eight are its faster path.
    """
    length = q.shape[1]
    if mask is not None:
        q = _padded(q, 1)
        k, v = _padded(k, 1), _padded(v, 1)
        mask = _padded(_padded(mask, 1), 2)[:, None]
    mixed = jax.nn.dot_product_attention(
        q, k, v, mask=mask, scale=scale, implementation=implementation
    )
    return mixed[:, :length]


def _padded(x: Array, axis: int) -> Array:
    """``x`` with zeros up to a multiple of eight."""
    extra = -x.shape[axis] % 8
    widths = [(0, extra if i == axis else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths) if extra else x
