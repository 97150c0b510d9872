"""Three optimiser steps of openpi's own ``train_step`` (steps.npz), and its loss in pistar."""

import json
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from recap_core.config import sizes
from recap_core.config.training import AugmentConfig, OptimizerConfig, TrainConfig
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, trainable_mask
from recap_core.training.optimizer import learning_rate, make_optimizer
from recap_core.training.policy_loss import LossWeight, PolicyBatch, policy_loss
from recap_core.training.state import TrainState, initial_state, with_frozen_in_bfloat16
from recap_core.training.step import Metrics, make_train_step
from tests.core.models import reference
from tests.golden.openpi import cases

GOLDEN = reference.arrays("steps")
RATES = json.loads((reference.GOLDEN / "learning_rates.json").read_text())
FROZEN = json.loads((reference.GOLDEN / "frozen_leaves.json").read_text())
VARIANTS = {
    "pi05_full": sizes.PI05,
    "pi05_lora_both": sizes.PI05_LORA,
    "pi05_lora_vlm_only": sizes.PI05_LORA_VLM,
    "pi05_lora_expert_only": sizes.PI05_LORA_EXPERT,
    "pi05_dummy": sizes.PI05_DUMMY,
    "pi0_full": sizes.PI0,
    "pi0_lora_both": sizes.PI0_LORA,
}
NO_GRADIENT = "MultiHeadDotProductAttention_0/key/bias"
"""A shift of every key alike cancels in the softmax: what is left of its gradient is rounding."""


def batch_of(name: str) -> PolicyBatch:
    inputs = cases.inputs(name)
    actions = jnp.asarray(inputs["actions"])
    return PolicyBatch(reference.policy_inputs(inputs), actions, jnp.zeros(len(actions), jnp.int32))


def three_steps(steps: cases.Steps) -> tuple[TrainState, list[Metrics]]:
    """The state after three steps on one batch, and what every step reported."""
    model = reference.model_config(steps.model)
    config = TrainConfig(
        seed=steps.seed,
        ema_decay=steps.ema_decay,
        optimizer=OptimizerConfig(
            peak_lr=cases.PEAK_LR,
            end_lr=cases.END_LR,
            warmup_steps=cases.WARMUP_STEPS,
            decay_steps=cases.DECAY_STEPS,
            weight_decay=cases.WEIGHT_DECAY,
            clip_norm=steps.clip_norm,
        ),
    )
    params = reference.params(steps.model)
    trainable = trainable_mask(model, params)
    state = initial_state(
        with_frozen_in_bfloat16(params, trainable),
        make_optimizer(config.optimizer),
        trainable,
        with_ema=steps.ema_decay is not None,
    )
    augment = AugmentConfig() if steps.augment else None
    loss_fn = policy_loss(Policy(model, loop=LayerLoop()), augment=augment)
    train_step = make_train_step(loss_fn, config, trainable=trainable)
    batch, reports = batch_of(steps.model), []
    for _ in range(cases.NUM_STEPS):
        state, metrics = train_step(state, batch)
        reports.append(metrics)
    return state, reports


def flat(tree: Any) -> dict[str, np.ndarray]:  # noqa: ANN401 - a tree
    leaves = {path: leaf for path, leaf in flatten_dict(tree, sep="/").items() if leaf is not None}
    return {path: np.asarray(leaf, np.float32) for path, leaf in leaves.items()}


def trees_of(state: TrainState) -> dict[str, Params]:
    """What is compared; the reference's average also holds the frozen leaves."""
    moments = {name: optax.tree_utils.tree_get(state.opt_state, name) for name in ("mu", "nu")}
    trees: dict[str, Params] = {"params": state.params} | cast("dict[str, Params]", moments)
    return trees if state.ema_params is None else trees | {"ema": state.ema_params}


def assert_leaves_equal(name: str, kind: str, tree: Params) -> None:
    """Norm and six entries of every leaf, within 1e-3 of the leaf's largest entry."""
    golden = {part: GOLDEN[f"{name}/{kind}/{part}"] for part in ("paths", "norms", "entries")}
    # A wrong step would be off by the learning rate, 5e-3.
    atol, rtol = (2e-5, 0.0) if kind in ("params", "ema") else (0.0, 1e-3)
    found, expected = flat(tree), golden["paths"].tolist()
    assert set(found) <= set(expected)
    if kind != "ema":
        assert sorted(found) == expected
    for path, norm, entries in zip(expected, golden["norms"], golden["entries"], strict=True):
        if path not in found or path.endswith(NO_GRADIENT):
            continue
        leaf = found[path]
        taken = leaf.ravel()[cases.entries(path, leaf.size)]
        allowed = atol + rtol * np.abs(entries).max()
        np.testing.assert_allclose(taken, entries, atol=allowed, rtol=0, err_msg=path)
        length = np.linalg.norm(leaf.astype(np.float64))
        np.testing.assert_allclose(length, norm, rtol=2e-4, err_msg=path)


@pytest.mark.parametrize(
    "name", ["full", "full_augmented", "full_clipped", "lora", "lora_expert", "pi0"]
)
def test_three_steps_are_those_of_the_reference(name: str) -> None:
    """Loss and norms of every step, parameters, Adam's moments and the average at the end."""
    state, reports = three_steps(cases.STEPS[name])

    for metric, rtol in (("loss", 1e-5), ("grad_norm", 1e-4), ("param_norm", 1e-6)):
        found = [float(report[metric].total) for report in reports]
        np.testing.assert_allclose(found, GOLDEN[f"{name}/{metric}"], rtol=rtol, err_msg=metric)
    for kind, tree in trees_of(state).items():
        assert_leaves_equal(name, kind, tree)


@pytest.mark.parametrize("weight", ["plain", "reference_time"])
@pytest.mark.parametrize("augment", [None, AugmentConfig()], ids=["as it is", "augmented"])
def test_the_scalar_loss_is_that_of_pistar(
    weight: LossWeight, augment: AugmentConfig | None
) -> None:
    """``compute_loss`` with and without the time weight, with and without augmentation."""
    policy = Policy(reference.model_config("pi05"), loop=LayerLoop())
    loss_fn = jax.jit(policy_loss(policy, weight, augment=augment))

    found, _ = loss_fn(reference.params("pi05"), jax.random.key(11), batch_of("pi05"))

    kind = "plain" if weight == "plain" else "time_weighted"
    key = "loss_from_key11" if augment is None else "augmented_loss_from_key11"
    expected = reference.arrays("models")[f"pistar/{kind}/{key}"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", RATES)
def test_learning_rates_are_those_of_the_reference(name: str) -> None:
    """Around the joints and far beyond the end, to the last bits of float32."""
    table = RATES[name]
    schedule = learning_rate(
        OptimizerConfig(
            peak_lr=table["peak_lr"],
            end_lr=table["decay_lr"],
            warmup_steps=table["warmup_steps"],
            decay_steps=table["decay_steps"],
        )
    )

    found = [float(jnp.asarray(schedule(jnp.asarray(step)))) for step in table["steps"]]

    np.testing.assert_allclose(found, table["lr"], rtol=2e-7)


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_leaves_are_those_of_the_reference(name: str) -> None:
    """Every variant's freeze filter, at full size."""
    config = VARIANTS[name]
    params = jax.eval_shape(Policy(config).init, jax.random.key(0))

    trainable = flatten_dict(trainable_mask(config, params), sep="/")

    assert sorted(path for path, trains in trainable.items() if not trains) == FROZEN[name]
