"""Gemma 3 against transformers' implementation, and what only ours promises."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Gemma3TextModel

from recap_core.config.policy import LoraConfig
from recap_core.config.sizes import GEMMA3_270M
from recap_core.config.value import Gemma3Config
from recap_core.models.gemma3 import Gemma3, merge_adapters
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params, count_params
from tests.core.models import peers

CONFIG = Gemma3Config(
    width=24,
    depth=3,
    mlp_dim=40,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    sliding_window=4,
    global_every=3,
)
VOCAB = 50
MODEL = Gemma3(CONFIG, vocab_size=VOCAB)
ENCODE = jax.jit(MODEL.encode)
TOKENS = np.random.default_rng(0).integers(0, VOCAB, (2, 11))


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def causal() -> Gemma3ForCausalLM:
    """A random model, with norm scales away from zero."""
    return peers.random_gemma3(CONFIG, vocab_size=VOCAB)


@pytest.fixture(scope="module")
def peer(causal: Gemma3ForCausalLM) -> Gemma3TextModel:
    return causal.model


@pytest.fixture(scope="module")
def params(peer: Gemma3TextModel) -> Params:
    """The peer's weights under our names."""
    return peers.gemma3_params(peer, CONFIG)


def encode(
    params: Params, tokens: np.ndarray, valid: np.ndarray, mask: jax.Array | None = None
) -> np.ndarray:
    embedded = MODEL.embed(params, jnp.asarray(tokens))
    return np.asarray(ENCODE(params, embedded, jnp.asarray(valid), mask=mask))


def test_causal_outputs_equal_transformers(causal: Gemma3ForCausalLM, params: Params) -> None:
    """Under a causal mask, hidden states and next-token logits are transformers', windows too."""
    valid = np.ones(TOKENS.shape, bool)
    mask = np.broadcast_to(np.tri(11, dtype=bool), (2, 11, 11))

    ours = encode(params, TOKENS, valid, mask=jnp.asarray(mask))
    logits = MODEL.token_logits(params, jnp.asarray(ours))
    with torch.no_grad():
        theirs = causal(input_ids=torch.from_numpy(TOKENS), output_hidden_states=True)

    assert theirs.hidden_states is not None
    np.testing.assert_allclose(ours, theirs.hidden_states[-1].numpy(), atol=1e-4)
    np.testing.assert_allclose(logits, theirs.logits.numpy(), atol=1e-4)


def test_bidirectional_outputs_equal_transformers(peer: Gemma3TextModel, params: Params) -> None:
    """With padding, and windows that reach to both sides, valid rows are transformers'."""
    valid = np.arange(11) < np.array([[11], [8]])
    near = np.abs(np.arange(11)[:, None] - np.arange(11)) < CONFIG.sliding_window
    visible = np.broadcast_to(valid[:, None, None, :], (2, 1, 11, 11))

    ours = encode(params, TOKENS, valid)
    with torch.no_grad():
        masks = {
            "full_attention": torch.from_numpy(np.where(visible, 0, -1e9).astype(np.float32)),
            "sliding_attention": torch.from_numpy(
                np.where(visible & near, 0, -1e9).astype(np.float32)
            ),
        }
        call: Any = peer  # a dict of masks is accepted but undeclared
        output = call(input_ids=torch.from_numpy(TOKENS), attention_mask=masks)

    np.testing.assert_allclose(ours[valid], output.last_hidden_state.numpy()[valid], atol=1e-4)


def test_positions_can_skip_padding(params: Params) -> None:
    """Tokens around a gap, with the positions of the tokens that are there, are those alone."""
    valid = np.ones((2, 11), bool)
    valid[:, 2:7] = False  # longer than the window: by index the two sides are far apart
    positions = jnp.asarray(np.cumsum(valid, axis=1) - 1)
    embedded = MODEL.embed(params, jnp.asarray(TOKENS))
    kept = np.flatnonzero(valid[0])

    gap = jax.jit(MODEL.encode)(params, embedded, jnp.asarray(valid), positions=positions)
    alone = ENCODE(params, embedded[:, kept], jnp.ones((2, len(kept)), bool))

    np.testing.assert_allclose(gap[:, kept], alone, atol=1e-5)


def test_layers_alternate_as_published() -> None:
    """Five local layers, then a global one: transformers' pattern for 18 layers."""
    types = Gemma3TextConfig(num_hidden_layers=18).layer_types

    assert types is not None
    assert GEMMA3_270M.layer_is_global == tuple(kind == "full_attention" for kind in types)
    assert GEMMA3_270M.sliding_window == 512


