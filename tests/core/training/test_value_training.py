"""Training of the value model: what stays frozen, what it starts from, how it is measured."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
from recap_core.checkpoints.value_start import check_value_start, value_start_params
from recap_core.config.policy import LoraConfig
from recap_core.config.stages import FreezeMode, TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.data.frames import FrameTable
from recap_core.errors import CheckpointError, IncompatibleError, RecapError
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.training.loop import train, training_mesh
from recap_core.training.state import TrainState, evaluation_params
from recap_core.training.value_batches import ValueBatches, value_targets
from recap_core.training.value_freezing import trainable_value_leaves
from recap_core.training.value_loss import ValueBatch, value_loss
from recap_core.training.value_validation import ValueValidation, validation_frames
from tests.core.training import robot

CONFIG = robot.train_value_config()
WITH_A_VIEW = {"views": ("base_0_rgb",), "image_px": 28, "cross_attention_heads": 2}
LORA = LoraConfig(rank=2, alpha=2)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes without images."""
    return robot.dataset(tmp_path_factory.mktemp("data") / "dataset")


def _random_params(config: TrainValueConfig) -> Params:
    """Random parameters without compiling an initialiser."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(ValueModel(config.value.model).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape, np.float32), shapes)


def _adapted(config: TrainValueConfig) -> TrainValueConfig:
    gemma = config.value.model.gemma.model_copy(update={"lora": LORA})
    model = config.value.model.model_copy(update={"gemma": gemma})
    return config.model_copy(update={"value": config.value.model_copy(update={"model": model})})


class _Noise:
    """The same two frames in every step: noise in all inputs."""

    def __init__(self, config: TrainValueConfig) -> None:
        rng, model = np.random.default_rng(1), config.value.model
        arrays: list[Any] = [
            {view: rng.uniform(-1, 1, (2, 28, 28, 3)).astype("f4") for view in model.views},
            {view: np.ones(2, bool) for view in model.views},
            rng.standard_normal((2, model.state_dim)).astype("f4"),
            rng.integers(1, 99, (2, model.max_token_len)).astype("i4"),
            np.ones((2, model.max_token_len), bool),
        ]
        self._batch = ValueBatch(ValueInputs(*arrays), np.eye(model.num_bins, dtype="f4")[:2])  # pyright: ignore[reportArgumentType] - NumPy in place of JAX

    def __call__(self, step: int) -> ValueBatch:
        del step
        return self._batch

    def frames(self, step: int) -> np.ndarray:
        del step
        return np.arange(2)

    def places(self, step: int) -> np.ndarray:
        del step
        return np.zeros((2, 2), int)


def _trained(
    config: TrainValueConfig, freeze: FreezeMode, work: Path
) -> tuple[dict[str, np.ndarray], dict[str, bool], TrainState]:
    """Leaves before two steps, which of them train, and the state after the steps."""
    params = _random_params(config)
    optimizer = config.train.optimizer.model_copy(update={"peak_lr": 0.1, "warmup_steps": 0})
    settings = config.train.model_copy(
        update={"num_steps": 2, "batch_size": 2, "optimizer": optimizer}
    )
    model = config.value.model
    mask = trainable_value_leaves(model, params, freeze)
    state = train(
        value_loss(ValueModel(model)),
        params,
        _Noise(config),
        settings,
        TrainRuntime(),
        work=work,
        trainable=mask,
    )
    return flatten(params), flatten(mask), state


_PROJECTIONS = {"img_projection", "cross_attention", "cross_attn_norm", "state_proj", "value_head"}


@pytest.mark.parametrize(
    ("freeze", "groups"),
    [
        ("none", _PROJECTIONS | {"img", "llm"}),
        ("siglip_only", _PROJECTIONS | {"llm"}),
        ("all_backbones", _PROJECTIONS),
    ],
)
@pytest.mark.parametrize("has_lora", [False, True])
def test_what_a_freeze_mode_trains(freeze: FreezeMode, groups: set[str], *, has_lora: bool) -> None:
    """Whole groups; of an adapted language model its adapters, in every mode."""
    config = robot.train_value_config(**WITH_A_VIEW)
    config = _adapted(config) if has_lora else config
    shapes = jax.eval_shape(ValueModel(config.value.model).init, jax.random.key(0))

    mask = flatten(trainable_value_leaves(config.value.model, shapes, freeze))

    for leaf, trains in mask.items():
        group = leaf.partition("/")[0]
        is_adapter = has_lora and group == "llm"
        assert trains == ("lora" in leaf if is_adapter else group in groups), leaf


@pytest.mark.parametrize("freeze", ["siglip_only", "all_backbones"])
def test_frozen_leaves_keep_their_bytes(tmp_path: Path, freeze: FreezeMode) -> None:
    """In the average too, and they have no optimiser state; every other leaf changes.

    ``all_backbones`` is tried with adapters on the language model.
    """
    config = robot.train_value_config(**WITH_A_VIEW)
    config = _adapted(config) if freeze == "all_backbones" else config
    before, mask, state = _trained(config, freeze, tmp_path)

    after, average = flatten(state.params), flatten(evaluation_params(state))
    # The embedding table is read without a gradient: word meanings stay.
    changed = {leaf for leaf in before if np.any(after[leaf] != before[leaf])}
    expected = {leaf for leaf, trains in mask.items() if trains}
    assert changed | {"llm/embedder/input_embedding"} == expected | {"llm/embedder/input_embedding"}
    for leaf in before.keys() - expected:
        assert np.asarray(after[leaf]).tobytes() == before[leaf].tobytes()
        assert np.asarray(average[leaf]).tobytes() == before[leaf].tobytes()
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert len(moments) == 2 * len(expected)


def _start(directory: Path, config: TrainValueConfig, *, drop: str = "") -> dict[str, np.ndarray]:
    """A value model's directory without the leaves that start with ``drop``; its averages."""
    params = flatten(_random_params(config))
    if drop:
        params = {name: leaf for name, leaf in params.items() if not name.startswith(drop)}
    average = {name: leaf + 1 for name, leaf in params.items()}
    settings = ValueSettings(config.value, config.targets, robot.norm_stats())
    directory.mkdir()
    write_value_model(directory, unflatten(params), unflatten(average), settings)
    return average


