"""A train step of any size as XLA sees it, without any array."""

from typing import Any

import jax
import jax.numpy as jnp

from recap_core.config.policy import PolicyModelConfig
from recap_core.config.training import TrainConfig, TrainRuntime
from recap_core.models.layers import LayerLoop
from recap_core.models.policy import Policy, PolicyInputs, trainable_mask
from recap_core.sharding import batch_sharding, fsdp_shardings
from recap_core.training.loop import training_mesh
from recap_core.training.optimizer import make_optimizer
from recap_core.training.policy_loss import PolicyBatch, policy_loss
from recap_core.training.state import state_shapes, with_frozen_in_bfloat16
from recap_core.training.step import make_train_step


def compiled_step(
    model: PolicyModelConfig, train: TrainConfig, runtime: TrainRuntime
) -> jax.stages.Compiled:
    """The step that the stage would run on this process's devices."""
    mesh = training_mesh(runtime)
    split = batch_sharding(mesh)
    loop = LayerLoop.of_depth(model.vlm.depth, runtime.remat, split=split)
    policy = Policy(model, loop=loop)
    full = jax.eval_shape(policy.init, jax.random.key(0))
    mask = trainable_mask(model, full)
    shapes = state_shapes(
        with_frozen_in_bfloat16(full, mask),
        make_optimizer(train.optimizer),
        mask,
        with_ema=train.ema_decay is not None,
    )
    shardings = fsdp_shardings(shapes, mesh, min_bytes=runtime.fsdp_min_bytes)
    step: Any = make_train_step(
        policy_loss(policy, train.loss_weight, augment=train.augment),
        train,
        trainable=mask,
        micro_batches=runtime.micro_batches,
        shardings=shardings,
    )
    batch = batch_shapes(policy, train.batch_size)
    placed = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), *(shapes, shardings)
    )
    rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=split), batch)
    return step.lower(placed, rows).compile()


def batch_shapes(policy: Policy, b: int) -> Any:  # noqa: ANN401 - shapes in place of arrays
    """What a batch holds."""
    model = policy.config

    def shape(*dims: int, dtype: Any = jnp.float32) -> Any:  # noqa: ANN401 - shapes, types
        return jax.ShapeDtypeStruct(dims, dtype)

    arrays: list[Any] = [
        {view: shape(b, model.image_px, model.image_px, 3) for view in model.views},
        {view: shape(b, dtype=jnp.bool_) for view in model.views},
        shape(b, policy.state_width),
        shape(b, model.max_token_len, dtype=jnp.int32),
        shape(b, model.max_token_len, dtype=jnp.bool_),
    ]
    actions = shape(b, model.action_horizon, model.action_dim)
    return PolicyBatch(PolicyInputs(*arrays), actions, shape(b, dtype=jnp.int32))
