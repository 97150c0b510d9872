"""How much memory a training or a server will take, before it starts.

The state is counted leaf by leaf. Activations are counted tensor by tensor: how many of each are
alive at the peak was read off XLA's own plans (tests/core/training/test_memory.py compares).
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from recap_core.config.policy import PolicyConfig, PolicyModelConfig
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.models.layers import LayerLoop
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, trainable_mask
from recap_core.sharding import fsdp_axis
from recap_core.training.state import trainable_part, with_frozen_in_bfloat16

_FLOAT32 = 4
BATCHES_ON_DEVICE = 4  # the running step's, two that wait, one that is being placed
DEVICE_OVERHEAD = 700_000_000
HOST_OVERHEAD = 2_000_000_000  # imported libraries, the compiler, decoded images on their way
_GB = 1e9


class MemoryEstimate(NamedTuple):
    """Bytes per device, and per host."""

    params: int
    """Parameters that train, float32."""
    frozen_params: int
    """Parameters that do not, in their own type: bfloat16 in a policy, float32 in a value model."""
    grads: int
    optimizer: int
    ema: int
    batches: int
    """The running step's and those that wait."""
    activations: int
    """What the backward pass needs, at its peak."""
    workspace: int
    """Weights of the layer that runs, cast and gathered from other devices; the leaf that the
    optimiser is at."""
    overhead: int
    """The driver's context, compiled programs, scratch of matrix products."""
    host: int
    """Of one process on its host, at its peak."""

    @property
    def device(self) -> int:
        """All bytes of one device."""
        return sum(self[:-1])

    def describe(self) -> str:
        """One line: the device's total and its parts, and the host's, in GB (10^9 bytes)."""
        parts = [
            f"{name.replace('_', ' ')} {bytes_ / _GB:.1f}"
            for name, bytes_ in zip(self._fields[:-1], self[:-1], strict=True)
            if bytes_ >= 0.05 * _GB
        ]
        return (
            f"{self.device / _GB:.1f} GB per device ({', '.join(parts)}), "
            f"{self.host / _GB:.1f} GB of host memory"
        )


def estimate_memory(
    policy: PolicyConfig, train: TrainConfig, runtime: TrainRuntime, *, num_devices: int
) -> MemoryEstimate:
    """Memory of training a policy.

    Args:
        policy: The policy.
        train: Batch size and average.
        runtime: FSDP, remat and micro-batches.
        num_devices: Devices of all hosts.
    """
    model = policy.model
    full = jax.eval_shape(Policy(model).init, jax.random.key(0))
    mask = trainable_mask(model, full)
    leaves = with_frozen_in_bfloat16(full, mask)
    trained = trainable_part(leaves, mask)
    frozen = trainable_part(leaves, jax.tree.map(lambda trains: not trains, mask))
    params = bytes_per_device(trained, runtime)
    rows = math.ceil(train.batch_size / num_devices)
    state = num_bytes(leaves) + (2 + (train.ema_decay is not None)) * num_bytes(trained)
    return MemoryEstimate(
        params=params,
        frozen_params=bytes_per_device(frozen, runtime),
        # Micro-batches need a sum of gradients beside the running one.
        grads=params * (1 if runtime.micro_batches == 1 else 2),
        optimizer=2 * params,
        ema=0 if train.ema_decay is None else params,
        batches=BATCHES_ON_DEVICE * rows * sample_bytes(model),
        activations=_activations(
            model, math.ceil(rows / runtime.micro_batches), _loop(model, runtime)
        ),
        workspace=_layer_weights(leaves, model, runtime)
        + max(bytes_per_device([leaf], runtime) for leaf in jax.tree.leaves(trained)),
        overhead=DEVICE_OVERHEAD,
        # A checkpoint passes through the host as a whole.
        host=HOST_OVERHEAD + state + BATCHES_ON_DEVICE * rows * sample_bytes(model),
    )


