"""Both fusions: against PyTorch and Flax, and what masks, padding and batches must not change."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from recap_core.config.policy import LoraConfig, SiglipConfig
from recap_core.config.value import Fusion, Gemma3Config, ValueModelConfig
from recap_core.models.parameters import Params
from recap_core.models.value_model import (
    ValueInputs,
    ValueModel,
    last_valid,
    masked_mean,
    merge_value_adapters,
)
from tests.core.models import peers

CROSS = ValueModelConfig(
    gemma=Gemma3Config(
        width=16,
        depth=2,
        mlp_dim=32,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        sliding_window=6,
        global_every=2,
    ),
    siglip=SiglipConfig(width=24, depth=1, mlp_dim=32, num_heads=2),
    vocab_size=30,
    image_px=28,
    cross_attention_heads=4,
    head_hidden=8,
    num_bins=21,
    max_token_len=5,
    compute_dtype="float32",
)
STITCHED = CROSS.model_copy(update={"fusion": "stitched"})
CONFIGS: dict[Fusion, ValueModelConfig] = {"cross_attention": CROSS, "stitched": STITCHED}
BASE, WRIST = CROSS.views
FUSIONS = pytest.mark.parametrize("fusion", list(CONFIGS))

type Compiled = Callable[[Params, ValueInputs], jax.Array]


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def logits() -> dict[str, Compiled]:
    return {name: jax.jit(ValueModel(config).logits) for name, config in CONFIGS.items()}


@pytest.fixture(scope="module")
def token_logits() -> dict[str, Compiled]:
    return {name: jax.jit(ValueModel(config).token_logits) for name, config in CONFIGS.items()}


@pytest.fixture(scope="module")
def params() -> dict[str, Params]:
    return {name: random_params(config) for name, config in CONFIGS.items()}


def random_params(config: ValueModelConfig) -> Params:
    """Random weights without compiling ``init``."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(ValueModel(config).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), "float32"), shapes)


