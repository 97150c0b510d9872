"""Shuffled batches in an order that videos can be decoded in.

Reading frames at random is slow where every frame has to be decoded. So episodes are shuffled and
cut into blocks, and frames are shuffled inside their block: a decoder goes through one block after
the other. An epoch sees every frame once; the next one has other blocks.

What a batch holds is a function of (seed, step): an epoch is a fixed number of frames long, so the
step says how many epochs are over and how far the current one is. Nothing else has to be kept for
an exact resume.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int64

_EPISODES, _FRAMES, _BATCH = range(2, 5)
"""Counters of the random numbers; the sampler and the prompts count from 0 and 1."""


class Block(NamedTuple):
    """Name of a block of episodes."""

    pool: int
    epoch: int
    position: int
    """In its epoch."""


class Draw(NamedTuple):
    """The frames of a batch, and the blocks that they come from."""

    frames: Int64[np.ndarray, " b"]
    """Global indices."""
    blocks: tuple[Block, ...]
    block_index: Int64[np.ndarray, " b"]
    """Position in ``blocks`` of every frame's block."""


class BlockOrder:
    """Frames in shuffled blocks of episodes, every pool at its own pace."""

    def __init__(
        self,
        pools: Sequence[tuple[Int64[np.ndarray, " _"], int]],
        episode_ends: Int[np.ndarray, " e"],
        *,
        block_episodes: int,
        seed: int,
    ) -> None:
        """Order frames.

        Args:
            pools: Global indices of the frames of each pool, rising and at least one, and how many
                of a batch come from it. A batch of 8 with the counts 2 and 6 goes through the first
                pool three times as slowly as through a second one of the same size.
            episode_ends: Global index one past every episode's last frame, rising.
            block_episodes: Episodes per block; the last block of an epoch may have fewer.
            seed: Of all shuffling.
        """
        self._seed = seed
        self._num_rows = sum(count for _, count in pools)
        self._pools = [
            _Pool(number, frames, count, episode_ends, block_episodes=block_episodes, seed=seed)
            for number, (frames, count) in enumerate(pools)
            if count
        ]

    @property
    def num_frames(self) -> int:
        """Frames that can be drawn."""
        return sum(pool.num_frames for pool in self._pools)

    def indices(self, step: int) -> Int64[np.ndarray, " b"]:
        """Global indices of the frames of batch ``step``, in random order."""
        return self.draw(step).frames

    def draw(self, step: int) -> Draw:
        """The batch of ``step``: its frames in random order, and where they come from."""
        parts = [pool.part(step) for pool in self._pools]
        firsts = np.cumsum([0] + [len(part.blocks) for part in parts])
        frames = np.concatenate([part.frames for part in parts])
        block_index = np.concatenate(
            [part.block_index + first for part, first in zip(parts, firsts[:-1], strict=True)]
        )
        blocks = tuple(block for part in parts for block in part.blocks)
        order = _rng(self._seed, _BATCH, step).permutation(self._num_rows)
        return Draw(frames[order], blocks, block_index[order])

    def block_frames(self, block: Block) -> Int64[np.ndarray, " f"]:
        """Global indices of a block's frames, rising."""
        return np.sort(self._pool(block).shuffled(block))

    def after(self, block: Block) -> Block:
        """The block that follows in the same pool."""
        position = block.position + 1
        if position < self._pool(block).num_blocks:
            return block._replace(position=position)
        return block._replace(epoch=block.epoch + 1, position=0)

    def _pool(self, block: Block) -> "_Pool":
        return next(pool for pool in self._pools if pool.number == block.pool)


class _Pool:
    """One pool of frames, epoch after epoch."""

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        number: int,
        frames: Int64[np.ndarray, " p"],
        count: int,
        episode_ends: Int[np.ndarray, " e"],
        *,
        block_episodes: int,
        seed: int,
    ) -> None:
        self.number = number
        self.num_frames = len(frames)
        self._count = count
        self._seed = seed
        self._block_episodes = block_episodes
        episode = np.searchsorted(episode_ends, frames, side="right")
        starts = np.flatnonzero(np.diff(episode, prepend=-1))
        self._episodes = np.split(frames, starts[1:])
        """Frames of the pool by episode, episodes without any left out."""
        self._lengths = np.diff(starts, append=len(frames))
        self.num_blocks = -(-len(self._episodes) // block_episodes)
        self._order = lru_cache(maxsize=2)(self._shuffled_episodes)
        self.shuffled = lru_cache(maxsize=8)(self._shuffled_frames)

    def part(self, step: int) -> Draw:
        """This pool's rows of batch ``step``, in the pool's order."""
        position, stop = step * self._count, (step + 1) * self._count
        frames: list[np.ndarray] = []
        blocks: list[Block] = []
        while position < stop:
            epoch, offset = divmod(position, self.num_frames)
            ends = self._block_ends(epoch)
            block = Block(self.number, epoch, int(np.searchsorted(ends, offset, side="right")))
            start = int(ends[block.position - 1]) if block.position else 0
            taken = self.shuffled(block)[offset - start :][: stop - position]
            frames.append(taken)
            blocks.append(block)
            position += len(taken)
        block_index = np.repeat(np.arange(len(blocks)), [len(part) for part in frames])
        return Draw(np.concatenate(frames), tuple(blocks), block_index)

    def _shuffled_episodes(self, epoch: int) -> Int64[np.ndarray, " e"]:
        return _rng(self._seed, _EPISODES, self.number, epoch).permutation(len(self._episodes))

    def _block_ends(self, epoch: int) -> Int64[np.ndarray, " k"]:
        """Frames up to the end of every block of an epoch."""
        ends = np.cumsum(self._lengths[self._order(epoch)])
        last = np.arange(1, self.num_blocks + 1) * self._block_episodes - 1
        return ends[np.minimum(last, len(ends) - 1)]

    def _shuffled_frames(self, block: Block) -> Int64[np.ndarray, " f"]:
        first = block.position * self._block_episodes
        chosen = self._order(block.epoch)[first : first + self._block_episodes]
        frames = np.concatenate([self._episodes[i] for i in chosen])
        return _rng(self._seed, _FRAMES, *block).permutation(frames)


def _rng(seed: int, purpose: int, *numbers: int) -> np.random.Generator:
    entropy = np.random.SeedSequence([seed, purpose, *numbers])
    return np.random.Generator(np.random.Philox(entropy))
