"""Operations counted from the architecture are those of the program that is run."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from recap_core.config.policy import GemmaConfig, LoraConfig, PolicyModelConfig, SiglipConfig
from recap_core.config.sizes import PI05, PI05_LORA, VALUE_670M
from recap_core.config.value import Gemma3Config, ValueModelConfig
from recap_core.models.layers import LayerLoop
from recap_core.models.policy import Policy, trainable_mask
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.training.flops import peak_flops, policy_flops, sampling_flops, value_flops
from recap_core.training.policy_loss import policy_loss
from recap_core.training.state import filled, trainable_part
from tests.core.training.abstract_step import batch_shapes

GEMMA = GemmaConfig(width=16, depth=2, mlp_dim=24, num_heads=2, num_kv_heads=1, head_dim=8)
SMALL = PolicyModelConfig(
    vlm=GEMMA,
    expert=GEMMA.model_copy(update={"width": 8, "mlp_dim": 12}),
    siglip=SiglipConfig(width=12, depth=3, mlp_dim=20, num_heads=2),
    vocab_size=64,
    views=("base_0_rgb", "left_wrist_0_rgb"),
    image_px=28,
    action_dim=5,
    action_horizon=3,
    max_token_len=7,
)
LORA = LoraConfig(rank=3, alpha=3)
MODELS = {
    "pi0.5": SMALL,
    "pi0": SMALL.model_copy(update={"time_input": "concat", "state_input": "continuous"}),
    "without views": SMALL.model_copy(update={"views": (), "state_input": "none"}),
    "adapters": SMALL.model_copy(
        update={
            "vlm": GEMMA.model_copy(update={"lora": LORA}),
            "expert": SMALL.expert.model_copy(update={"lora": LORA}),
        }
    ),
    "one adapted": SMALL.model_copy(update={"vlm": GEMMA.model_copy(update={"lora": LORA})}),
}

VALUE = ValueModelConfig(
    gemma=Gemma3Config(width=16, depth=3, mlp_dim=24, num_heads=2, num_kv_heads=1, head_dim=8),
    siglip=SMALL.siglip,
    vocab_size=64,
    image_px=28,
    cross_attention_heads=4,
    head_hidden=10,
    num_bins=11,
    max_token_len=7,
    state_dim=5,
)
VALUE_MODELS = {
    "two views": VALUE,
    "state token": VALUE.model_copy(update={"state_input": "continuous"}),
    "state alone": VALUE.model_copy(update={"state_input": "continuous", "views": ()}),
    "text alone": VALUE.model_copy(update={"views": ()}),
    "stitched": VALUE.model_copy(update={"fusion": "stitched"}),
    "adapters": VALUE.model_copy(
        update={"gemma": VALUE.gemma.model_copy(update={"lora": LORA})},
    ),
}
FROZEN = {"none": (), "siglip_only": ("img",), "all_backbones": ("img", "llm")}


def _products(jaxpr: Any, times: int = 1) -> int:  # noqa: ANN401 - JAX's own
    """Operations of all matrix products of a program that runs ``times`` times, loops included.

    What is under a condition is left out the last time: that is the one condition in the policy.
    """
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            summed = math.prod(left[axis] for axis in contracted)
            total += times * 2 * summed * math.prod(equation.outvars[0].aval.shape)
        inner_times = times * equation.params.get("length", 1) if name == "scan" else times
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                body = getattr(inner, "jaxpr", inner)
                if hasattr(body, "eqns"):
                    total += _products(body, inner_times - (name == "cond"))
    return total


@pytest.mark.parametrize("name", MODELS)
def test_training_takes_the_operations_of_the_step(name: str) -> None:
    """Forward, and forward with backward, to the last one; frozen weights have no gradient."""
    model = MODELS[name]
    policy = Policy(model, loop=LayerLoop(unroll=True))
    loss, key = policy_loss(policy), jax.random.key(0)
    params = jax.eval_shape(policy.init, key)
    mask = trainable_mask(model, params)
    batch = batch_shapes(policy, 1)

    def of_trained(trained: Any, params: Any, batch: Any) -> jax.Array:  # noqa: ANN401 - trees
        return loss(filled(trained, params), key, batch)[0]

    trained = trainable_part(params, mask)
    forward = jax.make_jaxpr(of_trained)(trained, params, batch)
    both = jax.make_jaxpr(jax.value_and_grad(of_trained))(trained, params, batch)

    found = policy_flops(model)
    assert found.forward == _products(forward.jaxpr)
    assert found.train == _products(both.jaxpr)


@pytest.mark.parametrize("name", MODELS)
def test_sampling_takes_the_operations_of_the_sampler(name: str) -> None:
    """The prefix once, and every Euler step."""
    policy = Policy(MODELS[name], loop=LayerLoop(unroll=True))
    params = jax.eval_shape(policy.init, jax.random.key(0))
    inputs = batch_shapes(policy, 1).inputs

    noise, time = jnp.zeros((1, 3, 5)), jnp.ones(1)

    prefix = jax.make_jaxpr(policy.encode_prefix, return_shape=True)(params, inputs)
    step = jax.make_jaxpr(policy.velocity_after)(params, prefix[1], noise, time)

    expected = _products(prefix[0].jaxpr) + 4 * _products(step.jaxpr)
    assert sampling_flops(MODELS[name], num_steps=4) == expected


@pytest.mark.parametrize("freeze", FROZEN)
@pytest.mark.parametrize("name", VALUE_MODELS)
def test_the_value_model_takes_the_operations_of_its_loss(name: str, freeze: Any) -> None:  # noqa: ANN401 - a literal
    """Forward, and forward with backward, to the last one, whatever is frozen."""
    config = VALUE_MODELS[name]
    model = ValueModel(config)
    params = jax.eval_shape(model.init, jax.random.key(0))
    mask = jax.tree_util.tree_map_with_path(partial(_trains, config, FROZEN[freeze]), params)

    def loss(trained: Any, params: Any, inputs: ValueInputs, target: jax.Array) -> jax.Array:  # noqa: ANN401 - trees
        return model.loss(filled(trained, params), inputs, target)[0]

    trained, target = trainable_part(params, mask), jnp.ones((1, config.num_bins))
    arguments = (trained, params, _value_inputs(config), target)
    forward = jax.make_jaxpr(loss)(*arguments)
    both = jax.make_jaxpr(jax.value_and_grad(loss))(*arguments)

    assert value_flops(config, train=False, freeze=freeze) == _products(forward.jaxpr)
    assert value_flops(config, train=True, freeze=freeze) == _products(both.jaxpr)


def test_cached_features_take_the_encoder_out() -> None:
    """What is left of a frozen SigLIP is exactly its share of the forward pass."""
    config, forward = VALUE, value_flops(VALUE, train=False)
    cached = value_flops(config, train=False, cached_features=True)
    siglip = ValueModel(config).img
    params = jax.eval_shape(siglip.init, jax.random.key(0))
    encoder = jax.make_jaxpr(siglip.tokens)(params, jnp.ones((2, 28, 28, 3)))

    assert forward - cached == _products(encoder.jaxpr)
    trained = value_flops(config, train=True, freeze="siglip_only")
    assert trained - value_flops(
        config, train=True, freeze="siglip_only", cached_features=True
    ) == _products(encoder.jaxpr)


def test_the_value_model_at_full_size_in_round_numbers() -> None:
    """2 operations per weight and token: 0.41 G weights see 512 patches, 0.1 G see 560 tokens."""
    found = value_flops(VALUE_670M, train=False)

    assert found == pytest.approx(1.07 * 2 * (0.41e9 * 512 + 0.1e9 * 560), rel=0.03)


def _trains(config: ValueModelConfig, frozen: tuple[str, ...], path: Any, leaf: Any) -> bool:  # noqa: ANN401 - JAX's own
    """Adapters train always, and instead of the language model that has them."""
    del leaf
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    group = name.partition("/")[0]
    is_adapted = config.gemma.lora is not None and group == "llm"
    return "lora" in name or not (group in frozen or is_adapted)


def _value_inputs(config: ValueModelConfig) -> ValueInputs:
    """One sample."""
    px = config.image_px
    return ValueInputs(
        images=dict.fromkeys(config.views, jnp.ones((1, px, px, 3))),
        image_masks=dict.fromkeys(config.views, jnp.ones(1, bool)),
        state=jnp.ones((1, config.state_dim)),
        tokens=jnp.ones((1, config.max_token_len), jnp.int32),
        token_mask=jnp.ones((1, config.max_token_len), bool),
    )


def test_the_full_size_in_round_numbers() -> None:
    """Forward is near 2 operations per weight and token: 1.87 G weights see 971 tokens, 0.3 G 50.

    Those are 17 of the VLM's 18 layers, since nobody reads what the last one writes. SigLIP's 0.41
    G weights see 768 patches. Attention comes on top. A backward pass takes twice
    that in full, and about half of it again where most weights are frozen.
    """
    weights = 2 * (1.87e9 * 971 + 0.3e9 * 50 + 0.41e9 * 768)

    full, lora = policy_flops(PI05), policy_flops(PI05_LORA)

    assert full.forward == pytest.approx(1.05 * weights, rel=0.05)
    assert full.backward / full.forward == pytest.approx(2, rel=0.01)
    assert 1.1 < lora.backward / lora.forward < 1.4


def test_peaks_of_known_devices() -> None:
    """By the names that the driver gives; nothing is made up for others."""
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA GeForce RTX 4090") == 165.2e12
    assert peak_flops("cpu") is None