def make_inputs(seed: int = 0) -> ValueInputs:
    """Three samples: everything there; no wrist; short text."""
    rng = np.random.default_rng(seed)
    images = {
        view: jnp.asarray(rng.uniform(-1, 1, (3, 28, 28, 3)), jnp.float32) for view in (BASE, WRIST)
    }
    return ValueInputs(
        images=images,
        image_masks={BASE: jnp.ones(3, bool), WRIST: jnp.asarray([True, False, True])},
        state=jnp.zeros((3, 32)),
        tokens=jnp.asarray([[2, 7, 9, 4, 5], [2, 7, 9, 4, 5], [2, 7, 0, 0, 0]]),
        token_mask=jnp.asarray([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool),
    )


def test_stitched_logits_equal_pytorch(logits: dict[str, Compiled]) -> None:
    """SigLIP, projector, Gemma 3 and a linear head out of transformers and torch.

    The second sample has no wrist image: its peer reads one image, and so does ours.
    """
    siglip = peers.random_siglip(STITCHED.siglip, image_px=28)
    gemma = peers.random_gemma3(STITCHED.gemma, vocab_size=30)
    projector = torch.nn.Sequential(
        torch.nn.Linear(24, 24), torch.nn.GELU(), torch.nn.Linear(24, 16)
    )
    head = torch.nn.Linear(16, 21)
    peers.randomise(projector)
    peers.randomise(head)
    params = {
        "img": peers.siglip_params(siglip, STITCHED.siglip),
        "img_projection": {"linear1": linear(projector[0]), "linear2": linear(projector[2])},
        "llm": peers.gemma3_params(gemma.model, STITCHED.gemma),
        "value_head": {"linear": linear(head)},
    }
    inputs = make_inputs()

    ours = logits["stitched"](params, inputs)

    embed = gemma.get_input_embeddings()
    with torch.no_grad():
        for sample in range(3):
            views = [v for v in (BASE, WRIST) if bool(inputs.image_masks[v][sample])]
            pixels = np.stack([np.asarray(inputs.images[v][sample]) for v in views])
            tokens = siglip(torch.from_numpy(pixels).permute(0, 3, 1, 2)).last_hidden_state
            images = projector(tokens).reshape(1, -1, 16)
            ids = np.array(inputs.tokens[sample][inputs.token_mask[sample]], np.int64)
            text = embed(torch.from_numpy(ids))[None]
            embeds = torch.cat([text[:, :1], images, text[:, 1:]], dim=1)
            hidden = gemma.model(inputs_embeds=embeds).last_hidden_state
            theirs = head(hidden[0, -1]).numpy()
            np.testing.assert_allclose(ours[sample], theirs, atol=1e-4)


def linear(layer: torch.nn.Module) -> Params:
    weight, bias = (parameter.detach().numpy() for parameter in layer.parameters())
    return {"kernel": jnp.asarray(weight.T), "bias": jnp.asarray(bias)}


def test_reference_logits_equal_flax(params: dict[str, Params]) -> None:
    """With the switch, the reference's fusion and head out of Flax's modules, no key mask.

    By default the sample without a wrist image differs, and only that.
    """
    reference = ValueModel(CROSS.model_copy(update={"cross_attention_reads_masked_views": True}))
    tree, inputs = params["cross_attention"], make_inputs()

    ours, default = (
        np.asarray(jax.jit(model.logits)(tree, inputs)) for model in (reference, ValueModel(CROSS))
    )

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = jax.jit(functools.partial(flax_logits, reference))(tree, inputs)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    differs = np.abs(default - ours).max(axis=1)
    assert differs[1] > 1e-2
    np.testing.assert_array_equal(differs[[0, 2]], 0)


def flax_logits(model: ValueModel, params: Params, inputs: ValueInputs) -> jax.Array:
    """SPEC §8.1 in Flax; the two encoders are ours, which transformers checks."""
    features = model.encode_views(params, inputs.images)
    project = filled(nnx.Linear(24, 16, rngs=nnx.Rngs(0)), params["img_projection"])
    images = project(jnp.concatenate([features[BASE], features[WRIST]], axis=1))
    text = model.llm.embed(params["llm"], inputs.tokens)
    attention = nnx.MultiHeadAttention(4, 16, decode=False, rngs=nnx.Rngs(0))
    filled(attention, params["cross_attention"])
    norm = filled(nnx.LayerNorm(16, rngs=nnx.Rngs(0)), params["cross_attn_norm"])
    text = text + attention(norm(text), images, images)
    num_patches = features[BASE].shape[1]
    present = [jnp.repeat(inputs.image_masks[v][:, None], num_patches, 1) for v in (BASE, WRIST)]
    mask = jnp.concatenate([*present, inputs.token_mask], axis=1)
    x = model.llm.encode(params["llm"], jnp.concatenate([images, text], axis=1), mask)
    pooled = (x * mask[..., None]).sum(axis=1) / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
    head = params["value_head"]
    norm = filled(nnx.LayerNorm(16, rngs=nnx.Rngs(0)), head["layer_norm"])
    first = filled(nnx.Linear(16, 8, rngs=nnx.Rngs(0)), head["linear1"])
    second = filled(nnx.Linear(8, 21, rngs=nnx.Rngs(0)), head["linear2"])
    return second(nnx.gelu(first(norm(pooled))))


def filled[Module: nnx.Module](module: Module, params: Params) -> Module:
    nnx.update(module, params)
    return module


@FUSIONS
def test_what_is_masked_changes_nothing(
    fusion: str, params: dict[str, Params], logits: dict[str, Compiled]
) -> None:
    """Random masks: pixels of masked views and padded ids move no logit; visible pixels do."""
    rng = np.random.default_rng(1)
    for _ in range(4):
        masks = {view: jnp.asarray(rng.random(3) < 0.5) for view in (BASE, WRIST)}
        lengths = rng.integers(1, 6, (3, 1))
        text = jnp.asarray(np.arange(5) < lengths)
        first, second = (
            make_inputs(seed)._replace(image_masks=masks, token_mask=text) for seed in (1, 2)
        )
        mixed = {
            view: jnp.where(mask[:, None, None, None], first.images[view], second.images[view])
            for view, mask in masks.items()
        }
        ids = jnp.where(text, first.tokens, jnp.asarray(rng.integers(1, 30, (3, 5)), jnp.int32))

        whole = logits[fusion](params[fusion], first)
        other = logits[fusion](params[fusion], first._replace(images=mixed, tokens=ids))
        moved = logits[fusion](params[fusion], second)

        np.testing.assert_array_equal(whole, other)
        is_seen = np.asarray(masks[BASE] | masks[WRIST])
        np.testing.assert_array_equal(np.abs(whole - moved).max(axis=1) > 1e-4, is_seen)


@FUSIONS
def test_a_sample_does_not_depend_on_its_batch(
    fusion: str, params: dict[str, Params], logits: dict[str, Compiled]
) -> None:
    """Other neighbours, another order and views named in another order: the same logits."""
    inputs, order = make_inputs(), jnp.asarray([2, 0, 1])
    backwards = inputs._replace(
        images={view: inputs.images[view] for view in (WRIST, BASE)},
        image_masks={view: inputs.image_masks[view] for view in (WRIST, BASE)},
    )
    neighbours = jax.tree.map(lambda a, b: a.at[0].set(b[0]), make_inputs(5), inputs)

    whole = np.asarray(logits[fusion](params[fusion], inputs))

    shuffled = logits[fusion](params[fusion], jax.tree.map(lambda a: a[order], inputs))
    np.testing.assert_allclose(shuffled, whole[np.asarray(order)], atol=1e-6)
    np.testing.assert_array_equal(logits[fusion](params[fusion], backwards), whole)
    np.testing.assert_allclose(logits[fusion](params[fusion], neighbours)[0], whole[0], atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        STITCHED,
        CROSS.model_copy(update={"compute_dtype": "bfloat16", "image_head": True}),
    ],
    ids=["stitched", "cross_attention"],
)
def test_image_features_replace_images(config: ValueModelConfig) -> None:
    """Logits from ``encode_views`` are those from pixels, bit for bit, without SigLIP's weights."""
    model, params, inputs = ValueModel(config), random_params(config), make_inputs()
    features = jax.jit(model.encode_views)({"img": params["img"]}, inputs.images)
    rest = {name: group for name, group in params.items() if name != "img"}

    assert {f.shape for f in features.values()} == {(3, 4, 24)}
    assert {f.dtype for f in features.values()} == {model.dtype}
    assert ("head" in params["img"]) == config.image_head
    compiled = jax.jit(model.logits)
    np.testing.assert_array_equal(
        compiled(rest, inputs._replace(images={}, image_features=features)),
        compiled(params, inputs),
    )


