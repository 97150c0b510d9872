"""The value model on validation episodes, measured exactly: every frame once, nothing dropped."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Int64
from scipy import stats

from recap_core.config.stages import TrainValueConfig
from recap_core.data.batches import FramesInOrder
from recap_core.data.frames import FrameTable
from recap_core.data.image_feed import ImageSource
from recap_core.features.frozen import FrozenFeatures
from recap_core.models.categorical import cross_entropy, expected_value, support
from recap_core.models.parameters import Params
from recap_core.models.value_model import ValueModel
from recap_core.sharding import place_batch
from recap_core.training.early_stopping import VAL_LOSS
from recap_core.training.prefetch import Prefetch
from recap_core.training.state import TrainState, evaluation_params
from recap_core.training.value_batches import ValueBatches, value_targets
from recap_core.training.value_loss import ValueBatch
from recap_core.transforms.value_transform import ValueTransform


class _Frames(NamedTuple):
    """What is measured of every frame of a batch."""

    loss: Float[Array, " b"]
    value: Float[Array, " b"]
    target: Float[Array, " b"]
    is_top: Bool[Array, " b"]
    """Whether the target's bin is the most likely one."""


def validation_frames(
    table: FrameTable,
    config: TrainValueConfig,
    episodes: Int[np.ndarray, " e"],
    *,
    max_frames: int | None = None,
) -> Int64[np.ndarray, " n"]:
    """Frames of ``episodes`` that have a target, in their order; of too many, evenly spread ones.

    Args:
        table: The dataset.
        config: Says what the targets are.
        episodes: Validation episodes.
        max_frames: Most frames; None: all.
    """
    targets = value_targets(table, config.targets).targets
    frames = np.flatnonzero(np.isin(table.episode_index, episodes) & ~np.isnan(targets))
    if max_frames is None or len(frames) <= max_frames:
        return frames
    return frames[np.arange(max_frames) * len(frames) // max_frames]


class ValueValidation:
    """Measures the averaged parameters of a training on validation frames.

    ``val_loss`` is their mean cross-entropy, ``val_top1`` the share of frames whose target's bin is
    the most likely one, ``val_spearman`` the rank correlation of V with its target (0 where one of
    them is constant). Images are not augmented.
    """

    def __init__(  # noqa: PLR0913 - options are keyword-only
        self,
        model: ValueModel,
        table: FrameTable,
        transform: ValueTransform,
        config: TrainValueConfig,
        *,
        frames: Int[np.ndarray, " n"],
        mesh: Mesh,
        images: ImageSource | FrozenFeatures | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            model: The model.
            table: The dataset.
            transform: From the dataset's observations to the model's.
            config: Targets.
            frames: Global indices of the frames to measure, at least one.
            mesh: Devices, which must divide the batch size.
            images: Camera images, or their frozen encoder's tokens, for a model that sees any.
            batch_size: Frames at a time; None: as many as a training batch has.
        """
        self._order = FramesInOrder(frames, batch_size=batch_size or config.train.batch_size)
        self._batches = ValueBatches(table, transform, config, images=images, order=self._order)
        self._mesh = mesh

        @jax.jit
        def measure(params: Params, batch: ValueBatch) -> _Frames:
            logits = model.logits(params, batch.inputs)
            probs = batch.target_probs
            of_target = jnp.take_along_axis(logits, probs.argmax(axis=1)[:, None], axis=1)
            return _Frames(
                loss=cross_entropy(logits, probs),
                value=expected_value(logits),
                target=probs @ support(probs.shape[1]),
                is_top=jnp.all(logits <= of_target, axis=1),
            )

        self._measure = measure

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Metrics of the averaged parameters, or of the raw ones where there is no average."""
        params = evaluation_params(state)
        parts: list[_Frames] = []
        with Prefetch(
            self._batches,
            start=0,
            stop=self._order.num_batches,
            place=lambda batch: place_batch(batch, self._mesh),
        ) as prefetch:
            # One batch in flight: the host prepares the next one meanwhile.
            pending: _Frames | None = None
            for _, batch in prefetch:
                started = self._measure(params, batch)
                if pending is not None:
                    parts.append(jax.device_get(pending))
                pending = started
            parts.append(jax.device_get(pending))
        n = self._order.num_frames
        loss, value, target, is_top = (
            np.concatenate(column)[:n] for column in zip(*parts, strict=True)
        )
        return {
            VAL_LOSS: float(np.mean(loss, dtype=np.float64)),
            "val_top1": float(np.mean(is_top)),
            "val_spearman": _rank_correlation(value, target),
        }


def _rank_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])
