"""More of openpi's numbers: masks, tokens, images, LoRA, pi0, other shapes (models.npz)."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.models import flow
from recap_core.models.layers import LayerLoop
from recap_core.models.lora import merge_adapters
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy
from tests.core.models import reference
from tests.golden.openpi import cases

LOSS_ATOL, ACTION_ATOL = 1e-4, 5e-4
BF16_LOSS_ATOL, BF16_VELOCITY_ATOL, BF16_SAMPLE_ATOL = 3e-2, 6e-2, 4e-2
GOLDEN = reference.arrays("models")
ADAPTED = [name for name, case in cases.MODELS.items() if case.vlm_lora or case.expert_lora]


type Outputs = Mapping[str, jax.Array]


@cache
def compiled(name: str, dtype: str = "float32") -> Callable[[Params, Any], Outputs]:
    """Everything that is compared, in one program: the images are encoded once."""
    # As a loop, layers compile faster.
    config = reference.model_config(name, compute_dtype=dtype)
    policy = Policy(config, loop=LayerLoop())

    @jax.jit
    def run(params: Params, inputs: Mapping[str, Any]) -> Outputs:
        x = reference.policy_inputs(inputs)
        actions, noise, time = inputs["actions"], inputs["noise"], inputs["time"]
        velocity = policy.velocity(params, x, flow.noisy_actions(actions, noise, time), time)
        drawn = policy.flow_loss(params, jax.random.key(11), x, actions)
        return {
            "v_t": velocity,
            "loss": jnp.mean(jnp.square(velocity - (noise - actions)), axis=-1),
            "loss_from_key11": drawn.squared_error,
            "samples": policy.sample_actions(
                params, jax.random.key(0), x, num_steps=4, noise=inputs["sample_noise"]
            ),
        }

    return run


def assert_equal_to_the_reference(found: Mapping[str, Any], prefix: str) -> None:
    for key, array in found.items():
        atol = LOSS_ATOL if key.startswith("loss") else ACTION_ATOL
        np.testing.assert_allclose(array, GOLDEN[f"{prefix}/{key}"], atol=atol, rtol=0, err_msg=key)


@pytest.mark.parametrize("variation", cases.VARIATIONS)
def test_masks_tokens_and_images_of_any_kind(variation: str) -> None:
    """Absent views, no text, holes in the text, nothing at all, flat images, both ends of time."""
    found = compiled("pi05")(reference.params("pi05"), cases.varied(variation))

    assert_equal_to_the_reference(found, f"vary/{variation}")


@pytest.mark.parametrize("name", [name for name in cases.MODELS if name != "pi05"])
def test_every_architecture(name: str) -> None:
    """LoRA on either expert with alpha unlike the rank, pi0, other horizons and widths."""
    found = compiled(name)(reference.params(name), cases.inputs(name))

    assert_equal_to_the_reference(found, name)


@pytest.mark.parametrize("params_dtype", ["bfloat16", "served_bf16_params"])
@pytest.mark.parametrize("name", ["lora_both", "pi0"])
def test_bfloat16(name: str, params_dtype: str) -> None:
    """bfloat16 activations with float32 and with bfloat16 parameters."""
    params = reference.params(name)
    if params_dtype == "served_bf16_params":
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)

    found = compiled(name, "bfloat16")(params, cases.inputs(name))

    for key, atol in (
        ("loss", BF16_LOSS_ATOL),
        ("loss_from_key11", BF16_LOSS_ATOL),
        ("v_t", BF16_VELOCITY_ATOL),
        ("samples", BF16_SAMPLE_ATOL),
    ):
        expected = GOLDEN[f"{name}/{params_dtype}/{key}"]
        np.testing.assert_allclose(found[key], expected, atol=atol, rtol=0, err_msg=key)


@pytest.mark.parametrize("num_steps", [1, 7])
def test_any_number_of_denoising_steps(num_steps: int) -> None:
    """One, and a number that binary fractions do not divide evenly."""
    inputs, policy = cases.inputs("pi05"), Policy(reference.model_config("pi05"), loop=LayerLoop())

    found = jax.jit(
        lambda params, x, noise: policy.sample_actions(
            params, jax.random.key(0), x, num_steps=num_steps, noise=noise
        )
    )(
        reference.params("pi05"),
        reference.policy_inputs(inputs),
        jnp.asarray(inputs["sample_noise"]),
    )

    np.testing.assert_allclose(found, GOLDEN[f"steps/{num_steps}"], atol=ACTION_ATOL, rtol=0)


def test_noise_comes_from_the_key_as_in_the_reference() -> None:
    """The same key samples the same actions."""
    policy = Policy(reference.model_config("pi05"), loop=LayerLoop())

    found = jax.jit(lambda p, x: policy.sample_actions(p, jax.random.key(13), x, num_steps=4))(
        reference.params("pi05"), reference.policy_inputs(cases.inputs("pi05"))
    )

    expected = GOLDEN["sampled_noise/samples_from_key13"]
    np.testing.assert_allclose(found, expected, atol=ACTION_ATOL, rtol=0)


@pytest.mark.parametrize("name", ADAPTED)
def test_merged_adapters_give_the_adapted_reference(name: str) -> None:
    """Adapters folded into their weights: openpi's LoRA numbers from a model without LoRA."""
    config = reference.model_config(name)
    merged = merge_adapters(reference.params(name), config.vlm, config.expert)

    plain = compiled("pi0" if name == "pi0_lora" else "pi05")
    found = plain(merged, cases.inputs(name))

    assert_equal_to_the_reference(found, name)


def test_merging_keeps_the_adapters_of_a_run_with_frozen_bfloat16_weights() -> None:
    """The sum is float32: bfloat16 would swallow an adapter a thousandth of its weight."""
    config = reference.model_config("lora_both")
    params = reference.params("lora_both")
    attn = params["PaliGemma"]["llm"]["layers"]["attn"]
    frozen = attn["q_einsum"]["w"].astype(jnp.bfloat16)
    tiny = {"lora_a": attn["q_einsum"]["lora_a"] * 1e-3, "lora_b": attn["q_einsum"]["lora_b"]}
    attn["q_einsum"] = {"w": frozen} | tiny

    merged = merge_adapters(params, config.vlm, config.expert)

    found = merged["PaliGemma"]["llm"]["layers"]["attn"]["q_einsum"]["w"]
    product = jnp.einsum("...ir,...ro->...io", tiny["lora_a"], tiny["lora_b"])
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found - frozen.astype(jnp.float32), product, atol=1e-6)
