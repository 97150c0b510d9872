"""From values to labels: every frame of a dataset in one pass of array arithmetic."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int8

from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import (
    NAMES,
    DemonstrationRule,
    FrozenRule,
    HumanRule,
    assign_adv_ind,
)
from recap_core.labels.advantage import TailRule, tail_values, window_advantages, window_ends
from recap_core.labels.choice import Choice, Judged, ThresholdRule, choose
from recap_core.labels.targets import (
    Episodes,
    FrameTargets,
    TargetRule,
    check_episodes,
    frame_targets,
)

type PausedRule = Literal["autonomous", "skip"]


class Frames(NamedTuple):
    """What labelling needs to know of a dataset's frames, by global index."""

    values: Float[np.ndarray, " n"]
    """V(o_t) in [-1, 0]; may be NaN on demonstrations unless their advantage is needed."""
    is_intervention: Bool[np.ndarray, " n"]
    is_paused: Bool[np.ndarray, " n"]
    adv_ind: Int8[np.ndarray, " n"]
    """Codes before labelling; demonstrations keep them."""
    is_frozen: Bool[np.ndarray, " n"] | None = None
    """Corrections in which an arm stood still (SPEC §17); None: not asked for."""


class LabelRule(NamedTuple):
    """A label rule as data; the defaults are the paper's for rounds (DESIGN §4)."""

    lookahead: int | None = 50
    """N in frames; None: to the end of the episode."""
    target_rule: TargetRule = "per_task"
    fail_cost: float = 1.0
    limit_frames: int | None = None
    fail_frames: float | None = None
    discount: float = 1.0
    tail: TailRule = "last_value"
    cut_at_takeover: bool = False
    paused_frames: PausedRule = "skip"
    threshold: ThresholdRule = ThresholdRule()
    interventions: HumanRule = "positive"
    demonstrations: DemonstrationRule = "keep"
    frozen: FrozenRule = "by_advantage"


class LabelResult(NamedTuple):
    """Labels of every frame, and how they came about."""

    advantage: Float32[np.ndarray, " n"]
    """NaN where it is undefined: skipped frames, and frames without a value."""
    adv_ind: Int8[np.ndarray, " n"]
    """Codes of :data:`recap_core.labels.adv_ind.NAMES`."""
    choice: Choice
    """Thresholds, ranks and shares."""
    counts: dict[str, int]
    """Frames of every label."""


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
        if np.isnan(values[bad]).all():
            raise ColumnError(
                f"V of frame {bad[0]} is missing ({bad.size} of {len(values)} frames lack it), and "
                "this rule needs it. Infer the values of all frames of this dataset, or choose a "
                "rule whose pool and labels leave demonstrations out."
            )
        raise ColumnError(
            f"V of frame {bad[0]} is {values[bad[0]]:.4g}, outside [-1, 0] "
            f"({bad.size} of {len(values)} frames are). Infer the values of this dataset again."
        )


class Windows(NamedTuple):
    """What every frame's advantage is made of, by global index; -1 or NaN on skipped frames."""

    ends: Int[np.ndarray, " n"]
    """Frame whose value ends the window; the episode's end where the window reaches past it."""
    end_values: Float[np.ndarray, " n"]
    """Value at the end of the window."""


def is_skipped(frames: Frames, rule: LabelRule) -> Bool[np.ndarray, " n"]:
    """Frames on which time stands still."""
    if rule.paused_frames == "skip":
        return frames.is_paused
    return np.zeros(len(frames.is_paused), dtype=bool)


def targets_of(frames: Frames, episodes: Episodes, rule: LabelRule) -> FrameTargets:
    """Rewards and value targets under a rule.

    Raises:
        ColumnError: If the arrays do not fit together.
        ValueError: If an option is out of range.
    """
    return frame_targets(
        episodes,
        is_skipped=is_skipped(frames, rule),
        rule=rule.target_rule,
        fail_cost=rule.fail_cost,
        limit_frames=rule.limit_frames,
        fail_frames=rule.fail_frames,
        discount=rule.discount,
    )


class _ActiveFrames(NamedTuple):
    """The frames on which time passes, laid end to end."""

    active: Bool[np.ndarray, " n"]
    values: Float[np.ndarray, " m"]
    takeovers: Bool[np.ndarray, " m"] | None
    episode_ends: Int[np.ndarray, " m"]
    end_values: Float[np.ndarray, " m"]


