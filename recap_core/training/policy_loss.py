"""The policy's loss: squared error of the flow's velocity, told apart by advantage class."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from recap_core.config.training import AugmentConfig
from recap_core.models import flow
from recap_core.models.parameters import Params
from recap_core.models.policy import Policy, PolicyInputs
from recap_core.training.step import Mean, Metrics
from recap_core.transforms.augment import augment_inputs

PROMPT_CLASSES = ("negative", "none", "positive", "dropped")
"""A frame's advantage as training sees it; ``dropped``: the prompt lost it at random."""

type LossWeight = Literal["plain", "reference_time"]


class PolicyBatch(NamedTuple):
    """Frames to imitate; NumPy or JAX arrays."""

    inputs: PolicyInputs
    actions: Float[Array, "b h a"]
    """Normalised, padded targets."""
    prompt_class: Int[Array, " b"]
    """Index into ``PROMPT_CLASSES``."""
    action_mask: Bool[Array, "b h a"] | None = None
    """Which dims of which actions count in the loss; None: all, as in openpi."""
    drawn: flow.Draw | None = None
    """Noise and times; None: not drawn yet, nor images augmented."""


class PolicyLoss:
    """Mean over batch and horizon of w(t) |v - u|^2, the same for every advantage class.

        plain            w = 1
        reference_time   w = 0.5 exp(-0.5 (1 - t))          t = 1 is noise (SPEC §5.3)

    With an ``action_mask`` m, |v - u|^2 is sum_d(m e_d^2) / max(sum_d m, 1) over the action's dims,
    and a sample's mean is over the actions of its horizon that have a dim left.
    """

    def __init__(self, policy: Policy, weight: LossWeight, augment: AugmentConfig | None) -> None:
        self._policy = policy
        self._weight = weight
        self._augment = augment

    def __call__(
        self, params: Params, key: PRNGKeyArray, batch: PolicyBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Loss, and the metrics ``loss_<class>``: means over the samples of each prompt class."""
        return self.of_drawn(params, self.draw(key, batch))

    def draw(self, key: PRNGKeyArray, batch: PolicyBatch) -> PolicyBatch:
        """Augment images, and draw noise and times, all by the key of the step."""
        return batch._replace(
            inputs=augment_inputs(key, batch.inputs, self._augment),
            drawn=flow.draw(key, batch.actions.shape),
        )

    def of_drawn(self, params: Params, batch: PolicyBatch) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics of samples whose noise and times are drawn."""
        if batch.drawn is None:
            raise ValueError("the loss of a drawn batch needs noise and times, got None")
        loss = self._policy.loss_of_draw(
            params, batch.inputs, batch.actions, batch.drawn, action_mask=batch.action_mask
        )
        sample_loss = _mean_over_horizon(loss.squared_error, batch.action_mask)
        if self._weight == "reference_time":
            sample_loss *= 0.5 * jnp.exp(-0.5 * (1 - loss.time))
        return jnp.mean(sample_loss), _by_class(sample_loss, batch.prompt_class)


def policy_loss(
    policy: Policy, weight: LossWeight = "plain", *, augment: AugmentConfig | None = None
) -> PolicyLoss:
    """The loss of ``policy``.

    Args:
        policy: The model.
        weight: Of a sample, by its flow time.
        augment: How images are changed at random; None: not at all.
    """
    return PolicyLoss(policy, weight, augment)


def _mean_over_horizon(
    squared_error: Float[Array, "b h"], action_mask: Bool[Array, "b h a"] | None
) -> Float[Array, " b"]:
    if action_mask is None:
        return jnp.mean(squared_error, axis=1)
    counts = jnp.any(action_mask, axis=-1).astype(squared_error.dtype)
    return jnp.sum(squared_error * counts, axis=1) / jnp.maximum(jnp.sum(counts, axis=1), 1.0)


def _by_class(sample_loss: Float[Array, " b"], prompt_class: Int[Array, " b"]) -> Metrics:
    metrics = {}
    for index, name in enumerate(PROMPT_CLASSES):
        is_member = (prompt_class == index).astype(jnp.float32)
        metrics[f"loss_{name}"] = Mean(jnp.sum(sample_loss * is_member), jnp.sum(is_member))
    return metrics
