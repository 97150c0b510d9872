"""The value model as benchmarks run it: sizes, random weights, a batch, and compiled programs."""

import statistics
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recap_core.config.policy import VIEWS, SiglipConfig
from recap_core.config.sizes import VALUE_670M
from recap_core.config.training import RematMode, TrainConfig
from recap_core.config.value import Gemma3Config, ValueModelConfig
from recap_core.models.attention import AttentionKernel, attention_kernel
from recap_core.models.parameters import Params
from recap_core.models.precision import with_weights_in
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.training.optimizer import make_optimizer
from recap_core.training.state import initial_state, with_frozen_in_bfloat16
from recap_core.training.step import make_train_step
from recap_core.training.value_loss import ValueBatch, value_loss

FROZEN_GROUPS = {"none": (), "siglip_only": ("img",), "all_backbones": ("img", "llm")}
OPTIMISED = {"xla_backend_optimization_level": "3"}
"""XLA's default; tests/conftest.py turns it off for the tests."""
NUM_DISTINCT = 8
"""Rows that differ; a batch repeats them, so its first rows have the same values at any size."""


def value_config(size: str, num_views: int = 2) -> ValueModelConfig:
    """``full``: the published sizes; ``tiny``: the same architecture for a CPU, in float32."""
    views = VIEWS[:num_views]
    if size == "full":
        return VALUE_670M.model_copy(update={"views": views})
    gemma = Gemma3Config(
        width=64, depth=5, mlp_dim=128, num_heads=4, num_kv_heads=1, head_dim=16, sliding_window=64
    )
    return ValueModelConfig(
        gemma=gemma,
        siglip=SiglipConfig(width=64, depth=5, mlp_dim=128, num_heads=4),
        vocab_size=512,
        views=views,
        image_px=112,
        cross_attention_heads=4,
        head_hidden=64,
        max_token_len=24,
        compute_dtype="float32",
    )


def random_params(config: ValueModelConfig) -> Params:
    """Float32 NumPy weights of the size that training gives them; logits differ between frames."""
    shapes = jax.eval_shape(ValueModel(config).init, jax.random.key(0))
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)

    def draw(item: tuple[Any, Any]) -> np.ndarray:
        path, leaf = item
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        array = rng.standard_normal(leaf.shape, np.float32)
        array *= _std(name, leaf.shape)
        return array + 1 if _is_layer_norm_scale(name) else array

    with ThreadPoolExecutor(8) as pool:
        return jax.tree.unflatten(tree, list(pool.map(draw, leaves)))


def _is_layer_norm_scale(name: str) -> bool:
    layer_norms = ("LayerNorm", "encoder_norm", "cross_attn_norm", "layer_norm")
    return name.endswith("scale") and any(norm in name for norm in layer_norms)


def _std(name: str, shape: tuple[int, ...]) -> np.float32:
    if name.endswith(("scale", "bias")):
        return np.float32(0.05)
    if name == "value_head/linear2/kernel":
        return np.float32(3 * shape[0] ** -0.5)  # logits far from uniform
    if name.endswith("input_embedding"):
        return np.float32(shape[1] ** -0.5)
    if name.endswith("pos_embedding"):
        return np.float32(0.1)
    if name.startswith("img/embedding"):
        return np.float32(np.prod(shape[:3]) ** -0.5)
    return np.float32(_fan_in(name, shape) ** -0.5)


def _fan_in(name: str, shape: tuple[int, ...]) -> int:
    """Length of what a weight is multiplied with."""
    if name.endswith("out/kernel") or "attn_vec_einsum" in name:
        return shape[-3] * shape[-2]
    if name.endswith(("query/kernel", "key/kernel", "value/kernel")):
        return shape[-3]
    return shape[-2]


