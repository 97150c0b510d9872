"""What must hold of the labels of a dataset before anyone trains on them (SPEC §9.4)."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import numpy as np
from jaxtyping import Bool, Int, Int8

from recap_core.errors import ColumnError
from recap_core.labels.adv_ind import NAMES, NEGATIVE, NONE, POSITIVE
from recap_core.labels.choice import group_of_episodes
from recap_core.labels.labelling import Frames, LabelRule, demonstration_frames, is_skipped
from recap_core.labels.targets import Episodes
from recap_core.labels.threshold import num_positive


def check_complete(codes: Int8[np.ndarray, " n"], is_autonomous: Bool[np.ndarray, " n"]) -> None:
    """Raise ColumnError unless every autonomous frame is positive or negative."""
    _refuse_where(
        is_autonomous & (codes == NONE),
        codes,
        "an autonomous frame is positive or negative. Label the dataset again",
    )


def check_labels(
    codes: Int8[np.ndarray, " n"],
    rank: Int[np.ndarray, " n"],
    frames: Frames,
    episodes: Episodes,
    rule: LabelRule,
) -> None:
    """Check what ``rule`` promises of labels.

    Autonomous frames are positive or negative; corrections are positive, but those that the rule
    treats apart; demonstrations keep their labels where the rule keeps them; paused frames have
    none where time stands still; and each pool has exactly the share that was asked for, the
    largest advantages first.

    Args:
        codes: Labels.
        rank: Position in the group's pool; -1 outside.
        frames: The dataset, with the labels that it had before.
        episodes: Its episodes.
        rule: What made the labels.

    Raises:
        ColumnError: If one of these does not hold; the first frame is named.
    """
    skipped = is_skipped(frames, rule)
    is_demonstration = demonstration_frames(episodes.lengths, frames.is_intervention)
    is_autonomous = ~(frames.is_intervention | skipped)
    again = "Label the dataset again"
    check_complete(codes, is_autonomous)
    is_paused = skipped & ~is_demonstration
    _refuse_where(is_paused & (codes != NONE), codes, f"a paused frame has no label. {again}")
    if rule.interventions == "positive":
        is_correction = frames.is_intervention & ~is_demonstration & ~skipped
        if frames.is_frozen is not None:
            is_correction &= ~frames.is_frozen
        _refuse_where(
            is_correction & (codes != POSITIVE), codes, f"a corrected frame is positive. {again}"
        )
    if rule.demonstrations == "keep":
        _refuse_where(
            is_demonstration & (codes != frames.adv_ind),
            codes,
            f"a demonstration keeps its label. {again}",
        )
    if rule.threshold.selection == "exact_share" and rule.threshold.threshold is None:
        _check_share(codes, rank, is_autonomous, episodes, rule)


def _check_share(
    codes: Int8[np.ndarray, " n"],
    rank: Int[np.ndarray, " n"],
    is_autonomous: Bool[np.ndarray, " n"],
    episodes: Episodes,
    rule: LabelRule,
) -> None:
    groups = group_of_episodes(episodes, rule.threshold.scope)
    in_pool = rank >= 0
    group = np.repeat(groups, episodes.lengths)[in_pool]
    sizes = np.bincount(group, minlength=int(groups.max()) + 1)
    counts = np.array([num_positive(n, rule.threshold.share) if n else 0 for n in sizes.tolist()])
    should = np.full(len(codes), np.int8(NEGATIVE))
    should[in_pool] = np.where(rank[in_pool] < counts[group], POSITIVE, NEGATIVE)
    _refuse_where(
        in_pool & is_autonomous & (codes != should),
        codes,
        f"the best {rule.threshold.share:.4g} of a pool are positive and the others negative. "
        "Label the dataset again",
    )


def _refuse_where(
    bad: Bool[np.ndarray, " n"], codes: Int8[np.ndarray, " n"], expected: str
) -> None:
    frames = np.flatnonzero(bad)
    if frames.size:
        first = int(frames[0])
        raise ColumnError(
            f"frame {first} is labelled {NAMES[codes[first]]!r} ({frames.size} of {len(bad)} "
            f"frames are like it), but {expected}."
        )
