"""Published weights of SigLIP, Gemma 3 and whole value models, read into our tree."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from recap_core.checkpoints.trees import flatten
from recap_core.checkpoints.value_match import match_sources
from recap_core.checkpoints.value_places import find_places
from recap_core.checkpoints.value_weights import read_value_weights
from recap_core.config.import_value import Part
from recap_core.config.policy import LoraConfig
from recap_core.models.gemma3 import Gemma3
from recap_core.models.parameters import Params
from recap_core.models.siglip import Siglip
from tests.core.checkpoints import value_layouts as layouts
from tests.core.checkpoints.value_layouts import MODEL

TOKENS = np.random.default_rng(0).integers(0, 50, (2, 7))
BACKBONE = ("img/", "llm/")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SigLIP and Gemma 3 by ``save_pretrained``, and the same as npz and as DeepMind's Orbax."""
    root = tmp_path_factory.mktemp("weights")
    siglip, gemma = layouts.siglip(), layouts.gemma()
    siglip.save_pretrained(root / "siglip")
    gemma.save_pretrained(root / "gemma")
    np.savez(root / "stacked.npz", **layouts.big_vision(siglip, scan=True))
    np.savez(root / "per_layer.npz", **layouts.big_vision(siglip, scan=False, prefix="params/"))
    layouts.write_orbax(root / "deepmind", layouts.deepmind(gemma))
    return root


def read(*paths: Path, take: Part = "all", ema: bool = False) -> dict[str, np.ndarray]:
    """Every leaf of the model, from the weights in some paths."""
    places = [place for path in paths for place in find_places(path, take=take)]
    match = match_sources(places, MODEL, ema=ema)
    return flatten(read_value_weights(match, MODEL, seed=0))


@pytest.fixture(scope="module")
def expected(place: Path) -> dict[str, np.ndarray]:
    """What transformers' files hold, in our tree; checked against transformers below."""
    return read(place / "siglip", place / "gemma")


def assert_same_backbones(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        if path.startswith(BACKBONE):
            np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_siglip_computes_what_transformers_computes(expected: dict[str, np.ndarray]) -> None:
    """Tokens after the last norm, float32."""
    images = np.random.default_rng(3).uniform(-1, 1, (2, 14, 14, 3)).astype(np.float32)
    img = {
        path.removeprefix("img/"): leaf for path, leaf in expected.items() if path.startswith("img")
    }
    ours = jax.jit(Siglip(MODEL.siglip, image_px=14).tokens)(
        layouts.unflatten(img), jnp.asarray(images)
    )

    with torch.no_grad():
        theirs = layouts.siglip()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))

    np.testing.assert_allclose(ours, theirs.last_hidden_state.numpy(), atol=2e-6, rtol=2e-5)


def test_gemma_computes_what_transformers_computes(expected: dict[str, np.ndarray]) -> None:
    """Hidden states of a causal pass with local and global layers, float32."""
    llm = layouts.unflatten(
        {
            path.removeprefix("llm/"): leaf
            for path, leaf in expected.items()
            if path.startswith("llm")
        }
    )
    model = Gemma3(MODEL.gemma, vocab_size=50)

    @jax.jit
    def hidden(llm: Params, tokens: jax.Array) -> jax.Array:
        valid, causal = jnp.ones((2, 7), bool), jnp.tril(jnp.ones((7, 7), bool))[None]
        return model.encode(llm, model.embed(llm, tokens), valid, mask=jnp.tile(causal, (2, 1, 1)))

    with torch.no_grad():
        theirs = layouts.gemma().model(torch.from_numpy(TOKENS)).last_hidden_state.numpy()

    np.testing.assert_allclose(hidden(llm, jnp.asarray(TOKENS)), theirs, atol=5e-6, rtol=2e-5)


@pytest.mark.parametrize("npz", ["stacked", "per_layer"])
def test_big_vision_and_deepmind_hold_the_same(
    npz: str, place: Path, expected: dict[str, np.ndarray]
) -> None:
    """Stacked and per-layer blocks under two prefixes; flat keys, transposed MLP weights."""
    assert_same_backbones(read(place / f"{npz}.npz", place / "deepmind"), expected)


def test_nested_trees_with_other_prefixes_hold_the_same(
    tmp_path: Path, place: Path, expected: dict[str, np.ndarray]
) -> None:
    """DeepMind's tree nested below ``params``, with nnx's level, MLP weights without ``w``."""
    flat = flatten(layouts.deepmind(layouts.gemma()))
    nested = {
        "params/" + path.removeprefix("transformer/").replace("/gating_einsum/w", "/gating_einsum")
        + "/value": leaf
        for path, leaf in flat.items()
        if path.startswith("transformer/")
    }  # fmt: skip
    gemma = layouts.write_orbax(tmp_path / "nested", layouts.unflatten(nested))

    assert_same_backbones(read(place / "siglip", gemma), expected)


