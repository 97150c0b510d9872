"""The policy's loss: squared error of the flow's velocity, told apart by advantage class."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from recap_core.config.training import AugmentConfig
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from recap_core.training.step import LossFn, Mean, Metrics
from recap_core.transforms.augment import augment_inputs

PROMPT_CLASSES = ("negative", "none", "positive", "dropped")
"""What a prompt says of a frame's advantage; ``dropped``: it says nothing."""

type LossWeight = Literal["plain", "reference_time"]


class PolicyBatch(NamedTuple):
    """Frames to imitate; NumPy or JAX arrays."""

    inputs: PolicyInputs
    actions: Float[Array, "b h a"]
    """Normalised, padded targets."""
    prompt_class: Int[Array, " b"]
    """Index into ``PROMPT_CLASSES``."""


def policy_loss(
    policy: Policy, weight: LossWeight = "plain", *, augment: AugmentConfig | None = None
) -> LossFn:
    """Mean over batch and horizon of w(t) |v - u|^2, the same for every advantage class.

        plain            w = 1
        reference_time   w = 0.5 exp(-0.5 (1 - t))          t = 1 is noise (SPEC §5.3)

    The metrics ``loss_<class>`` are the means over the samples of each prompt class. With
    ``augment``, images are changed at random by the key of the step.
    """

    def loss_fn(
        params: Params, key: PRNGKeyArray, batch: PolicyBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        inputs = augment_inputs(key, batch.inputs, augment)
        flow = policy.flow_loss(params, key, inputs, batch.actions)
        sample_loss = jnp.mean(flow.squared_error, axis=1)
        if weight == "reference_time":
            sample_loss *= 0.5 * jnp.exp(-0.5 * (1 - flow.time))
        return jnp.mean(sample_loss), _by_class(sample_loss, batch.prompt_class)

    return loss_fn


def _by_class(sample_loss: Float[Array, " b"], prompt_class: Int[Array, " b"]) -> Metrics:
    metrics = {}
    for index, name in enumerate(PROMPT_CLASSES):
        is_member = (prompt_class == index).astype(jnp.float32)
        metrics[f"loss_{name}"] = Mean(jnp.sum(sample_loss * is_member), jnp.sum(is_member))
    return metrics
