"""The two losses, against numbers worked out by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.config.training import AugmentConfig
from recap_core.labels.two_hot import two_hot
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.training.policy_loss import PolicyBatch, policy_loss
from recap_core.training.step import LossFn
from recap_core.training.value_loss import ValueBatch, value_loss
from recap_core.transforms.augment import augment_inputs
from tests.core.training import robot


def _zeros_like(shapes: Any) -> Any:  # noqa: ANN401 - any tree
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The smallest policy."""
    return Policy(robot.train_policy_config().policy.model)


@pytest.fixture(scope="module")
def zero_params(policy: Policy) -> Params:
    """All zero: the predicted velocity is zero."""
    return _zeros_like(jax.eval_shape(policy.init, jax.random.key(0)))


@pytest.fixture(scope="module")
def plain_loss(policy: Policy) -> LossFn:
    """The unweighted loss, compiled once."""
    return jax.jit(policy_loss(policy))


def _batch(prompt_class: list[int]) -> PolicyBatch:
    b = len(prompt_class)
    inputs = PolicyInputs(
        {}, {}, jnp.zeros((b, 5)), jnp.ones((b, 12), jnp.int32), jnp.ones((b, 12), bool)
    )
    actions = jax.random.normal(jax.random.key(9), (b, 3, 5))
    return PolicyBatch(inputs, actions, jnp.array(prompt_class, jnp.int32))


def test_the_loss_of_a_policy_that_predicts_zero(plain_loss: LossFn, zero_params: Params) -> None:
    """With v = 0 the loss is the mean square of noise minus actions, over all frames and dims."""
    batch, key = _batch([0, 1, 2, 3]), jax.random.key(5)
    noise = jax.random.normal(jax.random.split(key, 3)[1], batch.actions.shape)

    loss, _ = plain_loss(zero_params, key, batch)

    assert float(loss) == pytest.approx(float(jnp.mean((noise - batch.actions) ** 2)), rel=1e-5)


def test_the_reference_weight_is_half_an_exponential_of_time(
    policy: Policy, zero_params: Params
) -> None:
    """Every sample counts 0.5 exp(-0.5 (1 - t)), in [0.303, 0.5]."""
    batch, key = _batch([2] * 4), jax.random.key(5)
    flow = jax.jit(policy.flow_loss)(zero_params, key, batch.inputs, batch.actions)
    weight = 0.5 * np.exp(-0.5 * (1 - np.asarray(flow.time)))

    loss, _ = jax.jit(policy_loss(policy, "reference_time"))(zero_params, key, batch)

    expected = np.mean(weight * np.asarray(flow.squared_error).mean(axis=1))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert np.all((weight > 0.303) & (weight <= 0.5))


def test_a_mask_of_ones_changes_nothing(plain_loss: LossFn, zero_params: Params) -> None:
    """Only what is masked is left out."""
    batch, key = _batch([0, 1, 2, 3]), jax.random.key(5)

    plain, _ = plain_loss(zero_params, key, batch)
    masked, _ = plain_loss(
        zero_params, key, batch._replace(action_mask=jnp.ones(batch.actions.shape, bool))
    )

    assert float(masked) == pytest.approx(float(plain), rel=1e-6)


def test_a_masked_loss_by_hand(plain_loss: LossFn, zero_params: Params) -> None:
    """Per action the mean over the dims that count, per sample over the actions that have any.

    Sample 0 counts dims 0-1 of its first two actions; sample 1 counts all; sample 2 nothing.
    """
    batch, key = _batch([0, 2, 2]), jax.random.key(5)
    mask = np.zeros((3, 3, 5), bool)
    mask[0, :2, :2] = True
    mask[1] = True
    noise = np.asarray(jax.random.normal(jax.random.split(key, 3)[1], batch.actions.shape))
    squared = (noise - np.asarray(batch.actions)) ** 2

    loss, metrics = plain_loss(zero_params, key, batch._replace(action_mask=jnp.asarray(mask)))

    samples = [squared[0, :2, :2].mean(), squared[1].mean(), 0.0]
    assert float(loss) == pytest.approx(np.mean(samples), rel=1e-5)
    assert float(metrics["loss_negative"].total) == pytest.approx(samples[0], rel=1e-5)
    assert float(metrics["loss_positive"].total) == pytest.approx(samples[1], rel=1e-5)


def test_class_metrics_split_the_loss(plain_loss: LossFn, zero_params: Params) -> None:
    """Sums and counts per class add up to the loss; an absent class counts nothing."""
    batch = _batch([0, 2, 2, 3])

    loss, metrics = plain_loss(zero_params, jax.random.key(5), batch)

    nums = {name: float(metric.num) for name, metric in metrics.items()}
    assert nums == {"loss_negative": 1, "loss_none": 0, "loss_positive": 2, "loss_dropped": 1}
    total = sum(float(metric.total) for metric in metrics.values())
    assert total / 4 == pytest.approx(float(loss), rel=1e-5)


def test_positive_and_negative_frames_are_imitated_alike(
    plain_loss: LossFn, zero_params: Params
) -> None:
    """The class changes the prompt and the metrics, never the loss."""
    losses = [
        float(plain_loss(zero_params, jax.random.key(5), _batch(classes))[0])
        for classes in ([0] * 4, [2] * 4)
    ]

    assert losses[0] == losses[1]


def test_the_value_loss_of_a_uniform_prediction() -> None:
    """Zero parameters predict 21 equal bins: ln 21, and V = -0.5 against targets -1 and 0."""
    model = ValueModel(robot.train_value_config().value.model)
    params = _zeros_like(jax.eval_shape(model.init, jax.random.key(0)))
    inputs = ValueInputs(
        {}, {}, jnp.zeros((2, 6)), jnp.ones((2, 8), jnp.int32), jnp.ones((2, 8), bool)
    )
    batch = ValueBatch(inputs, jnp.asarray(two_hot(np.array([-1.0, 0.0]), 21)))

    loss, metrics = jax.jit(value_loss(model))(params, jax.random.key(0), batch)

    assert float(loss) == pytest.approx(np.log(21), rel=1e-6)
    assert float(metrics["value_error"].total) == pytest.approx(1.0)
    assert float(metrics["value_error"].num) == 2


def test_an_augmented_loss_is_that_of_augmented_images() -> None:
    """Images change by the key of the step before the model sees them, and only if asked."""
    model = ValueModel(robot.train_value_config(views=("base_0_rgb",), image_px=14).value.model)
    inputs = ValueInputs(
        {"base_0_rgb": jax.random.uniform(jax.random.key(1), (2, 14, 14, 3))},
        {"base_0_rgb": jnp.ones(2, bool)},
        jnp.zeros((2, 6)),
        jnp.ones((2, 8), jnp.int32),
        jnp.ones((2, 8), bool),
    )
    target_probs = jax.nn.softmax(jnp.arange(42.0).reshape(2, 21))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)
    config = AugmentConfig(color_share=1)

    @jax.jit
    def losses(params: Params, key: jax.Array) -> list[jax.Array]:
        changed = augment_inputs(key, inputs, config)
        return [
            value_loss(model, augment=config)(params, key, ValueBatch(inputs, target_probs))[0],
            value_loss(model)(params, key, ValueBatch(changed, target_probs))[0],
            value_loss(model)(params, key, ValueBatch(inputs, target_probs))[0],
        ]

    found, expected, unchanged = map(float, losses(params, jax.random.key(5)))

    assert found == pytest.approx(expected, rel=1e-5)
    assert found != pytest.approx(unchanged, rel=1e-3)