SPELLINGS = {
    "siglip of transformers 4": ("siglip", "", "vision_model."),
    "gemma without a head": ("gemma", "model.", ""),
    "multimodal gemma of transformers 4": ("gemma", "model.", "language_model.model."),
    "multimodal gemma of transformers 5": ("gemma", "model.", "model.language_model."),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_transformers(
    spelling: str, tmp_path: Path, place: Path, expected: dict[str, np.ndarray]
) -> None:
    """The towers of larger models, whose other tensors are left out and counted."""
    name, old, new = SPELLINGS[spelling]
    state = {
        new + tensor.removeprefix(old): array
        for tensor, array in load_file(place / name / "model.safetensors").items()
    }
    other = "text_model.encoder.layers.0.layer_norm1.weight"
    other = other if name == "siglip" else "vision_tower.encoder.layers.0.layer_norm1.weight"
    state |= {other: np.zeros(3, np.float32), "logit_scale": np.zeros(1, np.float32)}
    save_file(state, tmp_path / "model.safetensors")
    shutil.copy(place / name / "config.json", tmp_path / "config.json")

    assert_same_backbones(
        read(tmp_path, place / ("gemma" if name == "siglip" else "siglip")), expected
    )
    source = match_sources(find_places(tmp_path, take="all"), MODEL).report.sources[0]
    pooling_head = 11 if name == "siglip" else 0
    assert source.num_unused == pooling_head + 2


def test_parts_of_a_model_and_a_padded_embedding(
    tmp_path: Path, place: Path, expected: dict[str, np.ndarray]
) -> None:
    """An index names two files; 14 rows beyond the vocabulary, and the tied head, are left out."""
    state = load_file(place / "gemma" / "model.safetensors")
    table = state.pop("model.embed_tokens.weight")
    padded = np.concatenate([table, np.full((14, 24), np.nan, np.float32)])
    save_file(state, tmp_path / "model-00001-of-00002.safetensors")
    save_file(
        {"model.embed_tokens.weight": padded, "lm_head.weight": padded},
        tmp_path / "model-00002-of-00002.safetensors",
    )
    names = dict.fromkeys(state, "model-00001-of-00002.safetensors")
    names |= {"model.embed_tokens.weight": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    shutil.copy(place / "gemma" / "config.json", tmp_path)

    assert_same_backbones(read(place / "siglip", tmp_path), expected)
    match = match_sources(find_places(tmp_path, take="all"), MODEL)
    assert match.report.sources[0].notes == ("rows 50 to 63 of the embedding are left out",)
    assert match.report.sources[0].unused == ("lm_head.weight",)


def test_bfloat16_stays_bfloat16(tmp_path: Path, place: Path) -> None:
    """DeepMind and big_vision publish some weights in it; not a bit changes."""
    npz = layouts.big_vision(layouts.siglip(), scan=True)
    kernel = npz["params/img/embedding/kernel"].astype(jnp.bfloat16)
    np.savez(tmp_path / "siglip.npz", **npz | {"params/img/embedding/kernel": kernel.view("V2")})
    tree = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), layouts.deepmind(layouts.gemma()))
    gemma = layouts.write_orbax(tmp_path / "gemma", tree)

    found = read(tmp_path / "siglip.npz", gemma)

    assert found["img/embedding/kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(found["img/embedding/kernel"], kernel)
    table = tree["transformer/embedder"]["input_embedding"]
    np.testing.assert_array_equal(found["llm/embedder/input_embedding"], table)
    assert found["value_head/linear1/kernel"].dtype == np.float32
    del place


@pytest.mark.parametrize("leaves", ["plain", "nnx"])
def test_a_step_of_the_reference_is_a_whole_value_model(leaves: str, tmp_path: Path) -> None:
    """Every leaf, raw or averaged; of a training, the newest step that is complete."""
    nnx_values = leaves == "nnx"
    params, ema = layouts.random_params(1), layouts.random_params(2)
    layouts.write_step(tmp_path, 1000, ema, ema, nnx_values=nnx_values)
    layouts.write_step(tmp_path, 5000, params, ema, nnx_values=nnx_values)
    (tmp_path / "step_00009000").mkdir()

    for wanted, is_ema in ((params, False), (ema, True)):
        found = read(tmp_path, ema=is_ema)
        assert found.keys() == wanted.keys()
        for path, leaf in wanted.items():
            np.testing.assert_array_equal(found[path], leaf, err_msg=path)
    match = match_sources(find_places(tmp_path, take="all"), MODEL)
    assert (match.fresh, match.report.sources[0].step) == ((), 5000)
    assert match.report.sources[0].num_unused == 0


def test_stacked_layers_are_read_as_they_are(tmp_path: Path) -> None:
    """What openpi's own Gemma, and our trees, look like: not transposed."""
    params = layouts.random_params(1)
    layouts.write_orbax(tmp_path / "step_00000007", {"params": layouts.unflatten(params)})

    found = read(tmp_path)

    for path, leaf in params.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_the_head_of_an_older_value_model_is_folded(tmp_path: Path) -> None:
    """SigLIP, a linear layer of its own, then the projection: one linear map of the same tokens."""
    params = layouts.random_params(1)
    rng = np.random.default_rng(5)
    head = {
        "img/head/kernel": rng.standard_normal((18, 18)).astype(np.float32),
        "img/head/bias": rng.standard_normal(18).astype(np.float32),
    }
    layouts.write_orbax(
        tmp_path / "step_00020000", {"params": layouts.reference(params | head), "step": 20000}
    )
    tokens = rng.standard_normal((7, 18))

    found = read(tmp_path)

    first = tokens @ head["img/head/kernel"] + head["img/head/bias"]
    wanted = first @ params["img_projection/kernel"] + params["img_projection/bias"]
    ours = tokens @ found["img_projection/kernel"] + found["img_projection/bias"]
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["img/embedding/bias"], params["img/embedding/bias"])
    match = match_sources(find_places(tmp_path, take="all"), MODEL)
    assert match.report.sources[0].notes[0].startswith("img/head is folded into img_projection")