@FUSIONS
def test_token_logits_read_the_images_and_the_text_before(
    fusion: str, params: dict[str, Params], token_logits: dict[str, Compiled]
) -> None:
    """A later token moves nothing before it; the image moves every token that sees it."""
    inputs = make_inputs()
    later = inputs._replace(tokens=inputs.tokens.at[:, 3].set(11))
    seen = inputs._replace(images=make_inputs(1).images)

    first = token_logits[fusion](params[fusion], inputs)

    assert first.shape == (3, 5, 30)
    assert first.dtype == jnp.float32
    moved = np.abs(first - token_logits[fusion](params[fusion], later)).max(axis=2)
    np.testing.assert_array_equal(np.where(inputs.token_mask, moved, 0)[:, :3], 0)
    assert (moved[:2, 3:] > 1e-4).all()
    moved = np.abs(first - token_logits[fusion](params[fusion], seen)).max(axis=2)
    assert (moved[:2, 1:] > 1e-4).all()
    # The first token of the stitched fusion stands before the images.
    assert (moved[0, 0] > 1e-4) == (fusion == "cross_attention")


def test_token_logits_of_the_stitched_fusion_equal_pytorch(
    token_logits: dict[str, Compiled], params: dict[str, Params]
) -> None:
    """A Gemma 3 of transformers reads the same [bos, images, text] and predicts the same."""
    gemma = peers.random_gemma3(STITCHED.gemma, vocab_size=30)
    tree = params["stitched"] | {"llm": peers.gemma3_params(gemma.model, STITCHED.gemma)}
    model, inputs = ValueModel(STITCHED), make_inputs()

    ours = token_logits["stitched"](tree, inputs)

    sequence = model._sequence(tree, inputs, with_state=False)
    embeds = torch.from_numpy(np.array(sequence.tokens[:1]))
    call: Any = gemma
    with torch.no_grad():
        theirs = call(inputs_embeds=embeds).logits[0].numpy()
    np.testing.assert_allclose(ours[0, 0], theirs[0], atol=1e-4)
    np.testing.assert_allclose(ours[0, 1:], theirs[9:], atol=1e-4)


def test_the_last_valid_token_by_hand() -> None:
    """The third of four, then none at all."""
    x = jnp.arange(8.0).reshape(2, 4, 1)
    mask = jnp.asarray([[True, False, True, False], [False, False, False, False]])

    np.testing.assert_array_equal(last_valid(x, mask), [[2.0], [0.0]])
    np.testing.assert_array_equal(masked_mean(x, mask), [[1.0], [0.0]])


def test_adapters_of_a_value_model_merge() -> None:
    """Merged weights under the plain configuration give the adapted model's values."""
    gemma = CROSS.gemma.model_copy(update={"lora": LoraConfig(rank=2, alpha=2), "depth": 1})
    config = CROSS.model_copy(update={"gemma": gemma, "views": ()})
    plain = config.model_copy(update={"gemma": gemma.model_copy(update={"lora": None})})
    params = random_params(config)

    merged = merge_value_adapters(params, config)

    value = jax.jit(ValueModel(config).value)(params, make_inputs())
    np.testing.assert_allclose(
        jax.jit(ValueModel(plain).value)(merged, make_inputs()), value, atol=1e-5
    )


def test_a_stitched_model_with_adapters_learns() -> None:
    """Every weight gets a gradient but the word embeddings; a step along it lowers the loss."""
    gemma = CROSS.gemma.model_copy(update={"lora": LoraConfig(rank=2, alpha=2)})
    model = ValueModel(STITCHED.model_copy(update={"gemma": gemma, "state_input": "continuous"}))
    params, inputs = random_params(model.config), make_inputs()
    inputs = inputs._replace(state=jnp.asarray(np.random.default_rng(0).normal(size=(3, 32)), "f4"))
    target = jnp.asarray(np.eye(21, dtype=np.float32)[[0, 10, 20]])
    step = jax.jit(jax.value_and_grad(lambda p: model.loss(p, inputs, target).mean()))

    loss, gradient = step(params)
    still = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree.leaves_with_path(gradient)
        if not np.abs(leaf).max()
    ]
    later, _ = step(jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient))

    assert still == ["llm/embedder/input_embedding"]
    assert later < loss - 0.05
