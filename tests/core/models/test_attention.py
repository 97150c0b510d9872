"""The fused kernel's inputs, and weights in the compute dtype."""

import jax
import jax.numpy as jnp
import numpy as np

from recap_core.config.policy import SiglipConfig
from recap_core.config.value import Gemma3Config, ValueModelConfig
from recap_core.models.attention import attend, attend_fused, attention_kernel
from recap_core.models.precision import with_weights_in
from recap_core.models.value_model import ValueInputs, ValueModel

MODEL = ValueModel(
    ValueModelConfig(
        gemma=Gemma3Config(width=16, depth=2, mlp_dim=24, num_heads=2, num_kv_heads=1, head_dim=8),
        siglip=SiglipConfig(width=24, depth=2, mlp_dim=32, num_heads=3),
        vocab_size=30,
        image_px=28,
        cross_attention_heads=2,
        head_hidden=8,
        num_bins=21,
        max_token_len=5,
        state_dim=3,
        state_input="continuous",
    )
)


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_what_the_fused_kernel_is_given_gives_the_same_attention() -> None:
    """Odd lengths, fewer key heads, masked keys: as JAX's own formula reads them."""
    q, k, v = draw(2, 5, 4, 8), draw(2, 11, 2, 8, seed=1), draw(2, 11, 2, 8, seed=2)
    mask = jnp.arange(11)[None, None, :] < jnp.array([[[11]], [[6]]])
    mask = jnp.broadcast_to(mask, (2, 5, 11))

    for given in (mask, None):
        fused = attend_fused(q, k, v, given, scale=0.3, implementation="xla")
        np.testing.assert_allclose(fused, attend(q, k, v, given, scale=0.3), atol=1e-6)


def test_a_fused_kernel_needs_a_gpu() -> None:
    """On a CPU the program is the same, whatever is asked for."""
    q = draw(1, 4, 2, 8).astype(jnp.bfloat16)
    plain = jax.make_jaxpr(lambda: attend(q, q, q))()

    with attention_kernel("fused"):
        asked = jax.make_jaxpr(lambda: attend(q, q, q))()

    assert str(asked) == str(plain)


def test_weights_cast_once_give_the_same_values() -> None:
    """To the last bit: what the model uses in float32 stays float32, all else is bfloat16."""
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), "f4"), shapes)
    image = draw(2, 28, 28, 3)
    inputs = ValueInputs(
        images=dict.fromkeys(MODEL.config.views, image),
        image_masks=dict.fromkeys(MODEL.config.views, jnp.array([True, False])),
        state=draw(2, 3),
        tokens=jnp.asarray(rng.integers(0, 30, (2, 5)), jnp.int32),
        token_mask=jnp.ones((2, 5), bool),
    )
    value = jax.jit(MODEL.value)

    cast = with_weights_in(params, jnp.bfloat16)

    np.testing.assert_array_equal(value(cast, inputs), value(params, inputs))
    kinds = jax.tree.map(lambda leaf: leaf.dtype == jnp.bfloat16, cast)
    assert jax.tree.all(kinds["llm"]["layers"]["attn"]["q_einsum"])
    assert jax.tree.all(kinds["cross_attention"])
    assert not any(jax.tree.leaves(kinds["value_head"]))
    share = sum(leaf.size for leaf in jax.tree.leaves(cast) if leaf.dtype == jnp.bfloat16)
    assert share > 0.4 * sum(leaf.size for leaf in jax.tree.leaves(params))