def _active_frames(frames: Frames, episodes: Episodes, rule: LabelRule) -> _ActiveFrames:
    active = ~is_skipped(frames, rule)
    position = np.concatenate([[0], np.cumsum(active)])
    ends = np.cumsum(episodes.lengths)
    active_ends = position[ends]
    active_lengths = active_ends - position[ends - episodes.lengths]
    values = frames.values[active]
    # An episode that is paused throughout has no last frame; it has no window either.
    last = np.maximum(active_ends - 1, 0)
    last_values = values[last] if len(values) else np.zeros(len(last))
    tails = tail_values(last_values, episodes.success, rule=rule.tail, lookahead=rule.lookahead)
    return _ActiveFrames(
        active,
        values,
        frames.is_intervention[active] if rule.cut_at_takeover else None,
        np.repeat(active_ends, active_lengths),
        np.repeat(tails, active_lengths),
    )


def frame_advantages(
    frames: Frames, episodes: Episodes, rule: LabelRule
) -> Float32[np.ndarray, " n"]:
    """Advantage of every frame of a dataset; NaN on skipped frames and on frames without a value.

    Raises:
        ColumnError: If the arrays do not fit together.
        ValueError: If an option is out of range.
    """
    targets = targets_of(frames, episodes, rule)
    found = _active_frames(frames, episodes, rule)
    advantage = np.full(len(frames.values), np.nan, dtype=np.float32)
    advantage[found.active] = targets.window_offset + window_advantages(
        targets.rewards[found.active],
        found.values,
        episode_ends=found.episode_ends,
        end_values=found.end_values,
        lookahead=rule.lookahead,
        takeovers=found.takeovers,
        discount=rule.discount,
    )
    return advantage


def frame_windows(frames: Frames, episodes: Episodes, rule: LabelRule) -> Windows:
    """Where every frame's window ends, and with which value."""
    found = _active_frames(frames, episodes, rule)
    ends = window_ends(found.episode_ends, lookahead=rule.lookahead, takeovers=found.takeovers)
    is_past = ends == found.episode_ends
    next_value = np.append(found.values.astype(np.float64), np.nan)[ends]
    # Global index of every active frame, and of the end of every frame's episode.
    index = np.append(np.flatnonzero(found.active), 0)
    past = np.repeat(np.cumsum(episodes.lengths), episodes.lengths)[found.active]
    windows = Windows(
        np.full(len(frames.values), -1, dtype=np.int64), np.full(len(frames.values), np.nan)
    )
    windows.ends[found.active] = np.where(is_past, past, index[ends])
    windows.end_values[found.active] = np.where(is_past, found.end_values, next_value)
    return windows


def judge(frames: Frames, episodes: Episodes, rule: LabelRule) -> Judged:
    """Advantages of a dataset, and which frames a threshold is about.

    Raises:
        ColumnError: If arrays do not fit together, or a value is missing or outside [-1, 0].
        ValueError: If an option is out of range.
    """
    check_episodes(episodes, len(frames.values))
    skipped = is_skipped(frames, rule)
    needs_value = ~skipped
    if rule.threshold.pool != "all" and rule.demonstrations != "by_advantage":
        needs_value &= ~demonstration_frames(episodes.lengths, frames.is_intervention)
    _check_frames(frames, needs_value)
    advantage = frame_advantages(frames, episodes, rule)
    return Judged(advantage, ~(frames.is_intervention | skipped), ~skipped)


def label_frames(
    frames: Frames, episodes: Episodes, rule: LabelRule = LabelRule(), judged: Judged | None = None
) -> LabelResult:
    """Label a whole dataset (SPEC §9, DESIGN §4).

    The threshold comes from the pool, where exactly floor((n-1) * share) + 1 frames are positive;
    autonomous frames outside the pool are positive from the threshold upwards. Corrections are
    positive, demonstrations keep their labels, skipped frames have none, unless the rule says
    otherwise.

    Args:
        frames: Values and flags by global index.
        episodes: Lengths, outcomes, tasks, rounds.
        rule: What to do.
        judged: From :func:`judge` with a rule that differs in its threshold alone; None: made here.

    Raises:
        ColumnError: If arrays do not fit together, or a value is missing or outside [-1, 0].
        ValueError: If an option is out of range.
    """
    judged = judge(frames, episodes, rule) if judged is None else judged
    choice = choose(judged, episodes, rule.threshold)
    adv_ind = assign_adv_ind(
        choice.is_positive,
        frames.adv_ind,
        is_intervention=frames.is_intervention,
        is_demonstration=demonstration_frames(episodes.lengths, frames.is_intervention),
        is_skipped=is_skipped(frames, rule),
        is_frozen=frames.is_frozen,
        interventions=rule.interventions,
        demonstrations=rule.demonstrations,
        frozen=rule.frozen,
    )
    counts = np.bincount(adv_ind, minlength=len(NAMES))
    return LabelResult(
        advantage=judged.advantage,
        adv_ind=adv_ind,
        choice=choice,
        counts={name: int(counts[code]) for code, name in enumerate(NAMES)},
    )
