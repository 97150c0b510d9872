"""What the configuration of the policy changes, and what it must not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from recap_core.config import sizes
from recap_core.config.policy import GemmaConfig, LoraConfig, PolicyModelConfig, SiglipConfig
from recap_core.models import flow
from recap_core.models.layers import LayerLoop
from recap_core.models.lora import merge_adapters
from recap_core.models.parameters import count_params
from recap_core.models.policy import Policy, PolicyInputs, trainable_mask

KEY = jax.random.key(0)
PUBLISHED = {
    "pi05_full": (sizes.PI05, 3_353_433_872),
    "pi05_lora_both": (sizes.PI05_LORA, 3_403_421_456),
    "pi05_lora_vlm_only": (sizes.PI05_LORA_VLM, 3_381_303_056),
    "pi05_lora_expert_only": (sizes.PI05_LORA_EXPERT, 3_375_552_272),
    "pi05_dummy": (sizes.PI05_DUMMY, 429_443_344),
    "pi0_full": (sizes.PI0, 3_238_048_528),
}
EXPERT = GemmaConfig(width=16, depth=2, mlp_dim=16, num_heads=2, num_kv_heads=1, head_dim=8)
SMALL = PolicyModelConfig(
    vlm=EXPERT,
    expert=EXPERT.model_copy(update={"width": 8}),
    siglip=SiglipConfig(width=8, depth=1, mlp_dim=8, num_heads=2, patch_px=8),
    vocab_size=16,
    views=("base_0_rgb", "left_wrist_0_rgb"),
    image_px=16,
    action_dim=3,
    action_horizon=4,
    max_token_len=5,
    compute_dtype="float32",
)


@pytest.fixture(autouse=True)
def strict_types() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def changed(**fields: Any) -> PolicyModelConfig:  # noqa: ANN401 - any field
    return PolicyModelConfig(**(dict(SMALL) | fields))


def fresh(config: PolicyModelConfig) -> tuple[Policy, Any]:
    """A policy, and random parameters that leave no path silent (made without compiling)."""
    policy, rng = Policy(config), np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(rng.normal(scale=0.3, size=leaf.shape), dtype=leaf.dtype)

    return policy, jax.tree.map(draw, jax.eval_shape(policy.init, KEY))


def inputs_for(config: PolicyModelConfig, seed: int = 0, batch: int = 2) -> PolicyInputs:
    """Random inputs; the last two text tokens are padding."""
    rng = np.random.default_rng(seed)
    px, length = config.image_px, config.max_token_len
    state_dim = config.state_dim or config.action_dim
    images = {
        view: jnp.asarray(rng.uniform(-1, 1, (batch, px, px, 3)), dtype=jnp.float32)
        for view in config.views
    }
    return PolicyInputs(
        images=images,
        image_masks={view: jnp.ones(batch, dtype=bool) for view in config.views},
        state=jnp.asarray(rng.normal(size=(batch, state_dim)), dtype=jnp.float32),
        tokens=jnp.asarray(rng.integers(3, config.vocab_size, (batch, length)), dtype=jnp.int32),
        token_mask=jnp.broadcast_to(jnp.arange(length) < length - 2, (batch, length)),
    )


def sample(config: PolicyModelConfig, params: Any, inputs: PolicyInputs, **options: Any) -> Any:  # noqa: ANN401
    policy = Policy(config)
    return jax.jit(lambda p, x: policy.sample_actions(p, KEY, x, num_steps=3, **options))(
        params, inputs
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_trees_are_the_published_ones(name: str) -> None:
    """Paths, shapes, types, sizes and the freeze rule, without allocating anything."""
    config, num_params = PUBLISHED[name]
    golden = Path(__file__).parents[2] / "golden" / "openpi" / "param_trees.json"
    expected = json.loads(golden.read_text())[name]

    params = jax.eval_shape(Policy(config).init, KEY)

    trainable = flatten_dict(trainable_mask(config, params), sep="/")
    leaves: dict[str, Any] = dict(flatten_dict(params, sep="/"))
    found = {
        path: {"dtype": str(leaf.dtype), "shape": list(leaf.shape), "trainable": trainable[path]}
        for path, leaf in leaves.items()
    }
    assert found == expected
    assert count_params(params) == num_params


def test_sizes_have_names() -> None:
    """Every named size is a valid configuration of its own."""
    found = {config.model_dump_json() for config in sizes.POLICY_SIZES.values()}
    assert len(found) == len(sizes.POLICY_SIZES)
    for config in sizes.POLICY_SIZES.values():
        assert PolicyModelConfig.model_validate_json(config.model_dump_json()) == config


def test_without_views_there_is_no_image_encoder() -> None:
    """The tiny preset works from state alone, through one suffix token."""
    params = jax.eval_shape(Policy(sizes.TINY_POLICY).init, KEY)
    assert set(params["PaliGemma"]) == {"llm"}
    assert params["state_proj"]["kernel"].shape == (21, 64)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"views": (), "state_input": "continuous", "state_dim": 5},
        {"views": (), "state_input": "continuous", "time_input": "concat"},
        {"views": (), "state_input": "none", "time_input": "concat"},
    ],
    ids=lambda fields: ",".join(f"{name}={value}" for name, value in fields.items()) or "pi0.5",
)
def test_the_cached_flow_is_the_trained_flow(fields: dict[str, Any]) -> None:
    """For every option, velocity in one pass equals velocity after a cached prefix."""
    config = changed(**fields)
    policy, params = fresh(config)
    inputs = inputs_for(config)
    x = jax.random.normal(KEY, (2, 4, 3))
    time = jnp.array([0.3, 0.9])

    @jax.jit
    def both(params: Any) -> tuple[jax.Array, jax.Array]:  # noqa: ANN401 - a tree
        prefix = policy.encode_prefix(params, inputs)
        return policy.velocity(params, inputs, x, time), policy.velocity_after(
            params, prefix, x, time
        )

    in_one_pass, after_prefix = both(params)
    assert in_one_pass.shape == (2, 4, 3)
    np.testing.assert_allclose(in_one_pass, after_prefix, atol=1e-5)


def test_masked_inputs_never_matter() -> None:
    """Pixels of a masked view and ids under padding change no action, to the last bit."""
    policy, params = fresh(SMALL)
    inputs = inputs_for(SMALL)
    absent = inputs.image_masks | {"left_wrist_0_rgb": jnp.array([True, False])}
    inputs = inputs._replace(image_masks=absent)
    image = inputs.images["left_wrist_0_rgb"].at[1].set(0.5)
    other = inputs._replace(
        images=inputs.images | {"left_wrist_0_rgb": image},
        tokens=inputs.tokens.at[:, 3:].set(1),
    )
    run = jax.jit(lambda p, x: policy.sample_actions(p, KEY, x, num_steps=2))
    np.testing.assert_array_equal(run(params, inputs), run(params, other))


@pytest.mark.parametrize(("state_input", "matters"), [("continuous", True), ("none", False)])
def test_state_matters_only_where_the_model_reads_it(state_input: str, *, matters: bool) -> None:
    """``none`` hides the state from the policy."""
    config = changed(state_input=state_input, views=())
    policy, params = fresh(config)
    inputs = inputs_for(config)
    run = jax.jit(lambda p, x: policy.sample_actions(p, KEY, x, num_steps=2))
    moved = inputs._replace(state=inputs.state + 1)
    assert bool(jnp.any(run(params, inputs) != run(params, moved))) is matters


def test_guidance_mixes_two_velocities_in_one_batch() -> None:
    """One Euler step: x - (v_u + beta (v_c - v_u)), worked out from two plain passes."""
    config = changed(views=())
    policy, params = fresh(config)
    conditional, plain = inputs_for(config, seed=1), inputs_for(config, seed=2)
    noise = jax.random.normal(KEY, (2, 4, 3))

    @jax.jit
    def guided(params: Any) -> jax.Array:  # noqa: ANN401 - a tree
        options: dict[str, Any] = {"noise": noise, "guidance": 2.5, "unconditional": plain}
        return policy.sample_actions(params, KEY, conditional, num_steps=1, **options)

    found = guided(params)

    velocity = jax.jit(policy.velocity)
    v_c = velocity(params, conditional, noise, jnp.ones(2))
    v_u = velocity(params, plain, noise, jnp.ones(2))
    np.testing.assert_allclose(found, noise - (v_u + 2.5 * (v_c - v_u)), atol=1e-5)


def test_guidance_needs_unconditional_inputs() -> None:
    """Guidance without the second prompt is refused by name."""
    policy, params = fresh(changed(views=()))
    with pytest.raises(ValueError, match=r"guidance 2.0 needs unconditional inputs"):
        policy.sample_actions(params, KEY, inputs_for(policy.config), num_steps=1, guidance=2.0)


def test_remat_and_unrolling_change_no_number() -> None:
    """Gradients agree with those of the plain loop."""
    config = changed(views=(), state_input="continuous")
    inputs = inputs_for(config)
    actions = jnp.ones((2, 4, 3))
    _, params = fresh(config)

    def gradient(loop: LayerLoop) -> list[Any]:
        policy = Policy(config, loop=loop)

        def loss(params: Any) -> jax.Array:  # noqa: ANN401 - a tree
            return jnp.mean(policy.flow_loss(params, KEY, inputs, actions).squared_error)

        return jax.tree.leaves(jax.jit(jax.grad(loss))(params))

    expected = gradient(LayerLoop())
    rematted = LayerLoop(remat=True)
    for loop in (rematted, rematted._replace(unroll=True), rematted._replace(keep_dots=True)):
        for a, b in zip(expected, gradient(loop), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_merged_adapters_compute_the_same_actions() -> None:
    """Folding adapters into their weights gives a plain model with equal actions."""
    lora = LoraConfig(rank=2, alpha=6)
    plain = changed(views=())
    adapted = plain.model_copy(
        update={
            "vlm": plain.vlm.model_copy(update={"lora": lora}),
            "expert": plain.expert.model_copy(update={"lora": lora}),
        }
    )
    _, params = fresh(adapted)
    merged = merge_adapters(params, adapted.vlm, adapted.expert)

    inputs = inputs_for(plain)
    expected = sample(adapted, params, inputs)
    assert jax.tree.structure(merged) == jax.tree.structure(jax.eval_shape(Policy(plain).init, KEY))
    np.testing.assert_allclose(sample(plain, merged, inputs), expected, atol=1e-4)


def test_a_few_steps_of_descent_lower_the_loss() -> None:
    """From fresh parameters, gradients reach the loss through the whole model."""
    config = changed(views=(), state_input="continuous")
    policy = Policy(config)
    params = jax.jit(policy.init)(KEY)
    inputs = inputs_for(config)
    actions = jnp.broadcast_to(inputs.state[:, None, :], (2, 4, 3))

    @jax.jit
    def step(params: Any) -> tuple[jax.Array, Any]:  # noqa: ANN401 - a tree
        loss, slope = jax.value_and_grad(
            lambda p: jnp.mean(policy.flow_loss(p, KEY, inputs, actions).squared_error)
        )(params)
        return loss, jax.tree.map(lambda p, g: p - 0.05 * g, params, slope)

    losses = []
    for _ in range(20):
        loss, params = step(params)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_integration_follows_a_known_flow() -> None:
    """dx/dt = x from t = 1: each of four Euler steps multiplies by 3/4."""
    found = flow.integrate(lambda x, _: x, jnp.ones((1, 1, 1)), num_steps=4)
    np.testing.assert_allclose(found, 0.75**4, rtol=1e-6)
