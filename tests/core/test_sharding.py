"""Which leaf goes where on several devices, beside openpi's own answer."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from recap_core.config.policy import GemmaConfig, PolicyModelConfig
from recap_core.config.sizes import GEMMA_2B_LORA, GEMMA_300M_LORA, PI05, PI05_LORA
from recap_core.config.training import OptimizerConfig
from recap_core.errors import ConfigError
from recap_core.models.policy import Policy, trainable_mask
from recap_core.sharding import device_mesh, fsdp_axis, place
from recap_core.training.optimizer import make_optimizer
from recap_core.training.state import frozen_paths, state_shapes, with_frozen_in_bfloat16

GOLDEN = Path(__file__).parents[1] / "golden" / "openpi"
DUMMY = GemmaConfig(width=64, depth=4, mlp_dim=128, num_heads=8, num_kv_heads=1, head_dim=16)
PI0 = {"time_input": "concat", "state_input": "continuous"}
VARIANTS = {
    "pi05_full": PI05,
    "pi05_lora_both": PI05_LORA,
    "pi05_lora_vlm_only": PI05.model_copy(update={"vlm": GEMMA_2B_LORA}),
    "pi05_lora_expert_only": PI05.model_copy(update={"expert": GEMMA_300M_LORA}),
    "pi05_dummy": PI05.model_copy(update={"vlm": DUMMY, "expert": DUMMY}),
    "pi0_full": PI05.model_copy(update=PI0),
    "pi0_lora_both": PI05_LORA.model_copy(update=PI0),
}
NUM_FROZEN = {
    "pi05_full": 0,
    "pi05_lora_both": 20,
    "pi05_lora_vlm_only": 9,
    "pi05_lora_expert_only": 11,
}


def _params(model: PolicyModelConfig) -> tuple[dict, dict]:
    shapes = jax.eval_shape(Policy(model).init, jax.random.key(0))
    mask = trainable_mask(model, shapes)
    return with_frozen_in_bfloat16(shapes, mask), mask


def _by_path(tree: dict) -> dict:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}


@pytest.mark.parametrize("name", VARIANTS)
def test_leaves_are_split_where_openpi_splits_them(name: str) -> None:
    """The axis of every parameter of every variant, on 2, 4 and 8 devices."""
    expected = json.loads((GOLDEN / "fsdp_axes.json").read_text())[name]
    params, _ = _params(VARIANTS[name])

    for num_devices, axes in expected.items():
        found = {
            path: fsdp_axis(leaf.shape, leaf.dtype.itemsize, num_shards=int(num_devices))
            for path, leaf in _by_path(params).items()
        }
        assert found == axes
    if name == "pi05_full":
        assert sum(axis is not None for axis in expected["8"].values()) == 23


@pytest.mark.parametrize(("name", "num_frozen"), NUM_FROZEN.items())
def test_the_leaves_that_openpi_freezes_are_frozen(name: str, num_frozen: int) -> None:
    """By path, as openpi's freeze filter says; they are bfloat16 and have no optimiser state."""
    expected = json.loads((GOLDEN / "param_trees.json").read_text())[name]
    params, mask = _params(VARIANTS[name])

    frozen = frozen_paths(mask)

    assert set(frozen) == {path for path, leaf in expected.items() if not leaf["trainable"]}
    assert len(frozen) == num_frozen
    dtypes = {path: leaf.dtype.name for path, leaf in _by_path(params).items()}
    assert {path for path, dtype in dtypes.items() if dtype == "bfloat16"} == set(frozen)
    optimizer = make_optimizer(OptimizerConfig())
    state = state_shapes(params, optimizer, mask, with_ema=False)
    # Two moments of every trained leaf, and two counts.
    assert len(jax.tree.leaves(state.opt_state)) == 2 * (len(expected) - num_frozen) + 2


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1024, 1024), 1),  # 4 MiB exactly; of equal axes, the last
        ((1024, 1023), None),  # below 4 MiB
        ((2048, 1024), 0),  # the longest
        ((2047, 1024), 1),  # the longest that 8 divides
        ((1025, 1027), None),  # none that 8 divides
        ((1 << 21,), None),  # a vector
    ],
)
def test_the_rule_by_hand(shape: tuple[int, ...], axis: int | None) -> None:
    """float32 leaves over 8 devices."""
    assert fsdp_axis(shape, 4, num_shards=8) == axis


def test_without_fsdp_nothing_is_split() -> None:
    """One device per copy."""
    assert fsdp_axis((4096, 4096), 4, num_shards=1) is None


def test_devices_that_do_not_divide_are_refused() -> None:
    """One CPU cannot be three."""
    with pytest.raises(ConfigError, match="fsdp_devices is 3, which does not divide the 1 devices"):
        device_mesh(3)


def test_placed_leaves_are_copies() -> None:
    """What training overwrites in place is neither NumPy's memory nor the caller's array."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    mine = {"a": np.ones(64, np.float32), "b": jax.numpy.ones(64)}

    placed = place(mine, {"a": device, "b": device})
    jax.jit(lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0)(placed)

    np.testing.assert_array_equal(mine["a"], 1)
    np.testing.assert_array_equal(mine["b"], 1)
