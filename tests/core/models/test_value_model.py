from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from recap_core.config.policy import SiglipConfig
from recap_core.config.sizes import TINY_VALUE, VALUE_670M
from recap_core.config.value import Gemma3Config, ValueModelConfig
from recap_core.models.parameters import Params, count_params
from recap_core.models.siglip import Siglip
from recap_core.models.value_model import ValueInputs, ValueModel, masked_mean
from tests.core.models import peers

CONFIG = ValueModelConfig(
    gemma=Gemma3Config(
        width=16, depth=1, mlp_dim=32, num_heads=2, num_kv_heads=1, head_dim=8, sliding_window=6
    ),
    siglip=SiglipConfig(width=24, depth=1, mlp_dim=32, num_heads=2),
    vocab_size=30,
    image_px=28,
    cross_attention_heads=4,
    head_hidden=8,
    num_bins=21,
    max_token_len=5,
    state_dim=3,
    compute_dtype="float32",
)
BLIND = CONFIG.model_copy(update={"views": (), "state_input": "continuous"})
BASE, WRIST = CONFIG.views
MODEL, BLIND_MODEL = ValueModel(CONFIG), ValueModel(BLIND)


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def random_params(model: ValueModel) -> Params:
    """Random weights without compiling ``init``."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), "float32"), shapes)


@pytest.fixture(scope="module")
def params() -> Params:
    return random_params(MODEL)


@pytest.fixture(scope="module")
def logits_of(params: Params) -> Callable[[ValueInputs], np.ndarray]:
    """The seeing model's logits, compiled once."""
    compiled = jax.jit(MODEL.logits)
    return lambda inputs: np.asarray(compiled(params, inputs))


def make_inputs(seed: int = 0, *, wrist: bool = True) -> ValueInputs:
    rng = np.random.default_rng(seed)
    images = {
        view: jnp.asarray(rng.uniform(-1, 1, (2, 28, 28, 3)), jnp.float32) for view in (BASE, WRIST)
    }
    return ValueInputs(
        images=images,
        image_masks={BASE: jnp.ones(2, bool), WRIST: jnp.full(2, wrist)},
        state=jnp.asarray(rng.normal(size=(2, 3)), jnp.float32),
        tokens=jnp.asarray([[2, 7, 9, 4, 0], [2, 7, 0, 0, 0]]),
        token_mask=jnp.asarray([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], bool),
    )


def test_siglip_equals_transformers() -> None:
    """The vision tower is transformers' SiglipVisionModel up to its last norm, in float32.

    Patches of 14 pixels on 58: the last two rows and columns are not read.
    """
    config = SiglipConfig(width=24, depth=2, mlp_dim=40, num_heads=3)
    peer = peers.random_siglip(config, image_px=58)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 58, 58, 3)).astype(np.float32)

    siglip = Siglip(config, image_px=58)
    ours = siglip.tokens(peers.siglip_params(peer, config), jnp.asarray(images))
    with torch.no_grad():
        theirs = peer(torch.from_numpy(images).permute(0, 3, 1, 2)).last_hidden_state.numpy()

    assert ours.shape == (2, 16, 24)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_groups_of_the_full_model() -> None:
    """The reference's six groups and about 670 million parameters."""
    params = jax.eval_shape(ValueModel(VALUE_670M).init, jax.random.key(0))

    assert set(params) == {
        "img",
        "img_projection",
        "llm",
        "cross_attention",
        "cross_attn_norm",
        "value_head",
    }
    # A norm of 640 dims, then 640 -> 320 and 320 -> 201 with biases.
    assert count_params(params["value_head"]) == 2 * 640 + 641 * 320 + 321 * 201
    # SigLIP, Gemma 3, projection, four 640 x 640 projections with biases, two norms, head.
    assert count_params(params) == 412_442_352 + 268_098_176 + 737_920 + 1_640_960 + 1280 + 270_921


def test_the_leaves_of_the_reference() -> None:
    """Its bundle has 241 arrays: ours with the image head, each of Gemma's 18 layers apart."""
    config = VALUE_670M.model_copy(update={"image_head": True})
    params = jax.eval_shape(ValueModel(config).init, jax.random.key(0))
    per_layer = len(jax.tree.leaves(params["llm"]["layers"]))

    # Its SigLIP is stacked over layers as ours is.
    assert per_layer == 11
    assert len(jax.tree.leaves(params)) - per_layer + 18 * per_layer == 241


def test_the_groups_of_the_stitched_model() -> None:
    """SPEC §15: a projector of 2.07 million parameters and a head of 129 thousand."""
    config = VALUE_670M.model_copy(update={"fusion": "stitched"})
    params = jax.eval_shape(ValueModel(config).init, jax.random.key(0))

    assert set(params) == {"img", "img_projection", "llm", "value_head"}
    assert count_params(params["img_projection"]) == 1153 * 1152 + 1153 * 640
    assert count_params(params["value_head"]) == 641 * 201


def test_without_views_there_are_no_image_parameters() -> None:
    """A blind model has text, state and head only."""
    params = jax.eval_shape(BLIND_MODEL.init, jax.random.key(0))

    assert set(params) == {"llm", "state_proj", "value_head"}


