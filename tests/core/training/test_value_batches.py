"""Batches for the value model."""

import jax
import numpy as np
import pytest

from recap_core.config.labels import TargetConfig
from recap_core.data.frames import FrameTable
from recap_core.labels.two_hot import expectation
from recap_core.training.value_batches import ValueBatches, value_targets
from tests.core.training import robot


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes without images."""
    return robot.dataset(tmp_path_factory.mktemp("data") / "dataset")


def _batches(table: FrameTable, episodes: np.ndarray | None = None) -> ValueBatches:
    config = robot.train_value_config()
    return ValueBatches(table, robot.value_transform(config.value), config, episodes=episodes)


def test_a_batch_by_hand(table: FrameTable) -> None:
    """Normalised state, padded; two-hot targets whose mean is -(frames to go)/20 or -1."""
    batches = _batches(table)
    batch, frames = batches(2), batches.frames(2)
    state = table.column("observation.state")[frames]
    episode = table.episode_index[frames]
    to_go = table.episode_ends[episode] - 1 - frames
    expected = np.where(table.success[episode], -to_go / 20, -1.0)

    np.testing.assert_allclose(batch.inputs.state[:, :4], (state - 0.5) / 2, atol=1e-5)
    assert np.all(np.asarray(batch.inputs.state)[:, 4:] == 0)
    np.testing.assert_allclose(expectation(np.asarray(batch.target_probs)), expected, atol=1e-6)


def test_a_batch_depends_on_the_step_alone(table: FrameTable) -> None:
    """Two instances agree on every step."""
    jax.tree.map(np.testing.assert_array_equal, _batches(table)(7), _batches(table)(7))


def test_only_frames_of_the_training_split_are_drawn(table: FrameTable) -> None:
    """Held-out episodes never appear."""
    batches = _batches(table, episodes=np.array([0, 3]))

    drawn = np.concatenate([batches.frames(step) for step in range(50)])

    assert set(table.episode_index[drawn]) == {0, 3}


def test_time_stands_still_on_paused_frames(table: FrameTable) -> None:
    """A paused frame has no target, except under the reference rule, where it counts."""
    paused = np.flatnonzero(table.is_paused)

    fixed = value_targets(table, TargetConfig(rule="fixed_limit", limit_frames=20))
    reference = value_targets(table, TargetConfig(rule="reference"))

    assert np.isnan(fixed.targets[paused]).all()
    np.testing.assert_allclose(reference.targets, table.column("value_label"), atol=1e-6)


def test_a_state_in_the_text_is_the_frames_own(table: FrameTable) -> None:
    """Every sample's tokens are those of its frame's state; no number goes in beside them."""
    config = robot.train_value_config(state_input="tokens", max_token_len=80)
    transform = robot.value_transform(config.value)
    batches = ValueBatches(table, transform, config)
    batch, frames = batches(1), batches.frames(1)
    state = table.column("observation.state")[frames]
    prompts = [table.tasks[task] for task in table.task_index[frames]]

    own = transform.inputs({"observation.state": state}, prompts)

    assert len(np.unique(own.tokens, axis=0)) > 1
    np.testing.assert_array_equal(batch.inputs.tokens, own.tokens)
    np.testing.assert_array_equal(batch.inputs.token_mask, own.token_mask)
    np.testing.assert_array_equal(batch.inputs.state, np.zeros((8, 6)))
