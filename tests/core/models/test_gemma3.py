"""Gemma 3 against transformers' implementation, and what only ours promises."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import Gemma3TextConfig, Gemma3TextModel

from recap_core.config.sizes import GEMMA3_270M
from recap_core.config.value import Gemma3Config
from recap_core.models.gemma3 import Gemma3
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params, count_params

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
def peer() -> Gemma3TextModel:
    """A random model, with norm scales away from zero."""
    torch.manual_seed(0)
    make_config: Any = Gemma3TextConfig  # some of its settings are undeclared
    config = make_config(
        vocab_size=VOCAB,
        hidden_size=CONFIG.width,
        intermediate_size=CONFIG.mlp_dim,
        num_hidden_layers=CONFIG.depth,
        num_attention_heads=CONFIG.num_heads,
        num_key_value_heads=CONFIG.num_kv_heads,
        head_dim=CONFIG.head_dim,
        query_pre_attn_scalar=CONFIG.head_dim,
        sliding_window=CONFIG.sliding_window,
        sliding_window_pattern=CONFIG.global_every,
        attn_implementation="eager",
    )
    model = Gemma3TextModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


@pytest.fixture(scope="module")
def params(peer: Gemma3TextModel) -> Params:
    """The peer's weights under our names."""
    state: dict[str, Any] = {name: value.numpy() for name, value in peer.state_dict().items()}

    def stacked(name: str) -> np.ndarray:
        return np.stack([state[f"layers.{i}.{name}.weight"] for i in range(CONFIG.depth)])

    def heads(name: str) -> np.ndarray:
        weight = stacked(f"self_attn.{name}_proj")
        return weight.reshape(CONFIG.depth, -1, CONFIG.head_dim, CONFIG.width).swapaxes(2, 3)

    out = stacked("self_attn.o_proj").swapaxes(1, 2)
    tree = {
        "embedder": {"input_embedding": state["embed_tokens.weight"]},
        "layers": {
            "pre_attention_norm": {"scale": stacked("input_layernorm")},
            "attn": {
                "q_einsum": {"w": heads("q")},
                "kv_einsum": {"w": np.stack([heads("k"), heads("v")], axis=1)},
                "attn_vec_einsum": {
                    "w": out.reshape(CONFIG.depth, -1, CONFIG.head_dim, CONFIG.width)
                },
                "query_norm": {"scale": stacked("self_attn.q_norm")},
                "key_norm": {"scale": stacked("self_attn.k_norm")},
            },
            "post_attention_norm": {"scale": stacked("post_attention_layernorm")},
            "pre_ffw_norm": {"scale": stacked("pre_feedforward_layernorm")},
            "mlp": {
                "gating_einsum": np.stack(
                    [stacked("mlp.gate_proj"), stacked("mlp.up_proj")], axis=1
                ).swapaxes(2, 3),
                "linear": stacked("mlp.down_proj").swapaxes(1, 2),
            },
            "post_ffw_norm": {"scale": stacked("post_feedforward_layernorm")},
        },
        "final_norm": {"scale": state["norm.weight"]},
    }
    return jax.tree.map(jnp.asarray, tree)


def encode(
    params: Params, tokens: np.ndarray, valid: np.ndarray, mask: jax.Array | None = None
) -> np.ndarray:
    embedded = MODEL.embed(params, jnp.asarray(tokens))
    return np.asarray(ENCODE(params, embedded, jnp.asarray(valid), mask=mask))


def test_causal_outputs_equal_transformers(peer: Gemma3TextModel, params: Params) -> None:
    """Under a causal mask every hidden state is transformers', windows included."""
    valid = np.ones(TOKENS.shape, bool)
    causal = np.broadcast_to(np.tri(11, dtype=bool), (2, 11, 11))

    ours = encode(params, TOKENS, valid, mask=jnp.asarray(causal))
    with torch.no_grad():
        theirs = peer(input_ids=torch.from_numpy(TOKENS)).last_hidden_state.numpy()

    np.testing.assert_allclose(ours, theirs, atol=1e-4)


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