def test_the_tiny_model_is_tiny() -> None:
    """The demo's value model has about 115 thousand parameters."""
    params = jax.eval_shape(ValueModel(TINY_VALUE).init, jax.random.key(0))

    assert 100_000 < count_params(params) < 130_000


def test_a_masked_view_changes_nothing(logits_of: Callable[[ValueInputs], np.ndarray]) -> None:
    """Whatever a masked camera shows, no logit moves; a visible one moves them."""
    base = make_inputs().images[BASE]
    logits = {
        (seed, wrist): logits_of(
            make_inputs(wrist=wrist)._replace(
                images={BASE: base, WRIST: make_inputs(seed).images[WRIST]}
            )
        )
        for seed in (1, 2)
        for wrist in (True, False)
    }

    np.testing.assert_array_equal(logits[1, False], logits[2, False])
    assert np.abs(logits[1, True] - logits[2, True]).max() > 1e-4


def test_a_sample_without_any_view_reads_its_text_alone(
    logits_of: Callable[[ValueInputs], np.ndarray],
) -> None:
    """With every camera masked, the images cannot leak through the cross-attention."""
    masks = {BASE: jnp.zeros(2, bool), WRIST: jnp.zeros(2, bool)}

    first, second = (logits_of(make_inputs(seed)._replace(image_masks=masks)) for seed in (1, 2))

    np.testing.assert_array_equal(first, second)


def test_padding_tokens_change_nothing(logits_of: Callable[[ValueInputs], np.ndarray]) -> None:
    """Ids behind the prompt's end are not read."""
    other = jnp.asarray([[2, 7, 9, 4, 8], [2, 7, 1, 1, 1]])

    np.testing.assert_allclose(
        logits_of(make_inputs()), logits_of(make_inputs()._replace(tokens=other)), atol=1e-6
    )


def test_the_state_is_read_only_where_it_should_be(
    logits_of: Callable[[ValueInputs], np.ndarray],
) -> None:
    """``continuous`` reads the state, ``none`` does not."""
    blind_params = random_params(BLIND_MODEL)
    blind_logits = jax.jit(BLIND_MODEL.logits)
    other = make_inputs()._replace(state=make_inputs(3).state)

    seen = blind_logits(blind_params, make_inputs()) - blind_logits(blind_params, other)

    assert np.abs(seen).max() > 1e-4
    np.testing.assert_array_equal(logits_of(make_inputs()), logits_of(other))


def test_word_embeddings_get_no_gradient(params: Params) -> None:
    """Every weight learns except the embedding table."""
    target = jnp.full((2, 21), 1 / 21)
    gradient = jax.jit(jax.grad(lambda p: MODEL.loss(p, make_inputs(), target).mean()))(params)
    still = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree.leaves_with_path(gradient)
        if not np.abs(leaf).max()
    ]

    assert still == ["llm/embedder/input_embedding"]


def test_the_pool_is_a_mean_over_valid_tokens() -> None:
    """(1 + 3) / 2 with the third token masked; nothing valid gives zero."""
    x = jnp.asarray([[[1.0], [3.0], [100.0]], [[5.0], [6.0], [7.0]]])
    mask = jnp.asarray([[True, True, False], [False, False, False]])

    np.testing.assert_allclose(masked_mean(x, mask), [[2.0], [0.0]])


def test_value_is_the_mean_of_the_distribution(
    params: Params, logits_of: Callable[[ValueInputs], np.ndarray]
) -> None:
    """V(o) is the softmax of the logits times the support."""
    weight = np.exp(logits_of(make_inputs()))
    expected = weight @ np.linspace(-1, 0, 21) / weight.sum(axis=1)

    np.testing.assert_allclose(jax.jit(MODEL.value)(params, make_inputs()), expected, atol=1e-6)


def test_a_blind_model_learns_a_value_of_the_state() -> None:
    """Forty steps tell states of value 0 from states of value -1."""
    state = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    tokens = jnp.full((32, 5), 2)
    inputs = ValueInputs({}, {}, jnp.asarray(state), tokens, jnp.ones((32, 5), bool))
    is_good = state[:, 0] > 0
    target = jnp.asarray(np.eye(21, dtype=np.float32)[np.where(is_good, 20, 0)])
    optimizer = optax.adam(1e-2)

    def step(
        carry: tuple[Params, optax.OptState], _: None
    ) -> tuple[tuple[Params, optax.OptState], None]:
        params, opt_state = carry
        gradient = jax.grad(lambda p: BLIND_MODEL.loss(p, inputs, target).mean())(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        params = jax.tree.map(jnp.add, params, updates)
        return (params, opt_state), None

    @jax.jit
    def train_and_value(key: jax.Array) -> jax.Array:
        params = BLIND_MODEL.init(key)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, length=40)
        return BLIND_MODEL.value(params, inputs)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        value = np.asarray(train_and_value(jax.random.key(0)))

    assert value[is_good].mean() - value[~is_good].mean() > 0.8


def test_bfloat16_and_float32_agree_to_rounding(
    params: Params, logits_of: Callable[[ValueInputs], np.ndarray]
) -> None:
    """The published compute type is close to float32; logits are float32 in both."""
    half = ValueModel(CONFIG.model_copy(update={"compute_dtype": "bfloat16"}))
    logits = jax.jit(half.logits)(params, make_inputs())

    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, logits_of(make_inputs()), atol=0.1)