def estimate_inference_memory(policy: PolicyConfig, *, batch_size: int = 1) -> MemoryEstimate:
    """Memory of serving a policy in bfloat16 on one device.

    Args:
        policy: The policy; guidance doubles the batch.
        batch_size: Observations at once.
    """
    model = policy.model
    leaves = jax.eval_shape(Policy(model).init, jax.random.key(0))
    num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(leaves))
    rows = batch_size * (1 if policy.guidance == 1 else 2)
    num_prefix, num_suffix = _num_tokens(model)
    vlm, itemsize = model.vlm, np.dtype(model.compute_dtype).itemsize
    cache = 2 * vlm.depth * rows * num_prefix * vlm.num_kv_heads * vlm.head_dim * itemsize
    forward = max(_vision_layer(model, rows), _language_layer(model, rows)) // 2
    return MemoryEstimate(
        params=0,
        frozen_params=2 * num_params,
        grads=0,
        optimizer=0,
        ema=0,
        batches=rows * sample_bytes(model),
        activations=cache + forward + rows * num_suffix * model.action_dim * _FLOAT32,
        workspace=_layer_weights(leaves, model, TrainRuntime()),
        overhead=DEVICE_OVERHEAD,
        host=HOST_OVERHEAD + 2 * num_params,
    )


def sample_bytes(model: PolicyModelConfig) -> int:
    """Bytes of one sample of a training batch."""
    pixels = len(model.views) * (model.image_px**2 * 3 * _FLOAT32 + 1)
    tokens = model.max_token_len * (4 + 1)
    state = (model.state_dim or model.action_dim) * _FLOAT32
    return pixels + tokens + state + model.action_horizon * model.action_dim * _FLOAT32 + 4


def _loop(model: PolicyModelConfig, runtime: TrainRuntime) -> LayerLoop:
    return LayerLoop.of_depth(model.vlm.depth, runtime.remat)


def num_bytes(tree: Params) -> int:
    """Bytes of all leaves."""
    return sum(_leaf_nbytes(leaf) for leaf in jax.tree.leaves(tree))


def _leaf_nbytes(leaf: Any) -> int:  # noqa: ANN401 - an array or its shape
    return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize


def bytes_per_device(tree: Any, runtime: TrainRuntime) -> int:  # noqa: ANN401 - any pytree
    """Bytes of all leaves that one device holds."""
    return sum(
        _leaf_nbytes(leaf) // (runtime.fsdp_devices if _is_split(leaf, runtime) else 1)
        for leaf in jax.tree.leaves(tree)
    )


def _is_split(leaf: Any, runtime: TrainRuntime) -> bool:  # noqa: ANN401 - an array or its shape
    axis = fsdp_axis(
        leaf.shape,
        np.dtype(leaf.dtype).itemsize,
        num_shards=runtime.fsdp_devices,
        min_bytes=runtime.fsdp_min_bytes,
    )
    return axis is not None


