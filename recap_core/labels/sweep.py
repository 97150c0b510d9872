"""Many thresholds over the same advantages: a grid of lookaheads and shares."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int8

from recap_core.labels.adv_ind import NAMES, POSITIVE
from recap_core.labels.choice import Group, Judged, ThresholdRule, threshold_groups
from recap_core.labels.labelling import Frames, LabelRule, judge
from recap_core.labels.targets import Episodes
from recap_core.labels.threshold import best_first, num_positive, quantile_threshold

_OUTCOMES = 2
_LABELS = len(NAMES)


class Sweep(NamedTuple):
    """What becomes of the autonomous frames at every point of the grid.

    Axes: lookahead, share, task, outcome (0 failure, 1 success), label before.
    """

    lookaheads: tuple[int | None, ...]
    shares: tuple[float, ...]
    positive: Int[np.ndarray, "n s k 2 3"]
    """Autonomous frames that are positive."""
    total: Int[np.ndarray, "k 2 3"]
    """All autonomous frames."""
    threshold: Float[np.ndarray, "n s g"]
    """Smallest positive advantage of every group; NaN without a pool."""

    def positive_share(self) -> Float[np.ndarray, "n s k"]:
        """Share of positives by task; NaN for a task without autonomous frames."""
        return _ratio(self.positive.sum((-1, -2)), self.total.sum((-1, -2)))

    def outcome_share(self) -> Float[np.ndarray, "n s 2"]:
        """Share of positives in failures and in successes, over all tasks."""
        return _ratio(self.positive.sum((-1, -3)), self.total.sum((-1, -3)))

    def task_outcome_share(self) -> Float[np.ndarray, "n s k 2"]:
        """Share of positives in failures and in successes, by task."""
        return _ratio(self.positive.sum(-1), self.total.sum(-1))

    def agreement(self) -> Float[np.ndarray, "n s"]:
        """How well labels agree with outcomes: 1/2 by chance, 1 if only successes are positive.

        The mean of the share of positives in successes and of negatives in failures; NaN where
        there is only one outcome.
        """
        share = self.outcome_share()
        return (share[..., 1] + 1 - share[..., 0]) / 2

    def flips(self) -> Int[np.ndarray, "n s 2"]:
        """Frames that were positive and are not, and that were not and are."""
        by_label = self.positive.sum((-2, -3))
        were_positive = self.total.sum((-2, -3))[POSITIVE]
        lost = were_positive - by_label[..., POSITIVE]
        gained = by_label.sum(-1) - by_label[..., POSITIVE]
        return np.stack([lost, gained], axis=-1)


def _ratio(part: Int[np.ndarray, "*b"], whole: Int[np.ndarray, "..."]) -> Float[np.ndarray, "*b"]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def sweep(  # noqa: PLR0913 - options are keyword-only
    frames: Frames,
    episodes: Episodes,
    rule: LabelRule,
    *,
    lookaheads: Sequence[int | None],
    shares: Sequence[float],
    before: Int8[np.ndarray, " n"] | None = None,
) -> Sweep:
    """Count labels over the grid of ``lookaheads`` and ``shares``; all else is as ``rule`` says.

    Advantages are made and sorted once per lookahead; a share then only cuts the order elsewhere.

    Args:
        frames: Values and flags by global index.
        episodes: Lengths, outcomes, tasks, rounds.
        rule: What every point has in common; its threshold must not be an absolute one.
        lookaheads: N in frames, or None.
        shares: Of the pool, in (0, 1].
        before: Labels to count flips against; None: those of ``frames``.

    Raises:
        ColumnError: If arrays do not fit together, or a value is missing or outside [-1, 0].
        ValueError: If an option is out of range.
    """
    if rule.threshold.threshold is not None:
        raise ValueError("shares cannot be swept where the rule has an absolute threshold")
    for share in shares:
        num_positive(1, share)
    codes = frames.adv_ind if before is None else before
    num_tasks = int(episodes.task_index.max()) + 1
    kind = episodes.task_index * _OUTCOMES + episodes.success
    category = np.repeat(kind * _LABELS, episodes.lengths) + codes
    shape = (num_tasks, _OUTCOMES, _LABELS)
    positive, thresholds, total = [], [], np.zeros(shape, dtype=np.int64)
    for lookahead in lookaheads:
        judged = judge(frames, episodes, rule._replace(lookahead=lookahead))
        counted = np.where(judged.is_autonomous, category, num_tasks * _OUTCOMES * _LABELS)
        total = _counts(counted, shape)
        points = _points(judged, episodes, rule.threshold, shares=shares, counted=counted)
        positive.append(np.stack([_reshaped(point, shape) for point in points.counts]))
        thresholds.append(points.threshold)
    return Sweep(tuple(lookaheads), tuple(shares), np.stack(positive), total, np.stack(thresholds))


class _Points(NamedTuple):
    """One lookahead: for every share, frames by category and the groups' thresholds."""

    counts: Int[np.ndarray, "s c"]
    threshold: Float[np.ndarray, "s g"]