def test_fresh_adapters_change_nothing(params: Params) -> None:
    """Every weight gets an adapter; the outputs and the weights of the seed stay as they were."""
    config = CONFIG.model_copy(update={"lora": LoraConfig(rank=3, alpha=6), "depth": 2})
    plain = Gemma3(config.model_copy(update={"lora": None}), vocab_size=VOCAB)
    adapted = Gemma3(config, vocab_size=VOCAB)
    params, with_adapters = (jax.jit(model.init)(jax.random.key(0)) for model in (plain, adapted))
    embedded, valid = plain.embed(params, jnp.asarray(TOKENS)), jnp.ones((2, 11), bool)

    layers = with_adapters["layers"]
    assert {n for n in layers["mlp"] if "lora" not in n} == set(params["layers"]["mlp"])
    assert sum("lora_a" in jax.tree_util.keystr(p) for p, _ in flat(with_adapters)) == 5
    assert layers["attn"]["kv_einsum"]["lora_a"].shape == (2, 2, 2, 24, 3)
    assert layers["mlp"]["linear_lora_b"].shape == (2, 3, 24)
    for path, leaf in flat(params):
        np.testing.assert_array_equal(leaf, dict(flat(with_adapters))[path])
    np.testing.assert_array_equal(
        jax.jit(plain.encode)(params, embedded, valid),
        jax.jit(adapted.encode)(with_adapters, embedded, valid),
    )


def test_merged_adapters_compute_the_same(params: Params) -> None:
    """Random adapters on top of the peer's weights: outputs equal those of the merged weights."""
    config = CONFIG.model_copy(update={"lora": LoraConfig(rank=3, alpha=6)})
    adapted = Gemma3(config, vocab_size=VOCAB)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(adapted.init, jax.random.key(0))
    mixed = jax.tree.map_with_path(
        lambda path, leaf: (
            jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32)
            if "lora" in jax.tree_util.keystr(path)
            else dict(flat(params))[path]
        ),
        shapes,
    )
    valid = np.ones(TOKENS.shape, bool)
    embedded = MODEL.embed(params, jnp.asarray(TOKENS))

    merged = merge_adapters(mixed, config)
    ours = np.asarray(jax.jit(adapted.encode)(mixed, embedded, jnp.asarray(valid)))

    assert jax.tree.structure(merged) == jax.tree.structure(params)
    np.testing.assert_allclose(encode(merged, TOKENS, valid), ours, atol=1e-4)
    assert np.abs(encode(params, TOKENS, valid) - ours).max() > 0.1
    # One weight by hand, with the scale alpha / rank = 2.
    weight = mixed["layers"]["attn"]["q_einsum"]
    product = np.einsum("lnir,lnro->lnio", weight["lora_a"], weight["lora_b"])
    np.testing.assert_allclose(
        merged["layers"]["attn"]["q_einsum"]["w"], weight["w"] + 2 * product, atol=1e-5
    )


def flat(tree: Params) -> list[tuple[Any, jax.Array]]:
    return list(jax.tree.leaves_with_path(tree))


def test_padding_changes_nothing(params: Params) -> None:
    """Rows of valid tokens do not depend on what stands in the padding."""
    valid = np.broadcast_to(np.arange(11) < 7, (2, 11))
    other = TOKENS.copy()
    other[:, 7:] = 0

    np.testing.assert_array_equal(
        encode(params, TOKENS, valid)[:, :7], encode(params, other, valid)[:, :7]
    )


def test_a_local_layer_sees_three_tokens_to_each_side() -> None:
    """With window 4 and one local layer, token 5 depends on tokens 2 to 8 alone."""
    model = Gemma3(CONFIG.model_copy(update={"depth": 1}), vocab_size=VOCAB)
    params = jax.jit(model.init)(jax.random.key(0))
    embedded = model.embed(params, jnp.asarray(TOKENS))
    valid = jnp.ones((2, 11), bool)

    def row(x: jax.Array) -> jax.Array:
        return model.encode(params, x, valid)[0, 5].sum()

    reach = np.abs(jax.jit(jax.grad(row))(embedded)[0]).sum(axis=-1) > 0

    np.testing.assert_array_equal(np.flatnonzero(reach), np.arange(2, 9))


def test_loop_and_unrolled_agree(params: Params) -> None:
    """How the layers are compiled changes no number beyond rounding."""
    valid = jnp.ones((2, 11), bool)
    embedded = MODEL.embed(params, jnp.asarray(TOKENS))
    unrolled = Gemma3(CONFIG, vocab_size=VOCAB, loop=LayerLoop(unroll=True, remat=True))

    np.testing.assert_allclose(
        jax.jit(unrolled.encode)(params, embedded, valid),
        ENCODE(params, embedded, valid),
        atol=1e-5,
    )


def test_bfloat16_activations_stay_bfloat16(params: Params) -> None:
    """Nothing promotes the activations on the way."""
    model = Gemma3(CONFIG, vocab_size=VOCAB, compute_dtype=jnp.bfloat16)
    encoded = jax.jit(model.encode)(
        params, model.embed(params, jnp.asarray(TOKENS)), jnp.ones((2, 11), bool)
    )

    assert encoded.dtype == jnp.bfloat16


def test_the_published_size() -> None:
    """Gemma 3 270M has 268,098,176 parameters."""
    model = Gemma3(GEMMA3_270M, vocab_size=262_144)

    assert count_params(jax.eval_shape(model.init, jax.random.key(0))) == 268_098_176
