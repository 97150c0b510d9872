"""Rewards and value targets from what an episode is: outcome, length, and the task's statistics.

Times are counted in frames. Where paused frames are skipped, time stands still on them: they earn
no reward, have no target, and do not count towards any length.
"""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from recap_core.errors import ColumnError

DISCOUNTABLE = ("per_task", "return_range")
"""Rules whose targets are sums of their rewards, which a discount may weigh."""

type TargetRule = Literal["reference", "per_task", "fixed_limit", "return_range"]


class Episodes(NamedTuple):
    """What labelling needs to know of a dataset's episodes, in episode order."""

    lengths: Int[np.ndarray, " e"]
    """Frames; their sum is the number of frames of the dataset."""
    success: Bool[np.ndarray, " e"]
    task_index: Int[np.ndarray, " e"]
    round_index: Int[np.ndarray, " e"]
    source_index: Int[np.ndarray, " e"] | None = None
    """Which recording or dataset each comes from, from 0; only thresholds per source need it."""


class ReferenceLabels(NamedTuple):
    """Three of the five columns, for one episode."""

    reward: Float32[np.ndarray, " t"]
    """1 at the last frame of a success, else 0."""
    reward_label: Float32[np.ndarray, " t"]
    """-1/T, and 0 at the last frame, whatever the outcome."""
    value_label: Float32[np.ndarray, " t"]
    """-(T-1-t)/T for a success, -1 for a failure."""


class FrameTargets(NamedTuple):
    """Rewards and value targets of every frame of a dataset."""

    rewards: Float[np.ndarray, " n"]
    """Per-step reward, float64; 0 on skipped frames."""
    targets: Float[np.ndarray, " n"]
    """Value target in [-1, 0], float64; NaN on skipped frames."""
    window_offset: float = 0.0
    """What every window earns beyond its rewards; 0 but for ``return_range``."""


def reference_labels(length: int, *, success: bool) -> ReferenceLabels:
    """The reference columns of one episode of ``length`` frames (SPEC §3.1).

    Raises:
        ValueError: If the episode has no frame.
    """
    if length < 1:
        raise ValueError(f"an episode has at least 1 frame, got {length}")
    reward = np.zeros(length, dtype=np.float32)
    reward[-1] = float(success)
    reward_label = np.full(length, -1 / length, dtype=np.float32)
    reward_label[-1] = 0
    to_go = np.arange(length - 1, -1, -1)
    value_label = -to_go / length if success else np.full(length, -1.0)
    return ReferenceLabels(reward, reward_label, value_label.astype(np.float32) + 0)


def _spans(episodes: Episodes, active_lengths: Int[np.ndarray, " e"]) -> Int[np.ndarray, " e"]:
    """Length of the longest episode of every episode's task."""
    longest = np.zeros(int(episodes.task_index.max()) + 1, dtype=np.int64)
    np.maximum.at(longest, episodes.task_index, active_lengths)
    return longest[episodes.task_index]


def check_episodes(episodes: Episodes, num_frames: int) -> None:
    """Raise ColumnError unless the episodes' arrays agree with each other and with the frames."""
    arrays = episodes._asdict().items()
    sizes = {name: len(array) for name, array in arrays if array is not None}
    if len(set(sizes.values())) != 1:
        raise ColumnError(f"episode arrays differ in length: {sizes}; pass one entry per episode.")
    if not sizes["lengths"] or episodes.lengths.min() < 1 or episodes.lengths.sum() != num_frames:
        raise ColumnError(
            f"{sizes['lengths']} episode lengths sum to {episodes.lengths.sum()} frames, but the "
            f"dataset has {num_frames}, and every episode needs at least one. Validate the dataset."
        )


def frame_targets(  # noqa: PLR0913 - options are keyword-only
    episodes: Episodes,
    *,
    is_skipped: Bool[np.ndarray, " n"],
    rule: TargetRule,
    fail_cost: float = 1.0,
    limit_frames: int | None = None,
    fail_frames: float | None = None,
    discount: float = 1.0,
) -> FrameTargets:
    """Rewards and value targets of a whole dataset under one rule (DESIGN §4).

    With T the frames of the episode that are not skipped, t counted among them, and f = 1 for a
    failure, else 0:

    - ``reference``: target -(T-1-t)/T or -1 (failure); reward -1/T, 0 at the last frame.
    - ``per_task``: with T_max the longest episode of the task and C = ``fail_cost`` * T_max,
      target -(T-1-t + f C)/(T_max + C); reward -1/(T_max + C), at the last frame -f C/(T_max + C).
    - ``fixed_limit``: target max(-1, -(T-1-t)/limit) or -1 (failure); reward -1/limit, 0 at the
      last frame.
    - ``return_range`` (RLinf): reward r -1, at the last frame -f ``fail_frames``; with G the
      return to go and G_min, G_max its extremes over the dataset, target G/abs(G_min), reward
      r/(G_max - G_min), and every window earns -G_max/(G_max - G_min) besides, which is 0 once an
      episode succeeds.

    A discount g weighs step k of a return with g^k, in ``per_task`` and ``return_range``.

    Args:
        episodes: Lengths, outcomes and tasks.
        is_skipped: Frames on which time stands still.
        rule: Which of the four.
        fail_cost: Cost of a failure in units of T_max, for ``per_task``.
        limit_frames: Frames after which an episode is worth -1, for ``fixed_limit``.
        fail_frames: Cost of a failure in frames, for ``return_range``.
        discount: In (0, 1].

    Raises:
        ColumnError: If the arrays do not fit together.
        ValueError: If the rule lacks its number, or knows no discount.
    """
    check_episodes(episodes, len(is_skipped))
    clock = _clock(episodes, is_skipped)
    if discount != 1.0 and rule not in DISCOUNTABLE:
        raise ValueError(f"{rule} has no discount, got {discount}; use {' or '.join(DISCOUNTABLE)}")
    if rule == "per_task":
        result = _per_task(clock, episodes, fail_cost=fail_cost, discount=discount)
    elif rule == "return_range":
        if fail_frames is None or fail_frames < 0:
            raise ValueError(f"return_range needs fail_frames of at least 0, got {fail_frames}")
        made = _returns(clock, np.where(episodes.success, 0.0, fail_frames), discount=discount)
        result = _over_their_range(made, ~is_skipped)
    else:
        if rule == "fixed_limit" and (limit_frames is None or limit_frames < 1):
            raise ValueError(f"fixed_limit needs limit_frames of at least 1, got {limit_frames}")
        span = clock.lengths if rule == "reference" else np.full_like(clock.lengths, limit_frames)
        result = _over_a_span(clock, episodes, span)
    result.rewards[is_skipped] = 0.0
    result.targets[is_skipped] = np.nan
    return FrameTargets(result.rewards + 0.0, result.targets + 0.0, result.window_offset)


