"""From values to labels: every frame of a dataset in one pass of array arithmetic."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int8

from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import NAMES, assign_adv_ind
from recap_core.labels.advantage import TailRule, tail_values, window_advantages
from recap_core.labels.targets import (
    Episodes,
    FrameTargets,
    TargetRule,
    check_episodes,
    frame_targets,
)
from recap_core.labels.threshold import top_share

type PoolRule = Literal["autonomous", "autonomous_latest_round", "all"]
type PausedRule = Literal["autonomous", "skip"]


class Frames(NamedTuple):
    """What labelling needs to know of a dataset's frames, by global index."""

    values: Float[np.ndarray, " n"]
    """V(o_t) in [-1, 0]; may be NaN on demonstrations unless they are in the pool."""
    is_intervention: Bool[np.ndarray, " n"]
    is_paused: Bool[np.ndarray, " n"]
    adv_ind: Int8[np.ndarray, " n"]
    """Codes before labelling; demonstrations keep them."""


class LabelResult(NamedTuple):
    """Labels of every frame, and how they came about."""

    advantage: Float32[np.ndarray, " n"]
    """NaN where it is undefined: skipped frames, and frames without a value."""
    adv_ind: Int8[np.ndarray, " n"]
    """Codes of :data:`recap_core.labels.adv_ind.NAMES`."""
    rank: Int[np.ndarray, " n"]
    """Position in the pool, 0 for the largest advantage; -1 outside the pool."""
    threshold: Float32[np.ndarray, " k"]
    """Smallest positive advantage of every task; NaN for a task without a pool."""
    counts: dict[str, int]
    """Frames of every label."""
    autonomous_positive_share: float
    """Share of positives among the autonomous frames of the pool; 0 if there are none."""


