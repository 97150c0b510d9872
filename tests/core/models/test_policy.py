"""The policy against openpi's numbers."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.config.policy import PolicyModelConfig
from recap_core.models import flow
from recap_core.models.attention import block_causal_mask, token_positions
from recap_core.models.gemma import Context, Streams
from recap_core.models.policy import FlowLoss, Policy, PolicyInputs

KEY = jax.random.key(0)


class Sample(NamedTuple):
    """The reference's inputs."""

    inputs: PolicyInputs
    actions: jax.Array
    noise: jax.Array
    time: jax.Array
    sample_noise: jax.Array


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def reference(golden_arrays: Callable[[str], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return golden_arrays("pi05_tiny_outputs")


@pytest.fixture(scope="module")
def sample(golden_arrays: Callable[[str], dict[str, np.ndarray]]) -> Sample:
    arrays = golden_arrays("pi05_tiny_inputs")
    views = [name.rpartition("/")[2] for name in arrays if name.startswith("obs/image/")]
    pixels = {view: arrays[f"obs/image/{view}"].astype(np.float32) for view in views}
    inputs = PolicyInputs(
        images={view: jnp.asarray(image / 255 * 2 - 1) for view, image in pixels.items()},
        image_masks={view: jnp.asarray(arrays[f"obs/image_mask/{view}"]) for view in views},
        state=jnp.asarray(arrays["obs/state"]),
        tokens=jnp.asarray(arrays["obs/tokenized_prompt"]),
        token_mask=jnp.asarray(arrays["obs/tokenized_prompt_mask"]),
    )
    names = ("actions", "noise", "time", "sample_noise")
    return Sample(inputs, *(jnp.asarray(arrays[name]) for name in names))


class Outputs(NamedTuple):
    """What one compiled function returns for ``sample``."""

    loss: FlowLoss
    velocity: jax.Array
    actions: jax.Array


def outputs(config: PolicyModelConfig, params: Any, sample: Sample) -> Outputs:  # noqa: ANN401 - a tree
    """Loss, velocity and a 10-step sample, compiled together."""
    policy = Policy(config)

    def run(params: Any) -> Outputs:  # noqa: ANN401 - a tree
        noisy = flow.noisy_actions(sample.actions, sample.noise, sample.time)
        return Outputs(
            policy.flow_loss(
                params, KEY, sample.inputs, sample.actions, noise=sample.noise, time=sample.time
            ),
            policy.velocity(params, sample.inputs, noisy, sample.time),
            policy.sample_actions(
                params, KEY, sample.inputs, num_steps=10, noise=sample.sample_noise
            ),
        )

    return jax.jit(run)(params)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "served_bf16_params"])
def test_loss_velocity_and_samples_equal_the_reference(
    name: str,
    reference: dict[str, np.ndarray],
    sample: Sample,
    *,
    golden_params: dict[str, Any],
    golden_model: PolicyModelConfig,
) -> None:
    """In float32, with bfloat16 activations, and with bfloat16 weights as served."""
    exact = name == "float32"
    config = golden_model.model_copy(update={"compute_dtype": "float32" if exact else "bfloat16"})
    params = golden_params
    if name == "served_bf16_params":
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)

    found = outputs(config, params, sample)

    np.testing.assert_array_equal(found.loss.time, sample.time)
    for array, expected, atol in (
        (found.loss.squared_error, "loss", 1e-4 if exact else 3e-2),
        (found.velocity, "v_t", 5e-4 if exact else 6e-2),
        (found.actions, "sample_actions_10steps", 5e-4 if exact else 4e-2),
    ):
        np.testing.assert_allclose(array, reference[f"{name}/{expected}"], atol=atol, rtol=0)


def test_every_step_of_the_flow_equals_the_reference(
    reference: dict[str, np.ndarray],
    sample: Sample,
    golden_params: dict[str, Any],
    golden_model: PolicyModelConfig,
) -> None:
    """Ten Euler steps on one cached prefix, and four steps in one call."""
    policy = Policy(golden_model)
    prefix = jax.jit(policy.encode_prefix)(golden_params, sample.inputs)
    velocity = jax.jit(policy.velocity_after)
    x = sample.sample_noise
    trajectory = [x]
    for step in range(10):
        x = x - velocity(golden_params, prefix, x, jnp.full(2, 1 - step / 10)) / 10
        trajectory.append(x)
    expected = reference["float32/euler_trajectory_10steps"]
    np.testing.assert_allclose(np.stack(trajectory), expected, atol=5e-4, rtol=0)

    found = flow.integrate(
        lambda x, t: velocity(golden_params, prefix, x, t), sample.sample_noise, num_steps=4
    )
    np.testing.assert_allclose(found, reference["float32/sample_actions_4steps"], atol=5e-4, rtol=0)


