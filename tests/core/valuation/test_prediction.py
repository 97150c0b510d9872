"""Predictions for frames of a dataset with a real, tiny model, and files of values."""

from pathlib import Path

import jax
import numpy as np
import pytest

from recap_core.data.frames import FrameTable
from recap_core.data.video import decode_frames
from recap_core.errors import DataError
from recap_core.labels.two_hot import expectation, two_hot
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueModel
from recap_core.training.value_batches import value_targets
from recap_core.valuation.health import predict_held_out
from recap_core.valuation.prediction import ValuePredictor
from recap_core.valuation.values import read_values, write_values
from tests.core.training import robot

CONFIG = robot.train_value_config()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes without images."""
    return robot.dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def params() -> Params:
    """Random parameters."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(ValueModel(CONFIG.value.model).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape, np.float32), shapes)


@pytest.fixture(scope="module")
def predictor(params: Params) -> ValuePredictor:
    """Seven frames per device call, so that the last batch is padded."""
    transform = robot.value_transform(CONFIG.value)
    return ValuePredictor(CONFIG.value, params, transform, batch_size=7)


@pytest.fixture(scope="module")
def reference(table: FrameTable, params: Params) -> np.ndarray:
    """V of every frame in one call of the model."""
    observations = {"observation.state": table.column("observation.state")}
    prompts = [table.tasks[task] for task in table.task_index]
    inputs = robot.value_transform(CONFIG.value).inputs(observations, prompts)
    return np.asarray(jax.jit(ValueModel(CONFIG.value.model).value)(params, inputs))


def test_predictions_come_in_the_order_of_the_episodes(
    table: FrameTable, predictor: ValuePredictor
) -> None:
    """Asked for episodes 3 and 1, frames 37-45 come first, then 12-26; rows sum to 1."""
    batches = list(predictor.predictions(table, [3, 1]))

    indices = np.concatenate([batch.indices for batch in batches])
    np.testing.assert_array_equal(indices, [*range(37, 46), *range(12, 27)])
    assert [len(batch.indices) for batch in batches] == [7, 7, 7, 3]
    for batch in batches:
        np.testing.assert_allclose(batch.probs.sum(axis=1), 1, atol=1e-5)


def test_images_go_to_the_device_as_they_are_stored(tmp_path: Path) -> None:
    """8-bit pixels give the distributions of the transform's own floats, up to rounding."""
    cameras = ("head_camera",)
    config = robot.train_value_config(views=("base_0_rgb",), image_px=28, state_input="none").value
    feature = "observation.images.head_camera"
    embodiment = config.embodiment.model_copy(update={"views": {"base_0_rgb": feature}})
    config = config.model_copy(update={"embodiment": embodiment})
    table = robot.dataset(tmp_path / "dataset", cameras=cameras)
    shapes = jax.eval_shape(ValueModel(config.model).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape, np.float32), shapes)
    transform = robot.value_transform(config)
    predictor = ValuePredictor(config, params, transform, batch_size=4)

    found = np.concatenate([batch.probs for batch in predictor.predictions(table, [3])])

    frames = np.arange(37, 46)
    images = decode_frames(table.meta, [feature], frames, image_px=28)
    prompts = [table.tasks[task] for task in table.task_index[frames]]
    floats = transform.inputs(images, prompts)
    assert floats.images["base_0_rgb"].dtype == np.float32
    logits = jax.jit(ValueModel(config.model).logits)(params, floats)
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-6)
    assert np.ptp(found, axis=0).max() > 1e-3, "the model looks at the images"


def test_held_out_predictions_by_hand(
    table: FrameTable, predictor: ValuePredictor, reference: np.ndarray
) -> None:
    """Values, targets, cross-entropy and ranks of episode 2, whose paused frame is left out."""
    targets = value_targets(table, CONFIG.targets).targets

    held_out = predict_held_out(table, predictor, targets, [2])

    frames = np.array([27, 28, 29, *range(31, 37)])  # 30 is paused
    np.testing.assert_allclose(held_out.values, reference[frames], atol=1e-6)
    np.testing.assert_array_equal(held_out.targets, targets[frames])
    np.testing.assert_array_equal(held_out.frames_to_go, 36 - frames)
    assert not held_out.success.any()
    probs = np.concatenate([batch.probs for batch in predictor.predictions(table, [2])])
    probs = np.delete(probs, 3, axis=0)
    expected = -np.sum(two_hot(targets[frames], 21) * np.log(probs), axis=1)
    np.testing.assert_allclose(held_out.cross_entropy, expected, rtol=1e-5)
    # A failure's target is bin 0.
    np.testing.assert_array_equal(held_out.target_rank, (probs > probs[:, :1]).sum(axis=1))
    np.testing.assert_allclose(expectation(held_out.bin_mass), held_out.values.mean(), atol=1e-6)


def test_an_episode_that_was_merged_twice_is_judged_once(
    table: FrameTable, predictor: ValuePredictor
) -> None:
    """Copies are no evidence: of two equal episodes the first one is predicted."""

    class Twice(FrameTable):
        @property
        def originals(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
            return np.array([0, 0, 2, 3])

    targets = value_targets(table, CONFIG.targets).targets

    held_out = predict_held_out(Twice(table.meta), predictor, targets, [0, 1, 3])

    assert np.unique(held_out.episode).tolist() == [0, 3]


def test_nothing_to_judge_by_is_an_error(table: FrameTable, predictor: ValuePredictor) -> None:
    """Held-out episodes whose every frame was paused."""
    with pytest.raises(DataError, match="none of the 1 held-out episodes"):
        predict_held_out(table, predictor, np.full(table.num_frames, np.nan), [2])


def test_stored_values_are_read_back(tmp_path: Path) -> None:
    """Float32, bit for bit."""
    values = np.linspace(-1, 0, 5, dtype=np.float32)

    write_values(tmp_path, values)

    np.testing.assert_array_equal(read_values(tmp_path), values)
    assert read_values(tmp_path).dtype == np.float32


@pytest.mark.parametrize("bad", [0.1, -1.5, np.nan])
def test_impossible_values_are_not_stored(tmp_path: Path, bad: float) -> None:
    """A value outside [-1, 0], or none at all, is named."""
    with pytest.raises(DataError, match=r"V of frame 1 is .*outside \[-1, 0\] \(1 of 2 frames"):
        write_values(tmp_path, np.array([-0.5, bad], np.float32))


def test_frames_that_were_not_asked_for_have_no_value(tmp_path: Path) -> None:
    """NaN there, and nowhere else."""
    is_wanted = np.array([False, True, True])

    write_values(tmp_path, np.array([np.nan, -0.5, 0], np.float32), is_wanted=is_wanted)

    np.testing.assert_array_equal(read_values(tmp_path), [np.nan, -0.5, 0])
    with pytest.raises(DataError, match=r"V of frame 0 is -0\.1, but was not asked for"):
        write_values(tmp_path, np.array([-0.1, -0.5, 0], np.float32), is_wanted=is_wanted)
    with pytest.raises(DataError, match="V of frame 1 is nan, outside"):
        write_values(tmp_path, np.array([np.nan, np.nan, 0], np.float32), is_wanted=is_wanted)


def test_missing_values_are_an_error(tmp_path: Path) -> None:
    """A directory without values says what to do."""
    with pytest.raises(DataError, match="Infer the values"):
        read_values(tmp_path)
