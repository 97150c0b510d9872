from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.config.policy import LoraConfig, PolicyModelConfig
from recap_core.models.attention import attend, block_causal_mask, rotate, token_positions
from recap_core.models.gemma import Context, Gemma, Streams, rms_norm
from recap_core.models.layers import LayerLoop
from recap_core.models.lora import Weight, contract, expand, init_adapter


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def reference(golden_arrays: Callable[[str], dict[str, np.ndarray]]) -> dict[str, jax.Array]:
    return jax.tree.map(jnp.asarray, golden_arrays("submodules"))


@pytest.fixture(scope="module")
def gemma(golden_model: PolicyModelConfig) -> Gemma:
    return Gemma(golden_model.vlm, golden_model.expert, vocab_size=512, adaptive=True)


def test_a_two_expert_pass_equals_the_reference(
    reference: dict[str, jax.Array], gemma: Gemma, golden_params: dict[str, Any]
) -> None:
    """Both outputs, keys and values are openpi's numbers."""
    context = Context(
        reference["gemma/positions"], reference["gemma/attn_mask"], reference["gemma/adarms_cond"]
    )
    streams = Streams(reference["gemma/x_vlm"], reference["gemma/x_expert"])
    out, cache = jax.jit(gemma.encode)(golden_params["PaliGemma"]["llm"], streams, context)

    valid = np.asarray(reference["gemma/prefix_mask"])
    assert out.vlm is not None
    assert out.expert is not None
    np.testing.assert_allclose(
        np.asarray(out.vlm)[valid], np.asarray(reference["gemma/out_vlm"])[valid], atol=2e-4, rtol=0
    )
    np.testing.assert_allclose(out.expert, reference["gemma/out_expert"], atol=2e-4, rtol=0)
    keys = np.concatenate([valid, np.ones((2, 5), bool)], axis=1)
    for found, name in ((cache.keys, "k_cache"), (cache.values, "v_cache")):
        expected = np.asarray(reference[f"gemma/{name}"])
        np.testing.assert_allclose(np.asarray(found)[:, keys], expected[:, keys], atol=2e-4, rtol=0)


@pytest.mark.parametrize("unroll", [True, False], ids=["unrolled", "loop"])
def test_an_output_that_nobody_reads_changes_nothing_else(
    golden_model: PolicyModelConfig,
    reference: dict[str, jax.Array],
    golden_params: dict[str, Any],
    *,
    unroll: bool,
) -> None:
    """The expert's output, the cache and all gradients; the last VLM feed-forward has none."""
    loop = LayerLoop(unroll=unroll)
    gemma = Gemma(golden_model.vlm, golden_model.expert, vocab_size=512, adaptive=True, loop=loop)
    context = Context(
        reference["gemma/positions"], reference["gemma/attn_mask"], reference["gemma/adarms_cond"]
    )
    streams = Streams(reference["gemma/x_vlm"], reference["gemma/x_expert"])
    llm = golden_params["PaliGemma"]["llm"]

    def outputs(params: Any, *, vlm_output: bool) -> tuple[jax.Array, Any]:  # noqa: ANN401
        out, cache = gemma.encode(params, streams, context, vlm_output=vlm_output)
        assert (out.vlm is None) is not vlm_output
        assert out.expert is not None
        return jnp.sum(jnp.square(out.expert)), (out.expert, cache)

    graded = jax.jit(jax.value_and_grad(outputs, has_aux=True), static_argnames="vlm_output")
    whole, less = (graded(llm, vlm_output=flag) for flag in (True, False))

    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(less), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    gradients = less[1]["layers"]["mlp"]["linear"]
    assert np.any(gradients[:-1])
    assert not np.any(gradients[-1])


def test_embeddings_are_scaled_by_the_root_of_the_width(
    reference: dict[str, jax.Array], gemma: Gemma, golden_params: dict[str, Any]
) -> None:
    """Looked-up rows are openpi's numbers."""
    found = gemma.embed(golden_params["PaliGemma"]["llm"], reference["gemma/embed_tokens_in"])
    np.testing.assert_allclose(found, reference["gemma/embed_tokens_out"], atol=2e-4, rtol=0)


