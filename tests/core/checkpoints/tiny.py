"""A pi0.5 of a few thousand parameters, with and without LoRA, and checkpoints of it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from recap_core.checkpoints.policy_checkpoint import write_norm_stats
from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.policy import (
    GemmaConfig,
    LoraConfig,
    PolicyConfig,
    PolicyModelConfig,
    PromptConfig,
    SiglipConfig,
)
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from recap_core.transforms.normalize import FeatureStats, NormStats

KEY = jax.random.key(0)
ASSET = "local/towels"
_GEMMA = GemmaConfig(width=16, depth=2, mlp_dim=20, num_heads=8, num_kv_heads=1, head_dim=4)

FULL = PolicyModelConfig(
    vlm=_GEMMA,
    expert=_GEMMA.model_copy(update={"width": 8, "mlp_dim": 12}),
    siglip=SiglipConfig(width=24, depth=2, mlp_dim=32, num_heads=3),
    vocab_size=64,
    image_px=28,
    action_dim=6,
    action_horizon=5,
    max_token_len=7,
    compute_dtype="float32",
)


def with_lora(vlm: int | None = 2, expert: int | None = 3) -> PolicyModelConfig:
    """The same with adapters of these ranks; alpha is twice the rank."""
    changes = {
        name: getattr(FULL, name).model_copy(
            update={"lora": None if rank is None else LoraConfig(rank=rank, alpha=2 * rank)}
        )
        for name, rank in (("vlm", vlm), ("expert", expert))
    }
    return FULL.model_copy(update=changes)


LORA = with_lora()


def policy(model: PolicyModelConfig = FULL, **embodiment: Any) -> PolicyConfig:  # noqa: ANN401
    """A policy of a robot with four joints."""
    settings = {"asset_id": ASSET} | embodiment
    return PolicyConfig(
        model=model,
        embodiment=EmbodimentConfig.model_validate(settings),
        prompt=PromptConfig(tokenizer="tiny"),
        num_denoise_steps=3,
    )


def norm_stats() -> NormStats:
    """Four dims; every number is exact in float32."""
    stats = FeatureStats(
        mean=np.array([0.0, 0.25, 0.5, 1.0]),
        std=np.array([1.0, 2.0, 0.5, 0.25]),
        q01=np.array([-2.0, -1.0, 0.0, 0.5]),
        q99=np.array([2.0, 3.0, 1.0, 1.5]),
    )
    return NormStats({"state": stats, "actions": stats})


def shapes(model: PolicyModelConfig = FULL) -> Params:
    """The tree of a model, without arrays."""
    return jax.eval_shape(Policy(model).init, KEY)


def random_params(model: PolicyModelConfig = FULL, seed: int = 0) -> Params:
    """Parameters that all matter: normal with std 0.2."""
    rng = np.random.default_rng(seed)
    return unflatten(
        {
            path: 0.2 * rng.standard_normal(leaf.shape, np.float32)
            for path, leaf in flatten(shapes(model)).items()
        }
    )


def write_as_openpi(step: Path, params: Params, *, nnx_values: bool = True) -> Path:
    """A step directory by plain Orbax calls: device arrays, as openpi's manager saves them."""
    flat = {path: jnp.asarray(leaf) for path, leaf in flatten(params).items()}
    if nnx_values:
        flat = {f"{path}/value": leaf for path, leaf in flat.items()}
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(step / "params", {"params": unflatten(flat)})
    write_norm_stats(step, ASSET, norm_stats())
    return step


def inputs(model: PolicyModelConfig = FULL, seed: int = 1) -> PolicyInputs:
    """Two samples; the second lacks a wrist camera and half of its tokens."""
    rng = np.random.default_rng(seed)
    side = (2, model.image_px, model.image_px, 3)
    images = {view: rng.uniform(-1, 1, side).astype(np.float32) for view in model.views}
    masks = {view: np.array([True, view != "right_wrist_0_rgb"]) for view in model.views}
    tokens = rng.integers(0, model.vocab_size, (2, model.max_token_len))
    lengths = np.array([[model.max_token_len], [model.max_token_len // 2]])
    return PolicyInputs(
        images={view: jnp.asarray(image) for view, image in images.items()},
        image_masks={view: jnp.asarray(mask) for view, mask in masks.items()},
        state=jnp.zeros((2, model.action_dim)),
        tokens=jnp.asarray(tokens),
        token_mask=jnp.asarray(np.arange(model.max_token_len) < lengths),
    )


def noise(model: PolicyModelConfig = FULL, seed: int = 2) -> np.ndarray:
    """Starting points of the flow, one per sample."""
    shape = (2, model.action_horizon, model.action_dim)
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def actions(model: PolicyModelConfig, params: Params) -> np.ndarray:
    """What the policy does for :func:`inputs`, in three steps."""
    return np.asarray(
        jax.jit(
            lambda params, inputs, noise: Policy(model).sample_actions(
                params, KEY, inputs, num_steps=3, noise=noise
            )
        )(params, inputs(model), noise(model))
    )


def loss(
    model: PolicyModelConfig, params: Params, actions: np.ndarray, time: np.ndarray
) -> np.ndarray:
    """Squared error of the velocity for :func:`inputs` and :func:`noise`."""
    return np.asarray(
        jax.jit(
            lambda params, inputs, actions, noise, time: (
                Policy(model)
                .flow_loss(params, KEY, inputs, actions, noise=noise, time=time)
                .squared_error
            )
        )(params, inputs(model), actions, noise(model), time)
    )


def assert_equal(found: Params, expected: Params) -> None:
    """Same leaves, dtypes and bits."""
    have, want = flatten(found), flatten(expected)
    assert have.keys() == want.keys()
    for path, leaf in want.items():
        assert have[path].dtype == leaf.dtype, path
        np.testing.assert_array_equal(np.asarray(have[path]), np.asarray(leaf), err_msg=path)
