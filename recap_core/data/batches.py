"""Which frames are in which batch, and the actions that follow a frame.

What a batch holds depends on nothing but the seed and the step, so training resumes with the same
data order from any step.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, Shaped

from recap_core.config.training import SamplingConfig
from recap_core.data.block_order import BlockOrder
from recap_core.data.frames import FrameTable
from recap_core.errors import DataError

type PausedRule = Literal["autonomous", "skip"]
type Pools = list[tuple[Int64[np.ndarray, " _"], int]]
"""Frames to draw from, and how many of a batch come from them."""


class EpisodeSplit(NamedTuple):
    """Episodes by what they are for; disjoint, sorted, together all."""

    train: Int64[np.ndarray, " i"]
    validation: Int64[np.ndarray, " j"]
    test: Int64[np.ndarray, " k"]


def split_episodes(
    num_episodes: int,
    *,
    seed: int = 42,
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1),
    originals: Int[np.ndarray, " e"] | None = None,
) -> EpisodeSplit:
    """Split episodes 8:1:1, the same way for the same seed.

    Train gets ``int(0.8 n)`` and validation ``int(0.1 n)`` episodes, test the rest. Copies of an
    episode go where it goes, and do not count: nothing is judged by what it was trained on.

    Args:
        num_episodes: Episodes, copies included.
        seed: Of the shuffle.
        ratios: Shares of train, validation and test.
        originals: The first copy of every episode (:attr:`FrameTable.originals`); None: no copies.

    Raises:
        ValueError: If the ratios do not sum to 1.
    """
    if abs(sum(ratios) - 1) > 1e-6 or min(ratios) < 0:
        raise ValueError(f"split ratios must be shares that sum to 1, got {ratios}")
    copies_of = np.arange(num_episodes) if originals is None else originals
    order = np.unique(copies_of)
    np.random.RandomState(seed).shuffle(order)
    # 1e-9: 0.8 * 10 episodes is 8 of them also where the product falls short by rounding.
    train = int(ratios[0] * len(order) + 1e-9)
    validation = train + int(ratios[1] * len(order) + 1e-9)
    parts = order[:train], order[train:validation], order[validation:]
    return EpisodeSplit(*(np.flatnonzero(np.isin(copies_of, part)) for part in parts))


class FrameSampler:
    """Draws the frames of a batch, with replacement, from (seed, step) alone."""

    def __init__(self, pools: Pools, *, seed: int) -> None:
        """Sample from pools of frames.

        Args:
            pools: Global indices, and how many of every batch are drawn from them.
            seed: Of everything that is drawn.
        """
        self._pools = pools
        self._seed = seed

    @property
    def num_frames(self) -> int:
        """Frames that can be drawn."""
        return sum(len(pool) for pool, _ in self._pools)

    def indices(self, step: int) -> Int64[np.ndarray, " b"]:
        """Global indices of the frames of batch ``step``, in random order."""
        # Philox is counter-based: a key per step needs no state from the steps before.
        rng = np.random.Generator(np.random.Philox(key=[self._seed, step]))
        drawn = [pool[rng.integers(0, len(pool), count)] for pool, count in self._pools]
        return rng.permutation(np.concatenate(drawn))


class FramesInOrder:
    """Every frame of a list once, in its order: for measuring."""

    def __init__(self, frames: Int[np.ndarray, " n"], *, batch_size: int) -> None:
        """Divide frames into batches.

        Args:
            frames: Global indices, at least one.
            batch_size: Frames per batch; the last one is filled up with its last frame.
        """
        self._frames = frames.astype(np.int64)
        self._batch_size = batch_size

    @property
    def num_batches(self) -> int:
        """Batches until every frame was seen."""
        return -(-self.num_frames // self._batch_size)

    @property
    def num_frames(self) -> int:
        """Frames of the list."""
        return len(self._frames)

    def indices(self, step: int) -> Int64[np.ndarray, " b"]:
        """Global indices of the frames of batch ``step``, below ``num_batches``."""
        rows = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        return self._frames[np.minimum(rows, self.num_frames - 1)]


type FrameOrder = FrameSampler | BlockOrder | FramesInOrder
"""Which frames are in the batch of a step: ``indices(step)``."""


def frame_sampler(  # noqa: PLR0913 - options are keyword-only
    table: FrameTable,
    config: SamplingConfig,
    *,
    batch_size: int,
    seed: int,
    episodes: Int[np.ndarray, " e"] | None = None,
    paused_frames: PausedRule = "skip",
) -> FrameOrder:
    """The order in which a dataset's frames are trained on.

    Args:
        table: The dataset; needs ``intervention``, and ``phase`` if it has paused frames.
        config: Which frames, how they are balanced, and how they are shuffled.
        batch_size: Frames per batch.
        seed: Of everything that is drawn.
        episodes: Episodes to sample from (a split); None: all.
        paused_frames: ``skip`` never draws a paused frame; ``autonomous`` treats it like any other.

    Raises:
        DataError: If no frame is left.
    """
    usable = np.ones(table.num_frames, dtype=bool)
    if paused_frames == "skip":
        usable &= ~(table.is_paused & ~table.is_intervention)
    if episodes is not None:
        usable &= np.isin(table.episode_index, episodes)
    is_expert = table.is_intervention
    if config.frames == "expert":
        usable &= is_expert
    elif config.frames == "demonstrations":
        usable &= table.is_demonstration
    pools = _pools(
        np.flatnonzero(usable & is_expert),
        np.flatnonzero(usable & ~is_expert),
        batch_size=batch_size,
        expert_fraction=config.expert_fraction,
    )
    if config.order == "blocks":
        return BlockOrder(
            pools, table.episode_ends, block_episodes=config.block_episodes, seed=seed
        )
    return FrameSampler(pools, seed=seed)


def _pools(
    expert: Int64[np.ndarray, " i"],
    autonomous: Int64[np.ndarray, " j"],
    *,
    batch_size: int,
    expert_fraction: float | None,
) -> Pools:
    """One pool, or experts apart; where one kind is empty, the other fills the batch."""
    if not len(expert) + len(autonomous):
        raise DataError(
            "no frame is left to train on. Record demonstrations or rollouts, or widen "
            "the sampling configuration."
        )
    if expert_fraction is None or not len(expert) or not len(autonomous):
        return [(np.sort(np.concatenate([expert, autonomous])), batch_size)]
    num_expert = int(batch_size * expert_fraction + 0.5)
    return [(expert, num_expert), (autonomous, batch_size - num_expert)]


class ActionChunks(NamedTuple):
    """The next actions of some frames."""

    actions: Shaped[np.ndarray, "b h a"]
    is_pad: Bool[np.ndarray, "b h"]
    """True past the end of the episode, where the last action is repeated."""


def chunk_indices(
    episode_ends: Int[np.ndarray, " e"], indices: Int[np.ndarray, " b"], *, horizon: int
) -> tuple[Int64[np.ndarray, "b h"], Bool[np.ndarray, "b h"]]:
    """Frames ``t, ..., t + horizon - 1`` of every ``t``, held at the last frame of its episode.

    Args:
        episode_ends: Global index one past every episode's last frame, rising.
        indices: Frames t.
        horizon: Frames per chunk, h.

    Returns:
        Global indices, and where they are held.
    """
    ends = episode_ends[np.searchsorted(episode_ends, indices, side="right")]
    wanted = indices[:, None] + np.arange(horizon)
    is_pad = wanted >= ends[:, None]
    return np.minimum(wanted, ends[:, None] - 1), is_pad


def action_chunks(
    actions: Float[np.ndarray, "n a"],
    episode_ends: Int[np.ndarray, " e"],
    indices: Int[np.ndarray, " b"],
    *,
    horizon: int,
) -> ActionChunks:
    """Actions ``t, t + 1, ..., t + horizon - 1`` of every frame ``t`` in ``indices``.

    Past the end of an episode its last action is repeated, as openpi trains.

    Args:
        actions: Actions of all frames, by global index.
        episode_ends: Global index one past every episode's last frame, rising.
        indices: Frames.
        horizon: Actions per chunk, h.
    """
    wanted, is_pad = chunk_indices(episode_ends, indices, horizon=horizon)
    return ActionChunks(actions[wanted], is_pad)
