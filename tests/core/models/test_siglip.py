from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.config.policy import PolicyModelConfig, SiglipConfig
from recap_core.models.layers import LayerLoop
from recap_core.models.siglip import Siglip, encoder_block

TINY = SiglipConfig(width=32, depth=2, mlp_dim=48, num_heads=4)


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def test_tokens_equal_the_reference(
    golden_arrays: Callable[[str], dict[str, np.ndarray]],
    golden_params: dict[str, Any],
    golden_model: PolicyModelConfig,
) -> None:
    """Patch embedding, blocks, encoder output and tokens are openpi's numbers."""
    reference = golden_arrays("submodules")
    siglip = Siglip(golden_model.siglip, image_px=224, out_dim=64)
    params = golden_params["PaliGemma"]["img"]
    images = jnp.asarray(reference["siglip/image_in"].astype(np.float32) / 255 * 2 - 1)

    patches = jax.jit(siglip.embed_patches)(params, images)
    corner = patches.reshape(2, 16, 16, 32)[:, :4, :4]
    np.testing.assert_allclose(corner, reference["siglip/stem_first4x4"], atol=2e-4, rtol=0)
    x = patches + params["pos_embedding"]
    for index in range(2):
        layer = jax.tree.map(lambda a, i=index: a[i], params["Transformer"]["encoderblock"])
        x = jax.jit(encoder_block)(layer, x)
        expected = reference[f"siglip/block{index:02}_mlp_residual_first8"]
        np.testing.assert_allclose(x[:, :8], expected, atol=2e-4, rtol=0)
    encoded = jax.jit(siglip.encode)(params, images)
    np.testing.assert_allclose(
        encoded[:, :16], reference["siglip/encoded_first16"], atol=2e-4, rtol=0
    )
    tokens = jax.jit(siglip.tokens)(params, images)
    np.testing.assert_allclose(tokens, reference["siglip/tokens"], atol=2e-4, rtol=0)


def test_remat_and_unrolling_change_no_number() -> None:
    """Gradients agree with those of the plain loop."""
    images = jax.random.uniform(jax.random.key(1), (1, 28, 28, 3))
    params = jax.jit(Siglip(TINY, image_px=28).init)(jax.random.key(0))

    def gradient(loop: LayerLoop) -> list[Any]:
        siglip = Siglip(TINY, image_px=28, loop=loop)
        slope = jax.grad(lambda p: jnp.mean(jnp.sin(siglip.tokens(p, images))))
        return jax.tree.leaves(jax.jit(slope)(params))

    expected = gradient(LayerLoop())
    for loop in (LayerLoop(remat=True), LayerLoop(remat=True, unroll=True)):
        for a, b in zip(expected, gradient(loop), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_without_a_head_tokens_are_the_encoder_output() -> None:
    """The value model reads SigLIP without a head, at any image size and type."""
    siglip = Siglip(TINY, image_px=30, compute_dtype=jnp.bfloat16)
    params = jax.jit(siglip.init)(jax.random.key(0))
    tokens = jax.jit(siglip.tokens)(params, jnp.zeros((2, 30, 30, 3)))
    assert "head" not in params
    assert siglip.num_tokens == 4
    assert siglip.token_dim == 32
    assert tokens.shape == (2, 4, 32)
    assert tokens.dtype == jnp.bfloat16
