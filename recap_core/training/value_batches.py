"""Batches for the value model, each a function of its step alone."""

from typing import Any

import numpy as np
from jaxtyping import Int

from recap_core.config.labels import TargetConfig
from recap_core.config.stages import TrainValueConfig
from recap_core.data.batches import FrameOrder, frame_sampler
from recap_core.data.frames import FrameTable
from recap_core.data.image_feed import ImageFeed, Images, ImageSource
from recap_core.data.shards import Shard
from recap_core.features.frozen import FrozenFeatures
from recap_core.labels.targets import Episodes, FrameTargets, frame_targets, range_targets_if
from recap_core.labels.two_hot import hard_bins, two_hot
from recap_core.models.value_model import ValueInputs
from recap_core.training.observations import FrameObservations
from recap_core.training.value_loss import ValueBatch
from recap_core.transforms.value_transform import ValueTransform


def value_targets(
    table: FrameTable, config: TargetConfig, *, outcome: bool | None = None
) -> FrameTargets:
    """Rewards and value targets of every frame of a dataset.

    Under the ``reference`` rule paused frames count like any other; under all other rules time
    stands still on them, and their target is NaN (DESIGN §4).

    Args:
        table: The dataset.
        config: The rule.
        outcome: Success or failure of every episode, for the sake of argument, counted in the
            units of the outcomes as marked; None: as marked.
    """
    success = table.success if outcome is None else np.full(len(table.episode_lengths), outcome)
    is_skipped = table.is_paused & ~table.is_intervention
    if config.rule == "reference":
        is_skipped = np.zeros_like(is_skipped)
    episodes = Episodes(table.episode_lengths, success, table.episode_tasks, table.rounds)
    found = frame_targets(episodes, is_skipped=is_skipped, **config.model_dump())
    if outcome is None or config.rule != "return_range":
        return found
    targets = range_targets_if(
        episodes._replace(success=table.success),
        success,
        is_skipped=is_skipped,
        fail_frames=config.fail_frames or 0.0,
        discount=config.discount,
    )
    return found._replace(targets=targets)


class ValueBatches:
    """Frames drawn by a sampler, with the two-hot targets of their values.

    Where the model sees no images, everything but the targets is computed once.
    """

    def __init__(  # noqa: PLR0913 - options are keyword-only
        self,
        table: FrameTable,
        transform: ValueTransform,
        config: TrainValueConfig,
        *,
        episodes: Int[np.ndarray, " e"] | None = None,
        images: ImageSource | FrozenFeatures | None = None,
        shard: Shard = Shard(),
        order: FrameOrder | None = None,
    ) -> None:
        """Prepare batches.

        Args:
            table: The dataset.
            transform: From the dataset's observations to the model's.
            config: Sampling and targets.
            episodes: Episodes to train on; None: all.
            images: Camera images, or their frozen encoder's tokens, for a model that sees any.
            shard: The rows of every batch that this process makes.
            order: Which frames are in which batch; None: as ``config.train.sampling`` says.

        Raises:
            ColumnError: If a column is missing.
            DataError: If no frame is left to train on.
        """
        model, train = config.value.model, config.train
        self._features = images if isinstance(images, FrozenFeatures) else None
        self._transform = transform.without_images() if self._features else transform
        self._num_bins = model.num_bins
        self._targets = value_targets(table, config.targets).targets
        state = config.value.embodiment.state if model.reads_state else ()
        self._observations = FrameObservations(table, state)
        self._task_index = table.task_index
        self._places = table.places
        self._is_hard = config.target_bins == "hard"
        self._order = order or frame_sampler(
            table,
            train.sampling,
            batch_size=train.batch_size,
            seed=train.seed,
            episodes=episodes,
            paused_frames="autonomous" if config.targets.rule == "reference" else "skip",
        )
        self._rows = shard.rows(len(self._order.indices(0)))
        self._images: ImageFeed | None = None
        if images and not isinstance(images, FrozenFeatures):
            self._images = images.feed(self._order, self._rows)
        self._precomputed: ValueInputs | None = None
        if not model.views:
            self._precomputed = self._inputs(np.arange(table.num_frames), {})

    def __call__(self, step: int) -> ValueBatch:
        """The batch of ``step``."""
        frames = self.frames(step)
        targets = self._targets[frames]
        bins_of = hard_bins if self._is_hard else two_hot
        target_probs: Any = bins_of(targets, self._num_bins)
        if self._precomputed is None:
            images = self._images(step) if self._images else {}
            return ValueBatch(self._inputs(frames, images), target_probs)
        every = self._precomputed
        inputs = every._replace(
            state=every.state[frames],
            tokens=every.tokens[frames],
            token_mask=every.token_mask[frames],
        )
        return ValueBatch(inputs, target_probs)

    def frames(self, step: int) -> Int[np.ndarray, " b"]:
        """Global indices of the frames in the batch of ``step``."""
        return self._order.indices(step)[self._rows]

    def places(self, step: int) -> Int[np.ndarray, "b 2"]:
        """Episode, and frame within it, of every frame in the batch of ``step``."""
        return self._places(self._order.indices(step))

    def _inputs(self, frames: Int[np.ndarray, " b"], images: Images) -> ValueInputs:
        observations = self._observations.at(frames) | images
        inputs = self._transform.inputs(observations, self._observations.prompts(frames))
        return self._features.added_to(inputs, frames) if self._features else inputs
