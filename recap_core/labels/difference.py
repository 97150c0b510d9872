"""Two label sets beside each other, frame by frame."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int8

from recap_core.labels.adv_ind import NAMES


class MatchedEpisodes(NamedTuple):
    """Which episode of one dataset is which of another."""

    before: Int[np.ndarray, " m"]
    after: Int[np.ndarray, " m"]
    """The same episode in the second dataset."""
    num_only_before: int
    num_only_after: int
    num_resized: int
    """Episodes that are in both, with another number of frames; they are not matched."""


def match_episodes(
    before: Sequence[Hashable],
    after: Sequence[Hashable],
    *,
    lengths_before: Int[np.ndarray, " a"],
    lengths_after: Int[np.ndarray, " b"],
) -> MatchedEpisodes:
    """Match episodes by what identifies them; of several alike the first one counts.

    Args:
        before: What identifies every episode of the first dataset.
        after: The same of the second one.
        lengths_before: Frames of every episode of the first dataset.
        lengths_after: The same of the second one.
    """
    first_before, first_after = _firsts(before), _firsts(after)
    pairs = [(i, first_after[key]) for key, i in first_before.items() if key in first_after]
    same = [(i, j) for i, j in pairs if lengths_before[i] == lengths_after[j]]
    return MatchedEpisodes(
        np.array([i for i, _ in same], dtype=np.int64),
        np.array([j for _, j in same], dtype=np.int64),
        len(first_before) - len(pairs),
        len(first_after) - len(pairs),
        len(pairs) - len(same),
    )


def _firsts(keys: Sequence[Hashable]) -> dict[Hashable, int]:
    found: dict[Hashable, int] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, position)
    return found


def frames_of(
    chosen: Int[np.ndarray, " m"], lengths: Int[np.ndarray, " e"]
) -> Int[np.ndarray, " n"]:
    """Global indices of the frames of some episodes, in the order of the episodes."""
    starts = np.cumsum(lengths) - lengths
    sizes = lengths[chosen]
    begins = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) + np.repeat(starts[chosen] - begins, sizes)


def transitions(
    before: Int8[np.ndarray, " n"],
    after: Int8[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    *,
    num_groups: int,
) -> Int[np.ndarray, "g 3 3"]:
    """Frames of every group by label before (rows) and after (columns)."""
    size = len(NAMES)
    kind = (group * size + before) * size + after
    return np.bincount(kind, minlength=num_groups * size * size).reshape(num_groups, size, size)
