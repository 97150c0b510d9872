"""Which frames of which group are positive: one threshold per task, source or dataset."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from recap_core.errors import ColumnError
from recap_core.labels.targets import Episodes
from recap_core.labels.threshold import quantile_threshold, reaches, top_share

type PoolRule = Literal["autonomous", "autonomous_latest_round", "all"]
type ThresholdScope = Literal["task", "source", "dataset"]
type Selection = Literal["exact_share", "quantile"]
type Comparison = Literal["at_least", "above"]


class ThresholdRule(NamedTuple):
    """How a threshold is found, and what it decides."""

    share: float = 0.4
    """Of the pool, in (0, 1]."""
    threshold: float | None = None
    """An advantage, in place of a share."""
    scope: ThresholdScope = "task"
    pool: PoolRule = "autonomous_latest_round"
    selection: Selection = "exact_share"
    comparison: Comparison = "at_least"


class Judged(NamedTuple):
    """Advantages, and which frames a threshold may look at and decide about."""

    advantage: Float32[np.ndarray, " n"]
    is_autonomous: Bool[np.ndarray, " n"]
    """Frames that the policy drove and on which time passes."""
    is_labelled: Bool[np.ndarray, " n"]
    """All frames on which time passes."""


class Choice(NamedTuple):
    """What the thresholds say of every frame, and of every group."""

    is_positive: Bool[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]
    """Position in the group's pool, 0 for the largest advantage; -1 outside."""
    threshold: Float32[np.ndarray, " g"]
    """Of every group; NaN for a group without a pool."""
    pool_size: Int[np.ndarray, " g"]
    num_positive: Int[np.ndarray, " g"]
    """Positive frames of the pool."""
    autonomous_positive_share: float
    """Share of positives among the autonomous frames of all pools; 0 if there are none."""


class Group(NamedTuple):
    """One group of frames with a threshold of its own."""

    number: int
    members: Bool[np.ndarray, " n"] | slice
    """All of its frames."""
    pool: Int[np.ndarray, " p"]
    """Frames whose advantages set the threshold, by rising global index."""


def group_of_episodes(episodes: Episodes, scope: ThresholdScope) -> Int[np.ndarray, " e"]:
    """Number of the group that every episode belongs to.

    Raises:
        ColumnError: If thresholds are per source, and no sources are given.
    """
    if scope == "task":
        return episodes.task_index
    if scope == "dataset":
        return np.zeros_like(episodes.task_index)
    if episodes.source_index is None:
        raise ColumnError(
            "thresholds per source need a source per episode, and this dataset names none. "
            "Choose thresholds per task or per dataset."
        )
    return episodes.source_index


def pool_frames(
    is_autonomous: Bool[np.ndarray, " n"],
    is_labelled: Bool[np.ndarray, " n"],
    rounds: Int[np.ndarray, " n"],
    *,
    pool: PoolRule,
) -> Bool[np.ndarray, " n"]:
    """Frames of one threshold group whose advantages set the threshold.

    Args:
        is_autonomous: Frames of the group that the policy drove.
        is_labelled: All frames of the group on which time passes.
        rounds: Round of every frame.
        pool: ``autonomous``; ``autonomous_latest_round``: those of the group's latest round that
            has any; ``all``: with corrections and demonstrations.
    """
    if pool == "all":
        return is_labelled
    if pool == "autonomous" or not is_autonomous.any():
        return is_autonomous
    return is_autonomous & (rounds == rounds[is_autonomous].max())


def threshold_groups(
    judged: Judged, episodes: Episodes, *, scope: ThresholdScope, pool: PoolRule
) -> Iterator[Group]:
    """Every group with its pool, which may be empty.

    Raises:
        ColumnError: If thresholds are per source, and no sources are given.
    """
    numbers = group_of_episodes(episodes, scope)
    num_groups = int(numbers.max()) + 1
    of_frame = np.repeat(numbers, episodes.lengths) if num_groups > 1 else None
    rounds = np.repeat(episodes.round_index, episodes.lengths)
    for number in range(num_groups):
        if of_frame is None:
            mine = pool_frames(judged.is_autonomous, judged.is_labelled, rounds, pool=pool)
            yield Group(number, slice(None), np.flatnonzero(mine))
            continue
        member = of_frame == number
        mine = pool_frames(
            judged.is_autonomous & member, judged.is_labelled & member, rounds, pool=pool
        )
        yield Group(number, member, np.flatnonzero(mine))


def choose(judged: Judged, episodes: Episodes, rule: ThresholdRule) -> Choice:
    """Apply the threshold of every group to the group's frames.

    Raises:
        ColumnError: If thresholds are per source, and no sources are given.
        ValueError: If the share is outside (0, 1].
    """
    advantage, is_autonomous = judged.advantage, judged.is_autonomous
    num_groups = int(group_of_episodes(episodes, rule.scope).max()) + 1
    choice = Choice(
        is_positive=np.zeros(len(advantage), dtype=bool),
        rank=np.full(len(advantage), -1, dtype=np.int64),
        threshold=np.full(num_groups, np.nan, dtype=np.float32),
        pool_size=np.zeros(num_groups, dtype=np.int64),
        num_positive=np.zeros(num_groups, dtype=np.int64),
        autonomous_positive_share=0.0,
    )
    num_judged = num_positive_judged = 0
    for group in threshold_groups(judged, episodes, scope=rule.scope, pool=rule.pool):
        if not group.pool.size and rule.threshold is None:
            continue
        _apply(choice, advantage, group, rule)
        in_pool = choice.is_positive[group.pool]
        choice.pool_size[group.number] = group.pool.size
        choice.num_positive[group.number] = in_pool.sum()
        num_judged += int(is_autonomous[group.pool].sum())
        num_positive_judged += int(in_pool[is_autonomous[group.pool]].sum())
    return choice._replace(autonomous_positive_share=num_positive_judged / max(num_judged, 1))


def _apply(
    choice: Choice, advantage: Float32[np.ndarray, " n"], group: Group, rule: ThresholdRule
) -> None:
    """Fill in one group."""
    strictly = rule.comparison == "above"
    pool: Float[np.ndarray, " p"] = advantage[group.pool]
    best = top_share(pool, rule.share) if pool.size else None
    if best is not None:
        choice.rank[group.pool] = best.rank
    if rule.threshold is not None:
        threshold = rule.threshold
    elif rule.selection == "quantile" or best is None:
        threshold = quantile_threshold(pool, rule.share)
    else:
        threshold = best.threshold
    choice.threshold[group.number] = threshold
    choice.is_positive[group.members] = reaches(
        advantage[group.members], threshold, strictly=strictly
    )
    if best is not None and rule.threshold is None and rule.selection == "exact_share":
        choice.is_positive[group.pool] = best.is_positive
