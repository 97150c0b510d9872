"""Estimated memory beside XLA's own plan of the step, and at full size beside what is known."""

import jax
import pytest

from recap_core.config.policy import (
    GemmaConfig,
    LoraConfig,
    PolicyConfig,
    PolicyModelConfig,
    SiglipConfig,
)
from recap_core.config.sizes import PI05, PI05_LORA
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.training.memory import (
    MemoryEstimate,
    estimate_inference_memory,
    estimate_memory,
)
from tests.core.training.abstract_step import compiled_step

GEMMA = GemmaConfig(width=128, depth=5, mlp_dim=512, num_heads=4, num_kv_heads=1, head_dim=32)
MEDIUM = PolicyModelConfig(
    vlm=GEMMA,
    expert=GEMMA.model_copy(update={"width": 64, "mlp_dim": 256}),
    siglip=SiglipConfig(width=96, depth=2, mlp_dim=256, num_heads=4),
    vocab_size=1000,
    views=("base_0_rgb",),
    action_horizon=20,
    max_token_len=100,
    compute_dtype="float32",
)
LORA = LoraConfig(rank=4, alpha=4)
ADAPTED = MEDIUM.model_copy(
    update={
        "vlm": GEMMA.model_copy(update={"lora": LORA}),
        "expert": MEDIUM.expert.model_copy(update={"lora": LORA}),
    }
)


def _estimate(
    model: PolicyModelConfig, train: TrainConfig, runtime: TrainRuntime, num_devices: int = 1
) -> MemoryEstimate:
    return estimate_memory(PolicyConfig(model=model), train, runtime, num_devices=num_devices)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "ema_decay", "options"),
    [
        (MEDIUM, 0.99, {"remat": "full"}),
        (MEDIUM, None, {"remat": "none"}),
        (MEDIUM, None, {"remat": "dots"}),
        (ADAPTED, None, {"micro_batches": 2}),
    ],
    ids=["full", "none", "dots", "LoRA in parts"],
)
def test_the_estimate_is_near_the_plan_of_the_compiler(
    model: PolicyModelConfig, ema_decay: float | None, options: dict[str, object]
) -> None:
    """State and batch to the byte, what the step needs besides within a quarter."""
    train = TrainConfig(batch_size=4, ema_decay=ema_decay)
    runtime = TrainRuntime.model_validate(options)

    plan = compiled_step(model, train, runtime).memory_analysis()
    found = _estimate(model, train, runtime)
    assert plan is not None

    state = found.params + found.frozen_params + found.optimizer + found.ema
    # The step, and Adam's and the schedule's own counts; the state in the batch is not read.
    counts, unread = 3 * 4, 4 * 4 * 32
    assert plan.argument_size_in_bytes == state + found.batches // 4 + counts - unread
    needed = found.grads + found.activations + found.workspace
    assert needed == pytest.approx(plan.temp_size_in_bytes, rel=0.25)


def test_lora_at_full_size_fits_a_24_gb_card() -> None:
    """The reference's LoRA at batch 4 takes 16-20 GB (SPEC §6)."""
    found = _estimate(PI05_LORA, TrainConfig(batch_size=4, ema_decay=None), TrainRuntime())

    assert 16e9 < found.device < 20e9
    assert found.frozen_params == 2 * (3_403_421_456 - 466_957_072)
    assert found.params == 4 * 466_957_072
    assert found.ema == 0


def test_full_training_needs_more_than_70_gb() -> None:
    """As openpi says of itself; eight devices share the state."""
    train = TrainConfig(batch_size=32)

    alone = _estimate(PI05, train, TrainRuntime())
    shared = _estimate(PI05, train, TrainRuntime(fsdp_devices=8), num_devices=8)

    assert 70e9 < alone.device < 100e9
    assert alone.params == 4 * 3_353_433_872
    assert alone.optimizer == 2 * alone.params
    # All but the small leaves are split.
    assert alone.params / 8 < shared.params < 1.01 * alone.params / 8
    assert shared.device < 20e9
    assert alone.host - shared.host == alone.batches * 28 // 32


def test_serving_takes_more_than_the_weights() -> None:
    """For openpi it is more than 8 GB; guidance runs two prompts at once."""
    policy = PolicyConfig(model=PI05)

    plain = estimate_inference_memory(policy)
    guided = estimate_inference_memory(policy.model_copy(update={"guidance": 2.0}))

    assert 8e9 < plain.device < 9e9
    assert plain.frozen_params == 2 * 3_353_433_872
    assert guided.activations == 2 * plain.activations


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ({"micro_batches": 4}, {}),
        ({"remat": "full"}, {"remat": "dots"}),
        ({"remat": "dots"}, {"remat": "none"}),
    ],
)
def test_settings_that_save_memory_do(smaller: dict, larger: dict) -> None:
    """Micro-batches and remat lower the peak at full size."""
    train = TrainConfig(batch_size=32, ema_decay=None)

    less, more = (
        _estimate(PI05_LORA, train, TrainRuntime.model_validate(options)).device
        for options in (smaller, larger)
    )

    assert less < more


def test_the_estimate_in_words() -> None:
    """The total, its parts of 0.05 GB or more, and the host's."""
    estimate = MemoryEstimate(
        params=2_000_000_000,
        frozen_params=6_000_000_000,
        grads=0,
        optimizer=4_000_000_000,
        ema=0,
        batches=10_000_000,
        activations=1_500_000_000,
        workspace=300_000_000,
        overhead=700_000_000,
        host=13_000_000_000,
    )

    assert estimate.describe() == (
        "14.5 GB per device (params 2.0, frozen params 6.0, optimizer 4.0, activations 1.5, "
        "workspace 0.3, overhead 0.7), 13.0 GB of host memory"
    )
    assert jax.tree.leaves(estimate)[-1] == estimate.host