def demonstration_frames(
    lengths: Int[np.ndarray, " e"], is_intervention: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Whether every frame of the frame's episode was driven by a human."""
    ends = np.cumsum(lengths)
    corrected = np.concatenate([[0], np.cumsum(is_intervention)])
    return np.repeat(corrected[ends] - corrected[ends - lengths] == lengths, lengths)


def _check_frames(frames: Frames, needs_value: Bool[np.ndarray, " n"]) -> None:
    """Raise ColumnError unless every value that is needed is a number in [-1, 0]."""
    values = frames.values
    # A softmax expectation can leave [-1, 0] by rounding; nothing else may.
    bad = np.flatnonzero(needs_value & ~((values >= -1.0001) & (values <= 0.0001)))
    if bad.size:
        raise ColumnError(
            f"V of frame {bad[0]} is {values[bad[0]]:.4g}, outside [-1, 0] "
            f"({bad.size} of {len(values)} frames are). Infer the values of this dataset again."
        )


def frame_advantages(  # noqa: PLR0913 - options are keyword-only
    frames: Frames,
    episodes: Episodes,
    targets: FrameTargets,
    *,
    is_skipped: Bool[np.ndarray, " n"],
    lookahead: int | None,
    tail: TailRule,
    cut_at_takeover: bool,
) -> Float32[np.ndarray, " n"]:
    """Advantage of every frame of a dataset; NaN on skipped frames and on frames without a value.

    Args:
        frames: Values and flags by global index.
        episodes: Lengths and outcomes.
        targets: Rewards of the frames.
        is_skipped: Frames on which time stands still.
        lookahead: N in frames; None: to the end of the episode.
        tail: Value past the last frame.
        cut_at_takeover: End windows at the first corrected frame after their start.

    Raises:
        ValueError: If ``lookahead`` is below 1.
    """
    active = ~is_skipped
    position = np.concatenate([[0], np.cumsum(active)])
    ends = np.cumsum(episodes.lengths)
    active_ends = position[ends]
    active_lengths = active_ends - position[ends - episodes.lengths]
    values = frames.values[active]
    # An episode that is paused throughout has no last frame; it has no window either.
    last = np.maximum(active_ends - 1, 0)
    last_values = values[last] if len(values) else np.zeros(len(last))
    end_values = tail_values(last_values, episodes.success, rule=tail, lookahead=lookahead)
    advantage = np.full(len(is_skipped), np.nan, dtype=np.float32)
    advantage[active] = window_advantages(
        targets.rewards[active],
        values,
        episode_ends=np.repeat(active_ends, active_lengths),
        end_values=np.repeat(end_values, active_lengths),
        lookahead=lookahead,
        takeovers=frames.is_intervention[active] if cut_at_takeover else None,
    )
    return advantage


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


class _Choice(NamedTuple):
    is_positive: Bool[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]
    threshold: Float32[np.ndarray, " k"]
    autonomous_positive_share: float


def _choose(  # noqa: PLR0913 - options are keyword-only
    advantage: Float32[np.ndarray, " n"],
    episodes: Episodes,
    *,
    is_autonomous: Bool[np.ndarray, " n"],
    is_skipped: Bool[np.ndarray, " n"],
    positive_share: float,
    per_task: bool,
    pool: PoolRule,
) -> _Choice:
    """Apply the threshold of every group (task, or the whole dataset) to the group's frames."""
    tasks = np.repeat(episodes.task_index, episodes.lengths)
    rounds = np.repeat(episodes.round_index, episodes.lengths)
    num_tasks = int(episodes.task_index.max()) + 1
    choice = _Choice(
        is_positive=np.zeros(len(advantage), dtype=bool),
        rank=np.full(len(advantage), -1, dtype=np.int64),
        threshold=np.full(num_tasks, np.nan, dtype=np.float32),
        autonomous_positive_share=0.0,
    )
    num_judged = num_positive_judged = 0
    for task in range(num_tasks) if per_task else (None,):
        in_group = np.ones(len(tasks), dtype=bool) if task is None else tasks == task
        members = pool_frames(is_autonomous & in_group, in_group & ~is_skipped, rounds, pool=pool)
        index = np.flatnonzero(members)
        if not index.size:
            continue
        best = top_share(advantage[index], positive_share)
        choice.threshold[slice(None) if task is None else task] = best.threshold
        choice.is_positive[in_group] = advantage[in_group] >= best.threshold
        choice.is_positive[index] = best.is_positive
        choice.rank[index] = best.rank
        num_judged += int(is_autonomous[index].sum())
        num_positive_judged += int(best.is_positive[is_autonomous[index]].sum())
    return choice._replace(autonomous_positive_share=num_positive_judged / max(num_judged, 1))


def _result(
    advantage: Float32[np.ndarray, " n"], adv_ind: Int8[np.ndarray, " n"], choice: _Choice
) -> LabelResult:
    counts = np.bincount(adv_ind, minlength=len(NAMES))
    return LabelResult(
        advantage=advantage,
        adv_ind=adv_ind,
        rank=choice.rank,
        threshold=choice.threshold,
        counts={name: int(counts[code]) for code, name in enumerate(NAMES)},
        autonomous_positive_share=choice.autonomous_positive_share,
    )


def label_frames(  # noqa: PLR0913 - options are keyword-only
    frames: Frames,
    episodes: Episodes,
    *,
    lookahead: int | None = 50,
    positive_share: float = 0.4,
    per_task: bool = True,
    rule: TargetRule = "per_task",
    fail_cost: float = 1.0,
    limit_frames: int | None = None,
    tail: TailRule = "last_value",
    cut_at_takeover: bool = False,
    pool: PoolRule = "autonomous_latest_round",
    paused_frames: PausedRule = "skip",
) -> LabelResult:
    """Label a whole dataset (SPEC §9, DESIGN §4). The options are those of ``LabelConfig``.

    The threshold comes from the pool, where exactly floor((n-1) * share) + 1 frames are positive;
    autonomous frames outside the pool are positive from the threshold upwards. Corrections are
    positive, demonstrations keep their labels, skipped frames have none.

    Raises:
        ColumnError: If arrays do not fit together, or a value is missing or outside [-1, 0].
        ValueError: If an option is out of range.
    """
    num_frames = len(frames.values)
    check_episodes(episodes, num_frames)
    is_skipped = frames.is_paused if paused_frames == "skip" else np.zeros(num_frames, dtype=bool)
    is_demonstration = demonstration_frames(episodes.lengths, frames.is_intervention)
    _check_frames(frames, ~is_skipped & (~is_demonstration | (pool == "all")))
    targets = frame_targets(
        episodes, is_skipped=is_skipped, rule=rule, fail_cost=fail_cost, limit_frames=limit_frames
    )
    advantage = frame_advantages(
        frames,
        episodes,
        targets,
        is_skipped=is_skipped,
        lookahead=lookahead,
        tail=tail,
        cut_at_takeover=cut_at_takeover,
    )
    choice = _choose(
        advantage,
        episodes,
        is_autonomous=~(frames.is_intervention | is_skipped),
        is_skipped=is_skipped,
        positive_share=positive_share,
        per_task=per_task,
        pool=pool,
    )
    adv_ind = assign_adv_ind(
        choice.is_positive,
        frames.adv_ind,
        is_intervention=frames.is_intervention,
        is_demonstration=is_demonstration,
        is_skipped=is_skipped,
    )
    return _result(advantage, adv_ind, choice)
