"""Real models on a real dataset: an interrupted training equals an uninterrupted one."""

from pathlib import Path

import jax
import numpy as np
import pytest

from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.data.frames import FrameTable
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy
from recap_core.models.value_model import ValueModel
from recap_core.progress import read_metrics
from recap_core.training.loop import train
from recap_core.training.policy_batches import PolicyBatches
from recap_core.training.policy_loss import policy_loss
from recap_core.training.prefetch import Batches
from recap_core.training.state import TrainState
from recap_core.training.step import LossFn
from recap_core.training.value_batches import ValueBatches
from recap_core.training.value_loss import value_loss
from tests.core.training import robot


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes without images."""
    return robot.dataset(tmp_path_factory.mktemp("data") / "dataset")


def _small_params(model: Policy | ValueModel) -> Params:
    """Random parameters without compiling an initialiser."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.1 * rng.standard_normal(leaf.shape, np.float32), shapes)


def _train_in_two_runs(
    work: Path, loss_fn: LossFn, params: Params, batches: Batches, config: TrainConfig
) -> TrainState:
    for num_steps in (2, 4):
        part = config.model_copy(update={"num_steps": num_steps})
        state = train(loss_fn, params, batches, part, TrainRuntime(log_interval=1), work=work)
    return state


def _assert_same(a: TrainState, b: TrainState) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_policy_resumes_bit_for_bit(table: FrameTable, tmp_path: Path) -> None:
    """Train two steps, resume, train two: parameters, average and optimiser state of four."""
    config = robot.train_policy_config()
    model = Policy(config.policy.model)
    batches = PolicyBatches(table, robot.policy_transform(config.policy), config)
    loss_fn, params = policy_loss(model), _small_params(model)

    whole = train(loss_fn, params, batches, config.train, TrainRuntime(), work=tmp_path / "a")
    halves = _train_in_two_runs(tmp_path / "b", loss_fn, params, batches, config.train)

    _assert_same(halves, whole)
    losses = [row["loss"] for row in read_metrics(tmp_path / "b" / "metrics.jsonl")]
    assert len(losses) == 4
    assert np.all(np.isfinite(losses))


def test_a_value_model_resumes_bit_for_bit(table: FrameTable, tmp_path: Path) -> None:
    """The same loop, the other model."""
    config = robot.train_value_config()
    model = ValueModel(config.value.model)
    batches = ValueBatches(table, robot.value_transform(config.value), config)
    loss_fn, params = value_loss(model), _small_params(model)

    whole = train(loss_fn, params, batches, config.train, TrainRuntime(), work=tmp_path / "a")
    halves = _train_in_two_runs(tmp_path / "b", loss_fn, params, batches, config.train)

    _assert_same(halves, whole)
