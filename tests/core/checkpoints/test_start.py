"""The parameters that a training starts from."""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.checkpoints.start import start_params
from recap_core.checkpoints.trees import flatten, unflatten
from recap_core.config.policy import PolicyModelConfig
from recap_core.errors import CheckpointError
from recap_core.models.policy import Policy
from tests.core.checkpoints import tiny

KEY = jax.random.key(7)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full policy, written as openpi's training writes it."""
    return tiny.write_as_openpi(tmp_path_factory.mktemp("exp") / "10", tiny.random_params())


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA policy whose frozen leaves are bfloat16."""
    flat = {
        path: leaf.astype(jnp.bfloat16) if "llm" in path and "lora" not in path else leaf
        for path, leaf in flatten(tiny.random_params(tiny.LORA)).items()
    }
    step = tmp_path_factory.mktemp("lora") / "10"
    return tiny.write_as_openpi(step, unflatten(flat), nnx_values=False)


def test_a_full_policy_starts_as_it_is(base: Path) -> None:
    """Every leaf is the checkpoint's."""
    tiny.assert_equal(start_params(base, tiny.FULL, KEY), tiny.random_params())


def test_a_lora_training_starts_from_a_full_policy(base: Path) -> None:
    """Adapters are those of a fresh model with the same key; all else is the checkpoint's."""
    blind = tiny.LORA.model_copy(update={"views": ()})  # a whole vision encoder compiles slowly

    started = flatten(start_params(base, blind, KEY))

    fresh = flatten(jax.jit(Policy(blind).init)(KEY))
    loaded = flatten(tiny.random_params())
    assert started.keys() == fresh.keys()
    assert len(started.keys() - loaded.keys()) == 20
    for path, leaf in started.items():
        np.testing.assert_array_equal(leaf, loaded.get(path, fresh[path]), err_msg=path)
        assert leaf.dtype == np.float32, path


def test_a_lora_policy_goes_on_as_float32(adapted: Path) -> None:
    """The model's dtype counts: bfloat16 leaves are cast, none is fresh."""
    started = flatten(start_params(adapted, tiny.LORA, KEY))

    expected = flatten(tiny.random_params(tiny.LORA))
    for path, leaf in started.items():
        assert leaf.dtype == np.float32
        np.testing.assert_allclose(leaf, expected[path], rtol=2**-8, err_msg=path)


def test_only_the_adapters_are_initialised() -> None:
    """The compiled program of the fresh leaves draws nothing else."""
    model = tiny.LORA.model_copy(update={"vocab_size": 4096, "views": ()})

    def adapters(key: jax.Array) -> dict[str, Any]:
        flat = flatten(Policy(model).init(key))
        return {path: leaf for path, leaf in flat.items() if "lora" in path}

    compiled = jax.jit(adapters).lower(KEY).compile()
    num_bytes = sum(leaf.size * 4 for leaf in jax.eval_shape(adapters, KEY).values())
    used: Any = compiled.memory_analysis()
    assert used.output_size_in_bytes < 2 * num_bytes
    assert used.temp_size_in_bytes < 4096 * 16 * 4  # the embedding alone would need more


def test_leaves_go_where_and_become_what_is_asked_for(base: Path) -> None:
    """Frozen leaves may be bfloat16 on their devices, adapters included."""
    like = {
        path: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16 if "img" in path else leaf.dtype)
        for path, leaf in flatten(tiny.shapes(tiny.LORA)).items()
    }
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    started = flatten(start_params(base, tiny.LORA, KEY, like=unflatten(like), sharding=place))

    for path, leaf in started.items():
        assert isinstance(leaf, jax.Array), path
        assert leaf.sharding == place, path
        assert leaf.dtype == like[path].dtype, path


def test_a_full_training_cannot_start_from_adapters(adapted: Path) -> None:
    """It would drop them in silence; the message names both sides and the way out."""
    with pytest.raises(
        CheckpointError,
        match=r"20 extra.*LoRA adapters \(rank 2 on the vlm, rank 3 on the expert\); the "
        r"configuration has none.*--merge-lora",
    ):
        start_params(adapted, tiny.FULL, KEY)


def test_adapters_of_another_rank_are_refused(adapted: Path) -> None:
    """Both ranks are named."""
    with pytest.raises(CheckpointError, match=r"rank 2 on the vlm.*others \(rank 4 on the vlm"):
        start_params(adapted, tiny.with_lora(vlm=4), KEY)


def test_adapters_may_be_added_to_one_expert(tmp_path: Path) -> None:
    """A policy adapted on the VLM gets fresh adapters on the expert, and keeps its own."""
    vlm_only = tiny.random_params(tiny.with_lora(expert=None))
    step = tiny.write_as_openpi(tmp_path / "3", vlm_only)

    started = flatten(start_params(step, tiny.LORA, KEY))

    kept = flatten(vlm_only)
    assert len(started) - len(kept) == 10
    for path, leaf in kept.items():
        np.testing.assert_array_equal(started[path], leaf)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"views": ()}, 23),
        ({"state_input": "none"}, 2),
    ],
)
def test_leaves_of_absent_inputs_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any], left_out: int
) -> None:
    """A base with cameras and a continuous state starts a model without, and says so."""
    whole = tiny.FULL.model_copy(update={"state_input": "continuous", "time_input": "concat"})
    params = tiny.random_params(whole)
    step = tiny.write_as_openpi(tmp_path / "3", params)
    model: PolicyModelConfig = whole.model_copy(update=change)

    with caplog.at_level(logging.WARNING):
        started = start_params(step, model, KEY)

    assert len(flatten(params)) - len(flatten(started)) == left_out
    assert f"{left_out} leaves of" in caplog.text


def test_a_missing_leaf_is_an_error(base: Path) -> None:
    """Only adapters may be absent: pi0's projections are not made up."""
    pi0 = tiny.FULL.model_copy(update={"time_input": "concat", "state_input": "continuous"})

    with pytest.raises(
        CheckpointError, match=r"missing.*The checkpoint is pi0\.5 of.*the configuration is pi0 of"
    ):
        start_params(base, pi0, KEY)


def test_another_width_is_an_error(base: Path) -> None:
    """With the sizes of both."""
    wide = tiny.FULL.model_copy(
        update={"vlm": tiny.FULL.vlm.model_copy(update={"width": 32, "mlp_dim": 24})}
    )

    with pytest.raises(CheckpointError, match=r"width 16, depth 2, mlp 20.*width 32, depth 2"):
        start_params(base, wide, KEY)
