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

type TargetRule = Literal["reference", "per_task", "fixed_limit"]


class Episodes(NamedTuple):
    """What labelling needs to know of a dataset's episodes, in episode order."""

    lengths: Int[np.ndarray, " e"]
    """Frames; their sum is the number of frames of the dataset."""
    success: Bool[np.ndarray, " e"]
    task_index: Int[np.ndarray, " e"]
    round_index: Int[np.ndarray, " e"]


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
    sizes = {name: len(array) for name, array in episodes._asdict().items()}
    if len(set(sizes.values())) != 1:
        raise ColumnError(f"episode arrays differ in length: {sizes}; pass one entry per episode.")
    if not sizes["lengths"] or episodes.lengths.min() < 1 or episodes.lengths.sum() != num_frames:
        raise ColumnError(
            f"{sizes['lengths']} episode lengths sum to {episodes.lengths.sum()} frames, but the "
            f"dataset has {num_frames}, and every episode needs at least one. Validate the dataset."
        )


def frame_targets(
    episodes: Episodes,
    *,
    is_skipped: Bool[np.ndarray, " n"],
    rule: TargetRule,
    fail_cost: float = 1.0,
    limit_frames: int | None = None,
) -> FrameTargets:
    """Rewards and value targets of a whole dataset under one rule (DESIGN §4).

    With T the frames of the episode that are not skipped, t counted among them, and f = 1 for a
    failure, else 0:

    - ``reference``: target -(T-1-t)/T or -1 (failure); reward -1/T, 0 at the last frame.
    - ``per_task``: with T_max the longest episode of the task and C = ``fail_cost`` * T_max,
      target -(T-1-t + f C)/(T_max + C); reward -1/(T_max + C), at the last frame -f C/(T_max + C).
    - ``fixed_limit``: target max(-1, -(T-1-t)/limit) or -1 (failure); reward -1/limit, 0 at the
      last frame.

    Args:
        episodes: Lengths, outcomes and tasks.
        is_skipped: Frames on which time stands still.
        rule: Which of the three.
        fail_cost: Cost of a failure in units of T_max, for ``per_task``.
        limit_frames: Frames after which an episode is worth -1, for ``fixed_limit``.

    Raises:
        ColumnError: If the arrays do not fit together.
        ValueError: If ``fixed_limit`` has no limit.
    """
    check_episodes(episodes, len(is_skipped))
    starts = np.concatenate([[0], np.cumsum(episodes.lengths)])
    # Active frames after each frame, by subtracting a running count from its value at the end.
    num_active = np.concatenate([[0], np.cumsum(~is_skipped)])
    active_lengths = num_active[starts[1:]] - num_active[starts[:-1]]
    to_go = np.repeat(num_active[starts[1:]], episodes.lengths) - num_active[1:]
    if rule == "reference":
        span, end_cost, fail_offset = active_lengths, np.zeros(len(active_lengths)), None
    elif rule == "per_task":
        longest = _spans(episodes, active_lengths)
        fail_offset = np.where(episodes.success, 0.0, fail_cost * longest)
        span, end_cost = longest * (1 + fail_cost), fail_offset
    else:
        if limit_frames is None or limit_frames < 1:
            raise ValueError(f"fixed_limit needs limit_frames of at least 1, got {limit_frames}")
        span = np.full(len(active_lengths), limit_frames)
        end_cost, fail_offset = np.zeros(len(active_lengths)), None
    scale = np.repeat(1.0 / np.maximum(span, 1), episodes.lengths)
    is_last = to_go == 0
    rewards = -scale * np.where(is_last, np.repeat(end_cost, episodes.lengths), 1.0)
    if fail_offset is None:
        targets = np.maximum(-to_go * scale, -1.0)
        targets[np.repeat(~episodes.success, episodes.lengths)] = -1.0
    else:
        targets = -(to_go + np.repeat(fail_offset, episodes.lengths)) * scale
    rewards[is_skipped] = 0.0
    targets[is_skipped] = np.nan
    return FrameTargets(rewards + 0.0, targets + 0.0)
