"""Estimated memory of value training beside XLA's own plan of the step, and at full size."""

from typing import Any

import jax
import pytest

from recap_core.config.policy import SiglipConfig
from recap_core.config.presets import train_value_config
from recap_core.config.stages import FreezeMode, TrainValueConfig
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.config.value import Gemma3Config, ValueConfig, ValueModelConfig
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.training.memory import MemoryEstimate
from recap_core.training.optimizer import make_optimizer
from recap_core.training.state import state_shapes
from recap_core.training.step import make_train_step
from recap_core.training.value_freezing import trainable_value_leaves
from recap_core.training.value_loss import ValueBatch, value_loss
from recap_core.training.value_memory import estimate_value_memory

MEDIUM = ValueModelConfig(
    gemma=Gemma3Config(width=128, depth=5, mlp_dim=512, num_heads=4, num_kv_heads=1, head_dim=32),
    siglip=SiglipConfig(width=96, depth=5, mlp_dim=256, num_heads=4),
    vocab_size=1000,
    views=("base_0_rgb",),
    compute_dtype="float32",
)


def _config(freeze: FreezeMode) -> TrainValueConfig:
    train = TrainConfig(batch_size=4)
    return TrainValueConfig(value=ValueConfig(model=MEDIUM), train=train, freeze=freeze)


def _plan(config: TrainValueConfig) -> Any:  # noqa: ANN401 - XLA's own type
    model, b = ValueModel(config.value.model), config.train.batch_size
    leaves = jax.eval_shape(model.init, jax.random.key(0))
    mask = trainable_value_leaves(config.value.model, leaves, config.freeze)
    state = state_shapes(leaves, make_optimizer(config.train.optimizer), mask, with_ema=True)

    def shape(*dims: int, dtype: str = "float32") -> Any:  # noqa: ANN401 - in place of arrays
        return jax.ShapeDtypeStruct(dims, dtype)

    inputs = ValueInputs(
        {"base_0_rgb": shape(b, 224, 224, 3)},
        {"base_0_rgb": shape(b, dtype="bool")},
        shape(b, 32),
        shape(b, 48, dtype="int32"),
        shape(b, 48, dtype="bool"),
    )
    step: Any = make_train_step(value_loss(model), config.train, trainable=mask)
    return step.lower(state, ValueBatch(inputs, shape(b, 201))).compile().memory_analysis()


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["none", "all_backbones"])
def test_the_estimate_is_near_the_plan_of_the_compiler(freeze: FreezeMode) -> None:
    """State and batch to the byte, what the step needs besides within a quarter."""
    config = _config(freeze)

    plan, found = _plan(config), estimate_value_memory(config, TrainRuntime(), num_devices=1)

    state = found.params + found.frozen_params + found.optimizer + found.ema
    # The step, and Adam's and the schedule's own counts; the state in the batch is not read.
    counts, unread = 3 * 4, 4 * 4 * 32
    assert plan.argument_size_in_bytes == state + found.batches // 4 + counts - unread
    needed = found.grads + found.activations + found.workspace
    assert needed == pytest.approx(plan.temp_size_in_bytes, rel=0.25)


def _full_size(freeze: FreezeMode) -> MemoryEstimate:
    config = train_value_config("single_gpu").model_copy(update={"freeze": freeze})
    return estimate_value_memory(config, TrainRuntime(), num_devices=1)


def test_full_size_by_freeze_mode() -> None:
    """Four float32 numbers per trained parameter, one per frozen one; all fit 24 GB at batch 32."""
    none, siglip_only, all_backbones = map(_full_size, ("none", "siglip_only", "all_backbones"))

    assert none.device > siglip_only.device > all_backbones.device
    assert none.device < 24e9
    assert all_backbones.device < 8e9
    leaves = jax.eval_shape(
        ValueModel(train_value_config("single_gpu").value.model).init, jax.random.key(0)
    )
    size = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in leaves.items()}
    total = sum(size.values())
    assert none.params == none.ema == none.optimizer // 2 == 4 * total
    assert siglip_only.frozen_params == 4 * size["img"]
    assert all_backbones.frozen_params == 4 * (size["img"] + size["llm"])
    assert all_backbones.params == 4 * (total - size["img"] - size["llm"])
