"""Checkpoints that openpi's own stack wrote (tests/golden/openpi/checkpoints)."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.checkpoints.locate import locate_checkpoint
from recap_core.checkpoints.merging import merged_params
from recap_core.checkpoints.params import has_nnx_values, load_params
from recap_core.checkpoints.policy_checkpoint import asset_ids, read_norm_stats
from recap_core.checkpoints.start import start_params
from recap_core.checkpoints.trees import flatten
from recap_core.config.policy import (
    GemmaConfig,
    LoraConfig,
    PolicyConfig,
    PolicyModelConfig,
    SiglipConfig,
)
from recap_core.errors import CheckpointError
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from tests.golden.openpi import draws

ROOT = Path(__file__).parents[2] / "golden" / "openpi" / "checkpoints"
NAMES = ("full", "lora", "released")
SEED = 2028


def model(name: str) -> PolicyModelConfig:
    """The architecture of ``arch.json``."""
    arch = json.loads((ROOT / "arch.json").read_text())

    def gemma(expert: str) -> GemmaConfig:
        lora = LoraConfig(**arch["lora"][expert]) if name == "lora" else None
        return GemmaConfig(**arch[expert], lora=lora)

    vision = arch["siglip"]
    return PolicyModelConfig(
        vlm=gemma("vlm"),
        expert=gemma("expert"),
        siglip=SiglipConfig(
            width=vision["width"],
            depth=vision["depth"],
            mlp_dim=vision["mlp_dim"],
            num_heads=vision["num_heads"],
        ),
        vocab_size=arch["vocab_size"],
        action_dim=arch["action_dim"],
        action_horizon=arch["action_horizon"],
        max_token_len=arch["max_token_len"],
        compute_dtype="float32",
    )


def shapes(name: str) -> Params:
    """The tree that the model expects."""
    return jax.eval_shape(Policy(model(name)).init, jax.random.key(0))


def loaded(name: str) -> Params:
    """The parameters of the newest step, as stored."""
    return load_params(locate_checkpoint(ROOT / name).params)


def inputs() -> tuple[PolicyInputs, jax.Array, jax.Array]:
    """Observations, actions and noise of the reference run."""
    config = model("full")
    images = {
        view: jnp.stack(
            [
                jnp.asarray(draws.picture(SEED, f"{view}/{i}", 224, 224), jnp.float32) / 255 * 2 - 1
                for i in range(2)
            ]
        )
        for view in config.views
    }
    valid = jnp.arange(config.max_token_len)[None] < jnp.array([[30], [50]])
    chunk = (2, config.action_horizon, config.action_dim)
    observations = PolicyInputs(
        images=images,
        image_masks={view: jnp.ones(2, bool) for view in images},
        state=jnp.asarray(draws.normals(SEED, "state", (2, config.action_dim))),
        tokens=jnp.asarray(draws.integers(SEED, "tokens", valid.shape, 3, 400)),
        token_mask=valid,
    )
    actions, noise = (jnp.asarray(draws.normals(SEED, n, chunk)) for n in ("actions", "noise"))
    return observations, actions, noise


@cache
def compiled(name: str) -> Callable[[Params], tuple[jax.Array, jax.Array]]:
    """Loss and actions for the reference's inputs."""
    policy = Policy(model(name))
    observations, actions, noise = inputs()

    @jax.jit
    def run(params: Params) -> tuple[jax.Array, jax.Array]:
        loss = policy.flow_loss(params, jax.random.key(5), observations, actions).squared_error
        sampled = policy.sample_actions(
            params, jax.random.key(0), observations, num_steps=10, noise=noise
        )
        return loss, sampled

    return run


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_is_the_reference(name: str) -> None:
    """Paths, shapes, dtypes (frozen LoRA-run leaves are bfloat16), sums and norms."""
    expected = json.loads((ROOT / "leaves.json").read_text())[name]

    params = flatten(loaded(name))

    like = flatten(shapes(name))
    assert {path: leaf.shape for path, leaf in params.items()} == {
        path: leaf.shape for path, leaf in like.items()
    }
    assert {path: str(leaf.dtype) for path, leaf in params.items()} == expected["dtypes"]
    for path, (total, norm) in expected["digest"].items():
        exact = params[path].astype(np.float64)
        np.testing.assert_allclose(exact.sum(), total, rtol=1e-9, atol=1e-9, err_msg=path)
        np.testing.assert_allclose(np.linalg.norm(exact), norm, rtol=1e-9, err_msg=path)


def test_layouts_and_steps_are_recognised() -> None:
    """Trained ones have ``value`` levels and a step, the released one neither."""
    places = {name: locate_checkpoint(ROOT / name) for name in NAMES}

    assert {name: place.step for name, place in places.items()} == {
        "full": 1,
        "lora": 1,
        "released": None,
    }
    assert {name: has_nnx_values(place.params) for name, place in places.items()} == {
        "full": True,
        "lora": True,
        "released": False,
    }
    for place in places.values():
        assert asset_ids(place.root) == ("trossen",)
        assert len(read_norm_stats(place.root, "trossen").feature("actions").mean) >= 14


@pytest.mark.parametrize("name", NAMES)
def test_the_loaded_policy_acts_like_the_reference(name: str) -> None:
    """Loss from a key and ten denoising steps, float32, parameters as stored."""
    params = load_params(locate_checkpoint(ROOT / name).params, shapes(name))

    loss, sampled = compiled("lora" if name == "lora" else "full")(params)

    with np.load(ROOT / "outputs.npz", allow_pickle=False) as expected:
        np.testing.assert_allclose(loss, expected[f"{name}/float32/loss_from_key5"], atol=1e-4)
        np.testing.assert_allclose(sampled, expected[f"{name}/float32/sample_actions"], atol=5e-4)


def test_merged_adapters_act_like_the_reference() -> None:
    """The LoRA policy as a full one: float32 weights, openpi's numbers of the LoRA policy."""
    place = locate_checkpoint(ROOT / "lora")

    params, config = merged_params(place.params, PolicyConfig(model=model("lora")))
    loss, sampled = compiled("full")(params)

    assert config.model == model("full")
    with np.load(ROOT / "outputs.npz", allow_pickle=False) as expected:
        np.testing.assert_allclose(loss, expected["lora/float32/loss_from_key5"], atol=1e-4)
        np.testing.assert_allclose(sampled, expected["lora/float32/sample_actions"], atol=5e-4)


def test_a_lora_training_starts_from_the_reference() -> None:
    """Base leaves bit for bit, adapters fresh; the other direction is refused by name."""
    started = flatten(start_params(ROOT / "released", model("lora"), jax.random.key(3)))

    base = flatten(loaded("released"))
    assert len(started) - len(base) == 20
    for path, leaf in base.items():
        np.testing.assert_array_equal(started[path], leaf)
    with pytest.raises(CheckpointError, match=r"rank 2 on the vlm, rank 3 on the expert"):
        start_params(ROOT / "lora", model("full"), jax.random.key(3))
