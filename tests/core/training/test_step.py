"""One optimisation step, against Adam worked out on paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.errors import TrainingError
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from recap_core.training.optimizer import make_optimizer
from recap_core.training.policy_loss import PolicyBatch, policy_loss
from recap_core.training.state import (
    Mask,
    TrainState,
    all_trainable,
    evaluation_params,
    initial_state,
    with_frozen_in_bfloat16,
)
from recap_core.training.step import Metrics, TrainStep, make_train_step
from tests.core.training import regression, robot


def _start(
    params: Params, trainable: Mask | None = None, **changes: object
) -> tuple[TrainStep, TrainState]:
    config = regression.config(10, **changes)
    trainable = trainable or all_trainable(params)

    def loss(params: Params, key: jax.Array, batch: jax.Array) -> tuple[jax.Array, Metrics]:
        del key
        return batch * params["w"][0, 0] + 4 * params["b"][0], {}

    optimizer = make_optimizer(config.optimizer)
    state = initial_state(params, optimizer, trainable, with_ema=config.ema_decay is not None)
    return make_train_step(loss, config, trainable=trainable), state


def _params() -> Params:
    return {"w": np.full((1, 1), 2, np.float32), "b": np.full(1, 1, np.float32)}


def test_the_first_step_of_adam() -> None:
    """Gradient (3, 4): Adam's first step has length lr whatever the clip, lr = 0.05 / 3."""
    step, state = _start(_params(), ema_decay=0.75)

    state, metrics = step(state, jnp.float32(3))

    lr = 0.05 / 3
    assert state.ema_params is not None
    np.testing.assert_allclose(state.params["w"], [[2 - lr]], rtol=1e-5)
    np.testing.assert_allclose(state.params["b"], [1 - lr], rtol=1e-5)
    np.testing.assert_allclose(state.ema_params["w"], [[2 - lr / 4]], rtol=1e-5)
    assert int(state.step) == 1
    assert float(metrics["loss"].total) == pytest.approx(3 * 2 + 4 * 1)
    assert float(metrics["grad_norm"].total) == pytest.approx(5)
    assert float(metrics["lr"].total) == pytest.approx(lr)
    # The bias is no matrix: it does not count in the norm of the weights.
    assert float(metrics["param_norm"].total) == pytest.approx(2 - lr, rel=1e-5)


def test_frozen_leaves_stay_and_cost_nothing() -> None:
    """A frozen leaf keeps its bits; neither optimiser state nor average has a copy of it."""
    step, state = _start(_params(), {"w": False, "b": True})

    for _ in range(3):
        state, _ = step(state, jnp.float32(3))

    np.testing.assert_array_equal(state.params["w"], [[2]])
    assert state.params["b"][0] < 1
    # Adam: count, mu, nu, and the schedule's count; the average: one leaf.
    assert len(jax.tree.leaves(state.opt_state)) == 4
    assert len(jax.tree.leaves(state.ema_params)) == 1
    assert jax.tree.map(np.shape, evaluation_params(state)) == {"w": (1, 1), "b": (1,)}


def test_frozen_leaves_may_be_kept_in_bfloat16() -> None:
    """Frozen floats are halved and stay so through a step; trained ones keep their precision."""
    trainable = {"w": False, "b": True}
    step, state = _start(with_frozen_in_bfloat16(_params(), trainable), trainable)

    state, _ = step(state, jnp.float32(3))

    assert state.params["w"].dtype == jnp.bfloat16
    assert state.params["b"].dtype == jnp.float32


def test_without_average_the_raw_parameters_are_evaluated() -> None:
    """LoRA runs keep no average."""
    step, state = _start(_params(), ema_decay=None)

    state, _ = step(state, jnp.float32(3))

    assert state.ema_params is None
    assert evaluation_params(state) is state.params


def test_nothing_to_train_is_an_error() -> None:
    """A mask that freezes everything is refused before any compilation."""
    with pytest.raises(TrainingError, match="none of the 2 parameter leaves is trainable"):
        _start(_params(), {"w": False, "b": False})


def test_micro_batches_have_the_gradient_of_the_whole_batch() -> None:
    """A policy's step in one, two and four parts: the same draws, loss, classes and parameters.

    Equal to rounding: Adam's eps is 1e-3, so that no step turns on a gradient of zero.
    """
    policy = Policy(robot.train_policy_config().policy.model)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    params = jax.tree.map(lambda x: 0.3 * rng.standard_normal(x.shape, np.float32), shapes)
    inputs = PolicyInputs(
        {},
        {},
        jnp.asarray(rng.standard_normal((8, 5)), jnp.float32),
        jnp.asarray(rng.integers(0, 400, (8, 12)), jnp.int32),
        jnp.ones((8, 12), bool),
    )
    actions = jnp.asarray(rng.standard_normal((8, 3, 5)), jnp.float32)
    mask = jnp.asarray(rng.random((8, 3, 5)) < 0.7)
    batch = PolicyBatch(inputs, actions, jnp.arange(8) % 4, mask)
    optimizer = regression.OPTIMIZER.model_copy(update={"eps": 1e-3})
    config = regression.config(10, optimizer=optimizer)
    mask_of_all = all_trainable(params)

    def after(num_parts: int) -> tuple[TrainState, Metrics]:
        state = initial_state(params, make_optimizer(config.optimizer), mask_of_all, with_ema=True)
        step = make_train_step(
            policy_loss(policy), config, trainable=mask_of_all, micro_batches=num_parts
        )
        return step(state, batch)

    whole, expected = after(1)
    for num_parts in (2, 4):
        state, metrics = after(num_parts)
        for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(whole.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert metrics.keys() == expected.keys()
        for name, metric in metrics.items():
            assert float(metric.total) == pytest.approx(float(expected[name].total), rel=1e-5)
            assert float(metric.num) == float(expected[name].num)