def test_norms_equal_the_reference(reference: dict[str, jax.Array]) -> None:
    """RMSNorm, and adaRMS with its gate, are openpi's numbers."""
    out, gate = rms_norm({"scale": reference["rmsnorm/scale"]}, reference["rmsnorm/x"], None)
    assert gate is None
    np.testing.assert_allclose(out, reference["rmsnorm/out"], atol=2e-4, rtol=0)

    dense = {"kernel": reference["adarms/kernel"], "bias": reference["adarms/bias"]}
    out, gate = rms_norm({"Dense_0": dense}, reference["adarms/x"], reference["adarms/cond"])
    np.testing.assert_allclose(out, reference["adarms/out"], atol=2e-4, rtol=0)
    assert gate is not None
    np.testing.assert_allclose(gate, reference["adarms/gate"], atol=2e-4, rtol=0)


def test_an_adaptive_norm_needs_a_condition() -> None:
    """The missing flow time is named, not guessed."""
    dense = {"kernel": jnp.zeros((4, 12)), "bias": jnp.zeros(12)}
    with pytest.raises(ValueError, match="adaptive norm needs a condition"):
        rms_norm({"Dense_0": dense}, jnp.ones((1, 2, 4)), None)


def test_rotation_equals_the_reference(reference: dict[str, jax.Array]) -> None:
    """Rotary embedding pairs dims i and i + d/2, base 10000."""
    found = rotate(reference["rope/x"], reference["rope/positions"])
    np.testing.assert_allclose(found, reference["rope/out"], atol=2e-4, rtol=0)


def test_rotation_by_a_right_angle() -> None:
    """With base 1 every pair turns by the position in radians: (1, 0) becomes (cos p, sin p)."""
    x = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    found = rotate(x, jnp.array([[3]]), base=1.0)
    np.testing.assert_allclose(found.ravel(), [np.cos(3), np.sin(3)], atol=1e-6)


@pytest.mark.parametrize("case", range(4))
def test_masks_equal_the_reference(reference: dict[str, jax.Array], case: int) -> None:
    """Who sees whom is exactly openpi's rule."""
    valid = reference[f"attnmask/{case}/input_mask"]
    found = block_causal_mask(valid, reference[f"attnmask/{case}/mask_ar"])
    np.testing.assert_array_equal(found, reference[f"attnmask/{case}/out"])


def test_positions_count_valid_tokens() -> None:
    """Padding repeats the position before it."""
    valid = jnp.array([[True, True, False, True]])
    np.testing.assert_array_equal(token_positions(valid), [[0, 1, 1, 2]])


def test_attention_by_hand() -> None:
    """Two query heads share one key head: equal logits average the visible values."""
    q = jnp.zeros((1, 1, 2, 2))
    k = jnp.ones((1, 3, 1, 2))
    v = jnp.array([[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]).reshape(1, 3, 1, 2)
    mask = jnp.array([[[True, True, False]]])
    np.testing.assert_allclose(attend(q, k, v, mask).reshape(2, 2), [[2, 4], [2, 4]])


def test_a_query_that_sees_nothing_stays_finite() -> None:
    """Padding rows mean nothing, and must not turn into NaN."""
    x = jnp.ones((1, 2, 1, 2))
    assert np.isfinite(attend(x, x, x, jnp.zeros((1, 2, 2), dtype=bool))).all()


def test_adapters_add_their_scaled_product() -> None:
    """``expand`` and ``contract`` follow the formulas of the module, term by term."""
    keys = jax.random.split(jax.random.key(0), 4)
    heads, i, o, scale = 3, 4, 5, 0.5
    w = jax.random.normal(keys[0], (heads, i, o))
    a, b = init_adapter(keys[1], w.shape, LoraConfig(rank=2, alpha=1))
    weight = Weight(w, a, b, scale)

    x = jax.random.normal(keys[2], (1, 1, i))
    delta = scale * np.einsum("gir,gro->gio", a, b)
    expected = np.einsum("bti,gio->btgo", x, w + delta)
    np.testing.assert_allclose(expand(x, weight), expected, atol=1e-5)

    y = jax.random.normal(keys[3], (1, 1, heads, i))
    delta = scale * np.einsum("gir,ro->gio", a, np.sum(b, axis=0))
    expected = np.einsum("btgi,gio->bto", y, w + delta)
    np.testing.assert_allclose(contract(y, weight), expected, atol=1e-5)