def test_tokens_masks_and_positions_equal_the_reference(
    reference: dict[str, np.ndarray],
    sample: Sample,
    golden_params: dict[str, Any],
    golden_model: PolicyModelConfig,
) -> None:
    """Everything between the inputs and the velocity."""
    policy = Policy(golden_model)
    noisy = flow.noisy_actions(sample.actions, sample.noise, sample.time)
    np.testing.assert_allclose(noisy, reference["float32/x_t"], atol=1e-6, rtol=0)
    target = sample.noise - sample.actions
    np.testing.assert_allclose(target, reference["float32/u_t"], atol=1e-6, rtol=0)

    prefix = jax.jit(policy.embed_prefix)(golden_params, sample.inputs)
    suffix, condition = policy.embed_suffix(golden_params, sample.inputs.state, noisy, sample.time)
    np.testing.assert_allclose(
        prefix.embedded, reference["float32/prefix_tokens"], atol=2e-4, rtol=0
    )
    np.testing.assert_array_equal(prefix.valid, reference["float32/prefix_mask"])
    np.testing.assert_allclose(
        suffix.embedded, reference["float32/suffix_tokens"], atol=2e-4, rtol=0
    )
    assert condition is not None
    np.testing.assert_allclose(condition, reference["float32/adarms_cond"], atol=2e-4, rtol=0)

    valid = jnp.concatenate([prefix.valid, suffix.valid], axis=1)
    starts = jnp.concatenate([prefix.starts_block, suffix.starts_block])
    mask, positions = block_causal_mask(valid, starts), token_positions(valid)
    np.testing.assert_array_equal(mask, reference["float32/attn_mask"])
    np.testing.assert_array_equal(positions, reference["float32/positions"])

    streams, cache = jax.jit(policy.gemma.encode)(
        golden_params["PaliGemma"]["llm"],
        Streams(prefix.embedded, suffix.embedded),
        Context(positions, mask, condition),
    )
    assert streams.vlm is not None
    assert streams.expert is not None
    np.testing.assert_allclose(streams.expert, reference["float32/suffix_out"], atol=2e-4, rtol=0)
    assert cache.keys.shape == tuple(reference["float32/kv_cache_shape"])
    rows = np.array([0, 255, 256, 511, 512, 767, 768, 800, 828])
    seen = np.asarray(prefix.valid)[:, rows]
    np.testing.assert_allclose(
        np.asarray(streams.vlm)[:, rows][seen],
        reference["float32/prefix_out_last_layer_rows"][seen],
        atol=2e-4,
    )


def test_random_draws_follow_the_reference_recipe(
    reference: dict[str, np.ndarray],
    sample: Sample,
    golden_params: dict[str, Any],
    golden_model: PolicyModelConfig,
) -> None:
    """The same key gives openpi's noise and times, so its loss."""
    key = jax.random.key(123)
    found = jax.jit(Policy(golden_model).flow_loss)(
        golden_params, key, sample.inputs, sample.actions
    )
    np.testing.assert_allclose(found.time, reference["rng/time_from_key123"], atol=1e-6, rtol=0)
    expected = reference["rng/loss_from_key123"]
    np.testing.assert_allclose(found.squared_error, expected, atol=1e-4, rtol=0)


def test_training_times_are_spread_as_in_the_reference(reference: dict[str, np.ndarray]) -> None:
    """Quantiles of Beta(1.5, 1) * 0.999 + 0.001."""
    times = flow.sample_times(jax.random.key(1), 200_000)
    found = np.quantile(times, [0.01, 0.1, 0.5, 0.9, 0.99])
    expected = reference["rng/time_distribution_quantiles_1_10_50_90_99"]
    np.testing.assert_allclose(found, expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize("width", [32, 1024])
def test_time_embedding_equals_the_reference(width: int, reference: dict[str, np.ndarray]) -> None:
    """Sines then cosines, periods from 4e-3 to 4."""
    found = flow.embed_time(jnp.asarray(reference["posemb_sincos/time"]), width)
    np.testing.assert_allclose(found, reference[f"posemb_sincos/out_dim{width}"], atol=1e-4, rtol=0)
