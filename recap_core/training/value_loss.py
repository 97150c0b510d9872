"""The value model's loss: cross-entropy with two-hot targets (C51)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from recap_core.config.training import AugmentConfig
from recap_core.models.categorical import cross_entropy, expected_value, support
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueInputs, ValueModel
from recap_core.training.step import Mean, Metrics
from recap_core.transforms.augment import augment_inputs


class ValueBatch(NamedTuple):
    """Frames to value; NumPy or JAX arrays."""

    inputs: ValueInputs
    target_probs: Float[Array, "b bins"]
    """Two-hot targets, rows sum to 1."""


class ValueLoss:
    """Mean cross-entropy; the metric ``value_error`` is the mean of |V - target|."""

    def __init__(self, model: ValueModel, augment: AugmentConfig | None) -> None:
        self._model = model
        self._augment = augment

    def __call__(
        self, params: Params, key: PRNGKeyArray, batch: ValueBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics; images are changed at random by the key of the step."""
        return self.of_drawn(params, self.draw(key, batch))

    def draw(self, key: PRNGKeyArray, batch: ValueBatch) -> ValueBatch:
        """Augment images by the key of the step."""
        return batch._replace(inputs=augment_inputs(key, batch.inputs, self._augment))

    def of_drawn(self, params: Params, batch: ValueBatch) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics of samples whose images are augmented."""
        logits = self._model.logits(params, batch.inputs)
        target = batch.target_probs @ support(batch.target_probs.shape[1])
        error = jnp.sum(jnp.abs(expected_value(logits) - target))
        num = jnp.asarray(len(target), jnp.float32)
        return jnp.mean(cross_entropy(logits, batch.target_probs)), {
            "value_error": Mean(error, num)
        }


def value_loss(model: ValueModel, *, augment: AugmentConfig | None = None) -> ValueLoss:
    """The loss of ``model``.

    Args:
        model: The model.
        augment: How images are changed at random; None: not at all.
    """
    return ValueLoss(model, augment)