def range_targets_if(
    episodes: Episodes,
    success: Bool[np.ndarray, " e"],
    *,
    is_skipped: Bool[np.ndarray, " n"],
    fail_frames: float,
    discount: float = 1.0,
) -> Float[np.ndarray, " n"]:
    """Targets of ``return_range`` had episodes ended otherwise, in units of how they did end.

    A model's values count returns over the range of the episodes that it has seen, so what another
    outcome would be worth must be counted over the same range.

    Args:
        episodes: As they ended.
        success: How they are imagined to have ended.
        is_skipped: As for :func:`frame_targets`, as all of the following.
        fail_frames: Cost of a failure in frames.
        discount: In (0, 1].

    Returns:
        Targets in [-1, 0], clipped there; NaN on skipped frames.

    Raises:
        ColumnError: If the arrays do not fit together.
    """
    check_episodes(episodes, len(is_skipped))
    clock = _clock(episodes, is_skipped)
    seen, imagined = (
        _returns(clock, np.where(ended, 0.0, fail_frames), discount=discount).targets
        for ended in (episodes.success, success)
    )
    lowest = float(seen[~is_skipped].min(initial=0.0))
    targets = np.clip(imagined / (abs(lowest) or 1.0), -1.0, 0.0)
    targets[is_skipped] = np.nan
    return targets + 0.0


class _Clock(NamedTuple):
    """Time that passes on frames that are not skipped."""

    lengths: Int[np.ndarray, " e"]
    """T of every episode."""
    to_go: Int[np.ndarray, " n"]
    """T-1-t of every frame."""
    episodes: Int[np.ndarray, " n"]
    """Episode of every frame."""


def _clock(episodes: Episodes, is_skipped: Bool[np.ndarray, " n"]) -> _Clock:
    starts = np.concatenate([[0], np.cumsum(episodes.lengths)])
    # Active frames after each frame, by subtracting a running count from its value at the end.
    num_active = np.concatenate([[0], np.cumsum(~is_skipped)])
    lengths = num_active[starts[1:]] - num_active[starts[:-1]]
    to_go = np.repeat(num_active[starts[1:]], episodes.lengths) - num_active[1:]
    return _Clock(lengths, to_go, np.repeat(np.arange(len(lengths)), episodes.lengths))


def _returns(clock: _Clock, end_cost: Float[np.ndarray, " e"], *, discount: float) -> FrameTargets:
    """-1 per frame and -``end_cost`` at the last one, with the returns to go, in frames."""
    cost = end_cost[clock.episodes]
    rewards = -np.where(clock.to_go == 0, cost, 1.0)
    if discount == 1.0:
        return FrameTargets(rewards, -(clock.to_go + cost))
    # The sum of a geometric series, and what the end adds to it.
    weight = discount**clock.to_go
    return FrameTargets(rewards, -((1 - weight) / (1 - discount) + weight * cost))


def _over_their_range(raw: FrameTargets, active: Bool[np.ndarray, " n"]) -> FrameTargets:
    """Rewards and returns of ``return_range``, from those in frames."""
    highest = float(raw.targets[active].max(initial=-np.inf)) if active.any() else 0.0
    lowest = float(raw.targets[active].min(initial=np.inf)) if active.any() else 0.0
    targets = raw.targets / (abs(lowest) or 1.0)
    span = highest - lowest
    if not span:
        # RLinf's own answer where all returns are equal: every sum of rewards becomes -0.5.
        return FrameTargets(np.zeros_like(raw.rewards), targets, -0.5)
    return FrameTargets(raw.rewards / span, targets, -highest / span + 0.0)


def _per_task(
    clock: _Clock, episodes: Episodes, *, fail_cost: float, discount: float
) -> FrameTargets:
    """Over the longest episode of the task and the cost of a failure."""
    longest = _spans(episodes, clock.lengths)
    end_cost = np.where(episodes.success, 0.0, fail_cost * longest)
    made = _returns(clock, end_cost, discount=discount)
    scale = np.repeat(1.0 / np.maximum(longest * (1 + fail_cost), 1), episodes.lengths)
    return FrameTargets(made.rewards * scale, made.targets * scale)


def _over_a_span(clock: _Clock, episodes: Episodes, span: Int[np.ndarray, " e"]) -> FrameTargets:
    """Time to go over ``span`` frames; -1 throughout a failure."""
    made = _returns(clock, np.zeros(len(span)), discount=1.0)
    scale = np.repeat(1.0 / np.maximum(span, 1), episodes.lengths)
    targets = np.maximum(made.targets * scale, -1.0)
    targets[np.repeat(~episodes.success, episodes.lengths)] = -1.0
    return FrameTargets(made.rewards * scale, targets)
