from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.models.layers import LayerLoop
from recap_core.models.siglip import Siglip, encoder_block
from tests.core.models import golden


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    arrays = golden.load("submodules")
    return {
        name.removeprefix("siglip/"): a for name, a in arrays.items() if name.startswith("siglip/")
    }


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    return golden.nested(golden.load("pi05_tiny_params"))["PaliGemma"]["img"]


@pytest.fixture(scope="module")
def images(reference: dict[str, np.ndarray]) -> jax.Array:
    return jnp.asarray(reference["image_in"].astype(np.float32) / 255 * 2 - 1)


SIGLIP = Siglip(golden.TINY_SIGLIP, image_px=224, out_dim=64)


def test_tokens_equal_the_reference(
    reference: dict[str, np.ndarray], params: dict[str, Any], images: jax.Array
) -> None:
    """Patch embedding, blocks, encoder output and tokens are openpi's numbers."""
    patches = SIGLIP.embed_patches(params, images)
    corner = patches.reshape(2, 16, 16, 32)[:, :4, :4]
    np.testing.assert_allclose(corner, reference["stem_first4x4"], atol=2e-4)

    x = patches + params["pos_embedding"]
    for index in range(2):
        layer = jax.tree.map(lambda a, i=index: a[i], params["Transformer"]["encoderblock"])
        x = encoder_block(layer, x)
        expected = reference[f"block{index:02}_mlp_residual_first8"]
        np.testing.assert_allclose(x[:, :8], expected, atol=2e-4)

    encoded = SIGLIP.encode(params, images)
    np.testing.assert_allclose(encoded[:, :16], reference["encoded_first16"], atol=2e-4)
    np.testing.assert_allclose(SIGLIP.tokens(params, images), reference["tokens"], atol=2e-4)


@pytest.mark.parametrize("loop", [LayerLoop(remat=True), LayerLoop(unroll=True)])
def test_remat_and_unrolling_change_no_number(loop: LayerLoop) -> None:
    """Gradients agree with and without them."""
    images = jax.random.uniform(jax.random.key(1), (1, 28, 28, 3))
    plain = Siglip(golden.TINY_SIGLIP, image_px=28)
    other = Siglip(golden.TINY_SIGLIP, image_px=28, loop=loop)
    params = plain.init(jax.random.key(0))

    def gradient(siglip: Siglip) -> Any:  # noqa: ANN401 - a tree
        return jax.jit(jax.grad(lambda p: jnp.mean(jnp.sin(siglip.tokens(p, images)))))(params)

    expected, found = gradient(plain), gradient(other)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_without_a_head_tokens_are_the_encoder_output() -> None:
    """The value model reads SigLIP without a head, at any image size and type."""
    siglip = Siglip(golden.TINY_SIGLIP, image_px=30, compute_dtype=jnp.bfloat16)
    params = siglip.init(jax.random.key(0))
    tokens = siglip.tokens(params, jnp.zeros((2, 30, 30, 3)))
    assert "head" not in params
    assert siglip.num_tokens == 4
    assert siglip.token_dim == 32
    assert tokens.shape == (2, 4, 32)
    assert tokens.dtype == jnp.bfloat16
