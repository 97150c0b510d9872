"""How much memory a training of the value model will take, before it starts.

Counted like a policy's (:mod:`recap_core.training.memory`). A frozen SigLIP keeps nothing for a
backward pass; a frozen language model keeps all it would otherwise, because gradients pass through
it to what is trained below.
"""

import math

import jax
import numpy as np

from recap_core.config.stages import TrainValueConfig
from recap_core.config.training import TrainRuntime
from recap_core.config.value import ValueModelConfig
from recap_core.models.layers import LayerLoop
from recap_core.models.value_model import ValueModel
from recap_core.training.memory import (
    BATCHES_ON_DEVICE,
    DEVICE_OVERHEAD,
    HOST_OVERHEAD,
    MemoryEstimate,
    bytes_per_device,
    layer_bytes,
    layer_weights,
    num_bytes,
)
from recap_core.training.state import trainable_part
from recap_core.training.value_freezing import trainable_value_leaves

_FLOAT32 = 4


def estimate_value_memory(
    config: TrainValueConfig, runtime: TrainRuntime, *, num_devices: int
) -> MemoryEstimate:
    """Memory of training a value model.

    Args:
        config: Model, frozen part, batch size and average.
        runtime: FSDP, remat and micro-batches.
        num_devices: Devices of all hosts.
    """
    model, train = config.value.model, config.train
    leaves = jax.eval_shape(ValueModel(model).init, jax.random.key(0))
    mask = trainable_value_leaves(model, leaves, config.freeze)
    trained = trainable_part(leaves, mask)
    frozen = trainable_part(leaves, jax.tree.map(lambda trains: not trains, mask))
    params = bytes_per_device(trained, runtime)
    rows = math.ceil(train.batch_size / num_devices)
    state = num_bytes(leaves) + (2 + (train.ema_decay is not None)) * num_bytes(trained)
    batches = BATCHES_ON_DEVICE * rows * value_sample_bytes(model)
    trains_images = bool(model.views) and any(jax.tree.leaves(mask["img"]))
    depths = {model.gemma.depth, model.siglip.depth}
    return MemoryEstimate(
        params=params,
        frozen_params=bytes_per_device(frozen, runtime),
        grads=params * (1 if runtime.micro_batches == 1 else 2),
        optimizer=2 * params,
        ema=0 if train.ema_decay is None else params,
        batches=batches,
        activations=_activations(
            model, math.ceil(rows / runtime.micro_batches), runtime, trains_images=trains_images
        ),
        workspace=layer_weights(leaves, depths, model.compute_dtype, runtime)
        + max(bytes_per_device([leaf], runtime) for leaf in jax.tree.leaves(trained)),
        overhead=DEVICE_OVERHEAD,
        host=HOST_OVERHEAD + state + batches,
    )


def value_sample_bytes(model: ValueModelConfig) -> int:
    """Bytes of one sample of a training batch."""
    pixels = len(model.views) * (model.image_px**2 * 3 * _FLOAT32 + 1)
    tokens = model.max_token_len * (4 + 1)
    return pixels + tokens + (model.state_dim + model.num_bins) * _FLOAT32


def _activations(
    model: ValueModelConfig, rows: int, runtime: TrainRuntime, *, trains_images: bool
) -> int:
    """Peak of the backward pass over ``rows`` samples at once."""
    itemsize = np.dtype(model.compute_dtype).itemsize
    gemma, siglip = model.gemma, model.siglip
    per_view = (model.image_px // siglip.patch_px) ** 2
    patches = len(model.views) * per_view
    tokens = patches + model.max_token_len + (model.state_input == "continuous")
    vision = rows * layer_bytes(
        logits=patches * per_view * siglip.num_heads,
        hidden=patches * siglip.mlp_dim,
        stream=patches * siglip.width,
        heads=patches * siglip.width,
        itemsize=itemsize,
    )
    language = rows * layer_bytes(
        logits=tokens**2 * gemma.num_heads,
        hidden=tokens * gemma.mlp_dim,
        stream=tokens * gemma.width,
        heads=tokens * gemma.num_heads * gemma.head_dim,
        itemsize=itemsize,
    )
    loops = [LayerLoop.of_depth(stack.depth, runtime.remat) for stack in (gemma, siglip)]
    # What one layer keeps for its backward pass is most of what that pass works with.
    kept = gemma.depth * (tokens * gemma.width * rows * itemsize if loops[0].remat else language)
    working = language if loops[0].remat else 0
    if not trains_images:
        # SigLIP has run, and is forgotten, before the language model's backward pass.
        return max(kept + working, vision // 2)
    between = patches * siglip.width * rows * itemsize
    kept += siglip.depth * (between if loops[1].remat else vision)
    return kept + max(working, vision if loops[1].remat else 0)
