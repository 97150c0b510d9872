"""The loss of answers: next-token cross-entropy on what is to be said, alone or beside values.

loss = mean over questions of (mean over answer tokens of -log p(token | image, tokens before))
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from recap_core.config.value import ValueModelConfig
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueModel
from recap_core.training.step import Mean, Metrics
from recap_core.training.value_batches import ValueBatches
from recap_core.training.value_loss import ValueBatch, ValueLoss
from recap_core.training.vqa_batches import VqaBatch, VqaBatches


def one_view(config: ValueModelConfig) -> ValueModelConfig:
    """The same parameters for inputs of one image."""
    return config.model_copy(update={"views": config.views[:1]})


class VqaLoss:
    """Mean over questions; the metric ``answer_accuracy`` is the share of tokens said right.

    Args:
        model: Of one view (:func:`one_view`).
    """

    def __init__(self, model: ValueModel) -> None:
        self._model = model

    def __call__(
        self, params: Params, key: PRNGKeyArray, batch: VqaBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics; nothing is drawn."""
        return self.of_drawn(params, self.draw(key, batch))

    def draw(self, key: PRNGKeyArray, batch: VqaBatch) -> VqaBatch:
        """The batch as it is."""
        del key
        return batch

    def of_drawn(self, params: Params, batch: VqaBatch) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics."""
        logits = self._model.token_logits(params, batch.inputs)[:, :-1]
        wanted = jnp.asarray(batch.inputs.tokens)[:, 1:]
        is_answer = jnp.asarray(batch.is_answer)[:, 1:].astype(jnp.float32)
        log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
        per_token = -jnp.take_along_axis(log_probs, wanted[:, :, None], axis=-1)[:, :, 0]
        num_tokens = jnp.maximum(is_answer.sum(axis=1), 1)
        loss = jnp.mean((per_token * is_answer).sum(axis=1) / num_tokens)
        right = (jnp.argmax(logits, axis=-1) == wanted) * is_answer
        return loss, {"answer_accuracy": Mean(right.sum(), is_answer.sum())}


class CotrainedBatch(NamedTuple):
    """Frames to value, and questions to answer."""

    value: ValueBatch
    vqa: VqaBatch


class CotrainedBatches:
    """A batch of frames and one of questions per step."""

    def __init__(self, value: ValueBatches, vqa: VqaBatches) -> None:
        self._value = value
        self._vqa = vqa

    def __call__(self, step: int) -> CotrainedBatch:
        """The batch of ``step``."""
        return CotrainedBatch(self._value(step), self._vqa(step))

    def frames(self, step: int) -> Int[np.ndarray, " b"]:
        """Global indices of the frames in the batch of ``step``."""
        return self._value.frames(step)

    def places(self, step: int) -> Int[np.ndarray, "b 2"]:
        """Episode, and frame within it, of every frame in the batch of ``step``."""
        return self._value.places(step)


class CotrainedLoss:
    """Values' loss + weight x answers' loss; alone they are ``value_loss`` and ``vqa_loss``."""

    def __init__(self, value: ValueLoss, vqa: VqaLoss, *, weight: float) -> None:
        self._value = value
        self._vqa = vqa
        self._weight = weight

    def __call__(
        self, params: Params, key: PRNGKeyArray, batch: CotrainedBatch
    ) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics; camera images are changed at random, those of questions never."""
        return self.of_drawn(params, self.draw(key, batch))

    def draw(self, key: PRNGKeyArray, batch: CotrainedBatch) -> CotrainedBatch:
        """Augment camera images by the key of the step."""
        return batch._replace(value=self._value.draw(key, batch.value))

    def of_drawn(self, params: Params, batch: CotrainedBatch) -> tuple[Float[Array, ""], Metrics]:
        """Loss and metrics of a batch whose images are augmented."""
        value, value_metrics = self._value.of_drawn(params, batch.value)
        vqa, vqa_metrics = self._vqa.of_drawn(params, batch.vqa)
        own = {"value_loss": Mean(value, jnp.ones(())), "vqa_loss": Mean(vqa, jnp.ones(()))}
        return value + self._weight * vqa, own | dict(value_metrics) | dict(vqa_metrics)