def test_a_start_gives_its_averages_and_adapters_are_made_fresh(tmp_path: Path) -> None:
    """Adapters are those of a model that the training's seed makes."""
    average = _start(tmp_path / "start", CONFIG)
    config = _adapted(CONFIG)
    model, key = ValueModel(config.value.model), jax.random.key(5)
    shapes = jax.eval_shape(model.init, key)

    fresh = check_value_start(tmp_path / "start", config.value, shapes, who="it")
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    found = flatten(
        value_start_params(
            tmp_path / "start", model.init, key, like=shapes, fresh=fresh, sharding=device
        )
    )

    assert set(found) - set(fresh) == set(average)
    assert all("lora" in leaf for leaf in fresh)
    for name, leaf in average.items():
        np.testing.assert_array_equal(found[name], leaf)
    expected = jax.jit(lambda: {name: flatten(model.init(key))[name] for name in fresh})()
    for name in fresh:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(
    ("changes", "drop", "error", "message"),
    [
        ({"head_hidden": 6}, "", CheckpointError,
         r"it is another model: value_head/linear1/bias: expected \(6,\), found \(8,\) \(and 2"),
        ({}, "state_proj", CheckpointError, r"it has no state_proj/bias \(and 1 more leaves\)"),
        ({"state_input": "none"}, "", CheckpointError, r"it also has state_proj/bias"),
        ({"gemma": CONFIG.value.model.gemma.model_copy(update={"global_every": 2})}, "",
         IncompatibleError, r"has gemma.global_every 1, and value.model.gemma.global_every is 2"),
    ],
)  # fmt: skip
def test_a_start_that_is_another_model(
    tmp_path: Path, changes: dict[str, Any], drop: str, error: type[RecapError], message: str
) -> None:
    """The first leaf with both shapes, or the setting with both values."""
    _start(tmp_path / "start", CONFIG, drop=drop)
    config = robot.train_value_config(**changes)
    shapes = jax.eval_shape(ValueModel(config.value.model).init, jax.random.key(0))

    with pytest.raises(error, match=message):
        check_value_start(tmp_path / "start", config.value, shapes, who="it")