def random_inputs(config: ValueModelConfig, batch: int) -> ValueInputs:
    """Observations with prompts of different lengths, all cameras present; NumPy."""
    rng = np.random.default_rng(0)
    rows = np.arange(batch) % NUM_DISTINCT
    px, length = config.image_px, config.max_token_len
    images = rng.uniform(-1, 1, (len(VIEWS), NUM_DISTINCT, px, px, 3)).astype(np.float32)
    tokens = rng.integers(3, config.vocab_size, (NUM_DISTINCT, length)).astype(np.int32)
    lengths = rng.integers(length // 4, length, (NUM_DISTINCT, 1))
    token_mask = np.arange(length) < lengths
    arrays: dict[str, Any] = {  # NumPy arrays do as well as JAX's
        "images": {view: images[i][rows] for i, view in enumerate(config.views)},
        "image_masks": dict.fromkeys(config.views, np.ones(batch, bool)),
        "state": np.zeros((batch, config.state_dim), np.float32),
        "tokens": tokens[rows],
        "token_mask": token_mask[rows],
    }
    return ValueInputs(**arrays)


def random_features(config: ValueModelConfig, inputs: ValueInputs) -> ValueInputs:
    """``inputs`` with SigLIP's tokens, drawn at random, in place of pixels."""
    rng = np.random.default_rng(1)
    patches = (config.image_px // config.siglip.patch_px) ** 2
    shape = (len(inputs.tokens), patches, config.siglip.width)
    dtype = jnp.dtype(config.compute_dtype)
    features = {view: rng.standard_normal(shape, np.float32).astype(dtype) for view in config.views}
    return inputs._replace(images={}, image_features=features)


def random_targets(config: ValueModelConfig, batch: int) -> np.ndarray:
    """Two-hot rows."""
    rng = np.random.default_rng(2)
    low = rng.integers(0, config.num_bins - 1, batch)
    share = rng.uniform(0, 1, batch).astype(np.float32)
    targets = np.zeros((batch, config.num_bins), np.float32)
    targets[np.arange(batch), low], targets[np.arange(batch), low + 1] = 1 - share, share
    return targets


class Program(NamedTuple):
    """A compiled call that queues one run and returns its result."""

    call: Callable[[], Any]
    gib: float
    """Arguments, outputs and scratch, GiB, by XLA's own account; 0 where it gives none."""
    compile_s: float


class Traced(NamedTuple):
    """A program before it is compiled."""

    lowered: Any
    arguments: Callable[[], tuple[Any, ...]]
    """Makes its arguments, on the device."""
    carries_state: bool
    """Whether the first is a state that every call replaces."""


def inference(
    config: ValueModelConfig,
    params: Params,
    inputs: ValueInputs,
    *,
    kernel: AttentionKernel,
    cast: bool,
) -> Traced:
    """V of a batch; ``cast``: weights held in the compute dtype."""
    model = ValueModel(config)

    def arguments() -> tuple[Any, ...]:
        held = jax.tree.map(jnp.asarray, params)
        if inputs.image_features:
            held = {name: group for name, group in held.items() if name != "img"}
        if cast:
            held = with_weights_in(held, config.compute_dtype)
        return held, jax.tree.map(jnp.asarray, inputs)

    with attention_kernel(kernel):
        lowered = jax.jit(model.value).lower(*jax.eval_shape(arguments))
    return Traced(lowered, arguments, carries_state=False)


def train_step(
    config: ValueModelConfig,
    params: Params,
    inputs: ValueInputs,
    *,
    freeze: str,
    remat: RematMode = "auto",
    kernel: AttentionKernel,
) -> Traced:
    """One optimiser step without a running average."""
    model, train = ValueModel(config, remat=remat), TrainConfig(ema_decay=None)
    frozen = FROZEN_GROUPS[freeze]
    if inputs.image_features:
        params = {name: group for name, group in params.items() if name != "img"}
    mask = {
        name: jax.tree.map(lambda _, name=name: name not in frozen, group)
        for name, group in params.items()
    }

    def arguments() -> tuple[Any, ...]:
        held = with_frozen_in_bfloat16(jax.tree.map(jnp.array, params), mask)
        state = initial_state(held, make_optimizer(train.optimizer), mask, with_ema=False)
        targets = jnp.asarray(random_targets(config, len(inputs.tokens)))
        return state, ValueBatch(jax.tree.map(jnp.asarray, inputs), targets)

    step: Any = make_train_step(value_loss(model), train, trainable=mask)
    with attention_kernel(kernel):
        lowered = step.lower(*jax.eval_shape(arguments))
    return Traced(lowered, arguments, carries_state=True)


def compiled(
    traced: Traced, options: Mapping[str, str | bool] = OPTIMISED
) -> Callable[[], Program]:
    """Compile a program; the result makes its arguments and a call of it."""
    began = time.perf_counter()
    program = traced.lowered.compile(compiler_options=dict(options))
    compile_s = time.perf_counter() - began

    def ready() -> Program:
        held = list(traced.arguments())

        def call() -> Any:  # noqa: ANN401 - values, or metrics
            result = program(*held)
            if traced.carries_state:
                held[0], result = result
            return result

        return Program(call, _gib(program), compile_s)

    return ready


def _gib(program: Any) -> float:  # noqa: ANN401 - a compiled program
    memory = program.memory_analysis()
    if memory is None:
        return 0.0
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return (total - memory.alias_size_in_bytes) / 2**30


def seconds_per_call(
    call: Callable[[], Any],
    wait: Callable[[Any], Any] = jax.block_until_ready,
    *,
    round_s: float = 0.3,
    rounds: int = 5,
) -> float:
    """Median over rounds; a round queues calls for about ``round_s`` and waits once."""
    wait(call())
    began = time.perf_counter()
    wait(call())
    num_calls = max(1, round(round_s / (time.perf_counter() - began)))
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        result = None
        for _ in range(num_calls):
            result = call()
        wait(result)
        seconds.append((time.perf_counter() - began) / num_calls)
    return statistics.median(seconds)
