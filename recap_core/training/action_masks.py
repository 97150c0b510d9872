"""Which dims of which actions count in a policy's loss."""

import numpy as np
from jaxtyping import Bool, Int

from recap_core.config.training import TrainConfig
from recap_core.data.batches import chunk_indices
from recap_core.data.frames import FrameTable
from recap_core.errors import ConfigError
from recap_core.labels.frozen_arms import frozen_arms


class ActionMasks:
    """Masks of action chunks, by the frames that they start at."""

    def __init__(
        self, table: FrameTable, config: TrainConfig, *, action: str, horizon: int, width: int
    ) -> None:
        """Find the arms that stood still, if the configuration asks.

        Args:
            table: The dataset.
            config: What to leave out.
            action: Column of the actions, absolute targets.
            horizon: Actions per chunk.
            width: Padded dims of an action.

        Raises:
            ConfigError: If an arm has dims that the actions lack.
        """
        self._horizon = horizon
        self._episode_ends = table.episode_ends
        self._masks_end = config.mask_padded_actions
        actions = table.column(action).reshape(table.num_frames, -1)
        num_dims = actions.shape[1]
        self._dims = np.ones(width, dtype=bool)
        if config.mask_padded_dims:
            self._dims[num_dims:] = False
        self._moves: Bool[np.ndarray, "n a"] | None = None
        if config.frozen_arms is not None:
            arms = config.frozen_arms.arms
            if any(end > num_dims for _, end in arms):
                raise ConfigError(
                    f"frozen_arms.arms is {arms}, but {action} of {table.meta.root} has only "
                    f"{num_dims} dims. Name dims that it has."
                )
            is_frozen = frozen_arms(
                actions,
                table.is_intervention,
                table.episode_ends,
                arms=arms,
                ratio=config.frozen_arms.ratio,
            )
            self._moves = np.ones((table.num_frames, width), dtype=bool)
            for arm, (first, end) in enumerate(arms):
                self._moves[:, first:end] &= ~is_frozen[:, arm, None]

    def at(self, frames: Int[np.ndarray, " b"]) -> Bool[np.ndarray, "b h a"]:
        """Masks of the chunks that start at ``frames``; each action's by its own frame."""
        indices, is_pad = chunk_indices(self._episode_ends, frames, horizon=self._horizon)
        mask = np.broadcast_to(self._dims, (*indices.shape, len(self._dims)))
        if self._moves is not None:
            mask = mask & self._moves[indices]
        if self._masks_end:
            mask = mask & ~is_pad[:, :, None]
        return mask


def action_masks(
    table: FrameTable, config: TrainConfig, *, action: str, horizon: int, width: int
) -> ActionMasks | None:
    """The masks that a configuration asks for; None: every dim of every action counts."""
    if config.mask_padded_actions or config.mask_padded_dims or config.frozen_arms is not None:
        return ActionMasks(table, config, action=action, horizon=horizon, width=width)
    return None