def _points(
    judged: Judged,
    episodes: Episodes,
    rule: ThresholdRule,
    *,
    shares: Sequence[float],
    counted: Int[np.ndarray, " n"],
) -> _Points:
    num_categories = int(counted.max(initial=0)) + 1
    counts = np.zeros((len(shares), num_categories), dtype=np.int64)
    thresholds: list[Float[np.ndarray, " s"]] = []
    for group in threshold_groups(judged, episodes, scope=rule.scope, pool=rule.pool):
        advantage = judged.advantage[group.pool]
        order = best_first(advantage)
        falling = advantage[order]
        cuts = [_cut(falling, share, rule) for share in shares] if falling.size else []
        found = np.array([cut.threshold for cut in cuts] or [np.nan] * len(shares))
        thresholds.append(found)
        if not cuts:
            continue
        counts += _prefix_counts(
            counted[group.pool][order], [cut.num_positive for cut in cuts], num_categories
        )
        others = _outside_the_pool(judged, group)
        if others.size:
            rest = judged.advantage[others]
            order = best_first(rest)
            number = [
                _num_reaching(rest[order], cut.threshold, strictly=rule.comparison == "above")
                for cut in cuts
            ]
            counts += _prefix_counts(counted[others][order], number, num_categories)
    return _Points(counts, np.stack(thresholds, axis=1))


class _Cut(NamedTuple):
    """Where a share ends in the order of a pool."""

    num_positive: int
    threshold: float


def _cut(falling: Float32[np.ndarray, " p"], share: float, rule: ThresholdRule) -> _Cut:
    if rule.selection == "exact_share":
        count = num_positive(len(falling), share)
        return _Cut(count, float(falling[count - 1]))
    threshold = quantile_threshold(falling, share)
    strictly = rule.comparison == "above"
    return _Cut(_num_reaching(falling, threshold, strictly=strictly), threshold)


def _num_reaching(falling: Float32[np.ndarray, " p"], threshold: float, *, strictly: bool) -> int:
    """How many of the falling numbers are at least, or above, a threshold."""
    limit = -falling.dtype.type(threshold)
    return int(np.searchsorted(-falling, limit, side="left" if strictly else "right"))


def _outside_the_pool(judged: Judged, group: Group) -> Int[np.ndarray, " q"]:
    """Autonomous frames of the group that the threshold decides about and is not made from."""
    rest = np.zeros(len(judged.advantage), dtype=bool)
    rest[group.members] = judged.is_autonomous[group.members]
    rest[group.pool] = False
    return np.flatnonzero(rest)


def _prefix_counts(
    categories: Int[np.ndarray, " p"], ends: Sequence[int], num_categories: int
) -> Int[np.ndarray, "s c"]:
    """Categories among the first ``end`` entries, for every end; each entry is counted once."""
    counts = np.zeros((len(ends), num_categories), dtype=np.int64)
    sums = np.zeros(num_categories, dtype=np.int64)
    start = 0
    for position in np.argsort(ends, kind="stable").tolist():
        end = ends[position]
        sums = sums + np.bincount(categories[start:end], minlength=num_categories)
        counts[position] = sums
        start = end
    return counts


def _counts(counted: Int[np.ndarray, " n"], shape: tuple[int, ...]) -> Int[np.ndarray, "k 2 3"]:
    return _reshaped(np.bincount(counted, minlength=int(np.prod(shape)) + 1), shape)


def _reshaped(counts: Int[np.ndarray, " c"], shape: tuple[int, ...]) -> Int[np.ndarray, "k 2 3"]:
    """Counts by category without the last one, of frames that are not counted."""
    size = int(np.prod(shape))
    padded = np.zeros(max(size, len(counts)), dtype=np.int64)
    padded[: len(counts)] = counts
    return padded[:size].reshape(shape)