def layer_weights(
    leaves: Params, depths: set[int], compute_dtype: str, runtime: TrainRuntime
) -> int:
    """One layer's weights twice in the compute type, and those of two layers where split.

    Args:
        leaves: Parameters; those whose first axis is one of ``depths`` belong to layers.
        depths: Of the stacks.
        compute_dtype: What weights are cast to.
        runtime: FSDP.
    """
    stacked = [x for x in jax.tree.leaves(leaves) if x.ndim and x.shape[0] in depths]
    itemsize = np.dtype(compute_dtype).itemsize
    cast = sum(math.prod(x.shape[1:]) * itemsize for x in stacked)
    gathered = sum(_leaf_nbytes(x) // x.shape[0] for x in stacked if _is_split(x, runtime))
    return 2 * (cast + gathered)


def _layer_weights(leaves: Params, model: PolicyModelConfig, runtime: TrainRuntime) -> int:
    depths = {model.vlm.depth, model.siglip.depth}
    return layer_weights(leaves, depths, model.compute_dtype, runtime)


def _num_tokens(model: PolicyModelConfig) -> tuple[int, int]:
    patches = (model.image_px // model.siglip.patch_px) ** 2
    prefix = len(model.views) * patches + model.max_token_len
    return prefix, model.action_horizon + (model.state_input == "continuous")


def _activations(model: PolicyModelConfig, rows: int, loop: LayerLoop) -> int:
    """Peak of the backward pass over ``rows`` samples at once."""
    vision, language = _vision_layer(model, rows), _language_layer(model, rows)
    depths = (model.siglip.depth if model.views else 0, model.vlm.depth)
    if not loop.remat:
        # What one layer keeps for its backward pass is most of what that pass works with.
        return depths[0] * vision + depths[1] * language
    kept = [_between_layers(model, rows, is_vision=True)]
    kept.append(_between_layers(model, rows, is_vision=False))
    if loop.keep_dots:
        kept[0] += _vision_products(model, rows)
        kept[1] += _language_products(model, rows)
    saved = sum(depth * part for depth, part in zip(depths, kept, strict=True))
    return saved + max(vision if depths[0] else 0, language)


def _between_layers(model: PolicyModelConfig, rows: int, *, is_vision: bool) -> int:
    itemsize = np.dtype(model.compute_dtype).itemsize
    if is_vision:
        return rows * _num_patches(model) * model.siglip.width * itemsize
    prefix, suffix = _num_tokens(model)
    return rows * (prefix * model.vlm.width + suffix * model.expert.width) * itemsize


def _num_patches(model: PolicyModelConfig) -> int:
    return len(model.views) * (model.image_px // model.siglip.patch_px) ** 2


def _vision_layer(model: PolicyModelConfig, rows: int) -> int:
    """What the forward and backward pass of one SigLIP block hold at their peak."""
    siglip, itemsize = model.siglip, np.dtype(model.compute_dtype).itemsize
    patches = _num_patches(model)
    per_view = (model.image_px // siglip.patch_px) ** 2
    return rows * layer_bytes(
        logits=patches * per_view * siglip.num_heads,
        hidden=patches * siglip.mlp_dim,
        stream=patches * siglip.width,
        heads=patches * siglip.width,
        itemsize=itemsize,
    )


def _language_layer(model: PolicyModelConfig, rows: int) -> int:
    """The same for one layer of both experts."""
    prefix, suffix = _num_tokens(model)
    vlm, expert = model.vlm, model.expert
    num_tokens = prefix + suffix
    return rows * layer_bytes(
        logits=num_tokens**2 * vlm.num_heads,
        hidden=prefix * vlm.mlp_dim + suffix * expert.mlp_dim,
        stream=prefix * vlm.width + suffix * expert.width,
        heads=num_tokens * vlm.num_heads * vlm.head_dim,
        itemsize=np.dtype(model.compute_dtype).itemsize,
    )


def layer_bytes(*, logits: int, hidden: int, stream: int, heads: int, itemsize: int) -> int:
    """Numbers of each kind to bytes.

    Attention logits and their gradient are float32, its weights and their gradient are not; a gated
    layer holds both gates, their product and the gradients of all three; norms are float32.
    """
    return (
        logits * (2 * _FLOAT32 + 2 * itemsize)
        + hidden * 6 * itemsize
        + stream * (2 * _FLOAT32 + 2 * itemsize)
        + heads * 4 * itemsize
    )


def _vision_products(model: PolicyModelConfig, rows: int) -> int:
    """Results of products with weights in one SigLIP block."""
    siglip = model.siglip
    width = 5 * siglip.width + siglip.mlp_dim
    return rows * _num_patches(model) * width * np.dtype(model.compute_dtype).itemsize


def _language_products(model: PolicyModelConfig, rows: int) -> int:
    prefix, suffix = _num_tokens(model)
    total = 0
    for num_tokens, expert in ((prefix, model.vlm), (suffix, model.expert)):
        heads = (expert.num_heads + 2 * expert.num_kv_heads) * expert.head_dim
        total += num_tokens * (heads + 2 * expert.width + 2 * expert.mlp_dim)
    return rows * total * np.dtype(model.compute_dtype).itemsize