def test_leaves_that_an_import_could_not_fill_need_not_fit(tmp_path: Path) -> None:
    """A start that lists its head as fresh is one for any head."""
    _start(tmp_path / "start", CONFIG, drop="state_proj")
    config = robot.train_value_config(head_hidden=6)
    shapes = jax.eval_shape(ValueModel(config.value.model).init, jax.random.key(0))
    unfilled = [leaf for leaf in flatten(shapes) if leaf.startswith(("value_head", "state_proj"))]

    fresh = check_value_start(tmp_path / "start", config.value, shapes, fresh=unfilled, who="it")

    assert sorted(fresh) == [
        "state_proj/bias", "state_proj/kernel", "value_head/linear1/bias",
        "value_head/linear1/kernel", "value_head/linear2/kernel",
    ]  # fmt: skip


def _validation(table: FrameTable, config: TrainValueConfig, frames: np.ndarray) -> ValueValidation:
    return ValueValidation(
        ValueModel(config.value.model),
        table,
        robot.value_transform(config.value),
        config,
        frames=frames,
        mesh=training_mesh(TrainRuntime()),
    )


def test_validation_is_exact(table: FrameTable) -> None:
    """Every frame of two episodes once, in batches of eight, as in one call of the model."""
    frames = validation_frames(table, CONFIG, np.array([1, 2]))
    assert len(frames) == 15 + 10 - 1  # one is paused, and has no target
    params = _random_params(CONFIG)
    average = jax.tree.map(lambda leaf: -leaf, params)
    state: Any = TrainState(np.int32(0), params, average, ())  # pyright: ignore[reportArgumentType] - NumPy in place of JAX

    found = _validation(table, CONFIG, frames[:-3])(state)

    frames = frames[:-3]
    inputs = ValueBatches(table, robot.value_transform(CONFIG.value), CONFIG)._precomputed
    assert inputs is not None
    inputs = inputs._replace(
        state=inputs.state[frames], tokens=inputs.tokens[frames],
        token_mask=inputs.token_mask[frames],
    )  # fmt: skip
    logits = np.asarray(jax.jit(ValueModel(CONFIG.value.model).logits)(average, inputs), "f8")
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    position = (value_targets(table, CONFIG.targets).targets[frames] + 1) * 20
    lower = np.minimum(np.floor(np.round(position, 9)), 19).astype(int)
    rows = np.arange(len(frames))
    weight = position - lower
    loss = -(1 - weight) * log_probs[rows, lower] - weight * log_probs[rows, lower + 1]
    assert found["val_loss"] == pytest.approx(loss.mean(), rel=1e-5)
    bins = np.where(weight > 0.5, lower + 1, lower)
    assert found["val_top1"] == pytest.approx((logits.argmax(axis=1) == bins).mean())
    assert -1 <= found["val_spearman"] <= 1


def test_a_uniform_prediction_costs_the_logarithm_of_the_bins(table: FrameTable) -> None:
    """Ln 201 = 5.303, whatever the targets, two-hot or hard (SPEC §8.2)."""
    config = robot.train_value_config(num_bins=201).model_copy(update={"target_bins": "hard"})
    params = _random_params(config)
    params["value_head"]["linear2"] = jax.tree.map(np.zeros_like, params["value_head"]["linear2"])
    state: Any = TrainState(np.int32(0), params, None, ())  # pyright: ignore[reportArgumentType] - NumPy in place of JAX

    found = _validation(table, config, np.arange(9))(state)

    assert found["val_loss"] == pytest.approx(np.log(201), rel=1e-6)
    assert found["val_loss"] == pytest.approx(5.303, abs=1e-3)
    assert found["val_spearman"] == 0


def test_many_validation_frames_are_thinned_evenly(table: FrameTable) -> None:
    """Five of episode 0's twelve: every second or third one."""
    frames = validation_frames(table, CONFIG, np.array([0]), max_frames=5)

    assert frames.tolist() == [0, 2, 4, 7, 9]


def test_hard_targets_are_one_bin(table: FrameTable) -> None:
    """floor((v + 1) * 20) of every frame's target."""
    config = CONFIG.model_copy(update={"target_bins": "hard"})
    batches = ValueBatches(table, robot.value_transform(config.value), config)
    targets = value_targets(table, config.targets).targets[batches.frames(0)]

    probs = np.asarray(batches(0).target_probs)

    assert probs.argmax(axis=1).tolist() == np.floor(np.round((targets + 1) * 20, 9)).tolist()
    assert np.all((probs == 0) | (probs == 1))
    assert np.all(probs.sum(axis=1) == 1)