@pytest.fixture
def bundle(tmp_path: Path, place: Path) -> Path:
    """The reference's bundle: a value model at step 20000, an npz, and no Gemma of its own."""
    params = layouts.random_params(1)
    layouts.write_step(tmp_path / "vlm" / "gemma-3-270m", 20_000, params, params)
    siglip = tmp_path / "vlm" / "siglip2-so400m-patch14-224-jax"
    siglip.mkdir()
    shutil.copy(place / "stacked.npz", siglip / "siglip2_so400m14_224.npz")
    return tmp_path / "vlm"


def test_both_meanings_of_the_bundle(bundle: Path, expected: dict[str, np.ndarray]) -> None:
    """The value model whole; or SigLIP from the npz, Gemma from the value model, the rest fresh."""
    params = layouts.random_params(1)

    whole, backbones = read(bundle), read(bundle, take="backbones")

    for path, leaf in params.items():
        np.testing.assert_array_equal(whole[path], leaf, err_msg=path)
        if path.startswith("img/"):
            np.testing.assert_array_equal(backbones[path], expected[path], err_msg=path)
        elif path.startswith("llm/"):
            np.testing.assert_array_equal(backbones[path], leaf, err_msg=path)
    match = match_sources(find_places(bundle, take="backbones"), MODEL)
    assert list(match.report.fresh) == [
        "cross_attention", "cross_attn_norm", "img_projection", "value_head"
    ]  # fmt: skip


def test_a_bundle_with_deepminds_gemma_takes_that(
    bundle: Path, expected: dict[str, np.ndarray]
) -> None:
    """Some bundles keep the published Gemma around the step; its step is not part of it."""
    gemma = layouts.write_orbax(bundle / "plain", layouts.deepmind(layouts.gemma()))
    for entry in gemma.iterdir():
        entry.rename(bundle / "gemma-3-270m" / entry.name)

    assert_same_backbones(read(bundle, take="backbones"), expected)
    assert [place.step for place in find_places(bundle, take="all")] == [20_000]


def test_a_value_model_with_adapters_takes_a_full_one(tmp_path: Path) -> None:
    """LoRA leaves may be missing: they start fresh."""
    layouts.write_orbax(
        tmp_path / "step_00000001", {"params": layouts.reference(layouts.random_params(1))}
    )
    gemma = MODEL.gemma.model_copy(update={"lora": LoraConfig(rank=2, alpha=2)})
    adapted = MODEL.model_copy(update={"gemma": gemma})

    match = match_sources(find_places(tmp_path, take="all"), adapted)

    assert len(match.fresh) > 4
    assert all("lora" in leaf for leaf in match.fresh)
