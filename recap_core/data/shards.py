"""Which part of the work one of several processes does."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from recap_core.errors import ConfigError


class Shard(NamedTuple):
    """One process of several that work on the same batches or the same dataset.

    Parts are consecutive: those of all processes, in their order, make up the whole.
    """

    process_index: int = 0
    num_processes: int = 1

    def rows(self, batch_size: int) -> slice:
        """This process's rows of a batch.

        Raises:
            ConfigError: If the batch cannot be divided evenly, or there is no such process.
        """
        self._check()
        if batch_size % self.num_processes:
            raise ConfigError(
                f"batch_size is {batch_size}, which {self.num_processes} processes cannot share "
                "evenly. Make it a multiple of their number."
            )
        share = batch_size // self.num_processes
        return slice(self.process_index * share, (self.process_index + 1) * share)

    def episodes(self, episode_lengths: Int[np.ndarray, " e"]) -> range:
        """This process's range of episodes, about equal in frames; it may be empty.

        Raises:
            ConfigError: If there is no such process.
        """
        self._check()
        ends = np.cumsum(episode_lengths)
        total = int(ends[-1]) if len(ends) else 0
        # An episode belongs to the process in whose share of the frames its middle lies.
        middles = ends - np.asarray(episode_lengths) / 2
        bounds = np.arange(self.process_index, self.process_index + 2) * total / self.num_processes
        first, stop = np.searchsorted(middles, bounds).tolist()
        return range(first, stop)

    def _check(self) -> None:
        if not 0 <= self.process_index < self.num_processes:
            raise ConfigError(
                f"process {self.process_index} of {self.num_processes} does not exist; they count "
                "from 0. Correct process_index."
            )
