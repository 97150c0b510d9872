"""The three values of ``adv_ind``, as text on disk and as small integers in arithmetic."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Int8

from recap_core.errors import ColumnError

type HumanRule = Literal["positive", "by_advantage"]
type DemonstrationRule = Literal["keep", "positive", "by_advantage"]
type FrozenRule = Literal["by_advantage", "none"]

NAMES: Final = ("none", "negative", "positive")
"""Text of every code; the position is the code."""
NONE: Final = 0
"""No statement about the frame: not labelled yet, or paused."""
NEGATIVE: Final = 1
"""An autonomous frame whose advantage is below the threshold."""
POSITIVE: Final = 2
"""A corrected or demonstrated frame, or an autonomous one above the threshold."""


def encode_adv_ind(names: np.ndarray) -> Int8[np.ndarray, " n"]:
    """Codes of an ``adv_ind`` column.

    Args:
        names: The column's text, any string dtype.

    Raises:
        ColumnError: If a value is none of :data:`NAMES`.
    """
    codes = np.full(len(names), -1, dtype=np.int8)
    for code, name in enumerate(NAMES):
        codes[names == name] = code
    bad = np.flatnonzero(codes < 0)
    if bad.size:
        raise ColumnError(
            f"adv_ind[{bad[0]}] is {str(names[bad[0]])!r}, which is none of {', '.join(NAMES)} "
            f"({bad.size} of {len(names)} frames). Re-run the stage that wrote the column."
        )
    return codes


def decode_adv_ind(codes: Int8[np.ndarray, " n"]) -> np.ndarray:
    """Text of every code, as a fixed-width string array of the same length."""
    return np.array(NAMES)[codes]


def assign_adv_ind(  # noqa: PLR0913 - options are keyword-only
    is_positive: Bool[np.ndarray, " n"],
    current: Int8[np.ndarray, " n"],
    *,
    is_intervention: Bool[np.ndarray, " n"],
    is_demonstration: Bool[np.ndarray, " n"],
    is_skipped: Bool[np.ndarray, " n"],
    is_frozen: Bool[np.ndarray, " n"] | None = None,
    interventions: HumanRule = "positive",
    demonstrations: DemonstrationRule = "keep",
    frozen: FrozenRule = "by_advantage",
) -> Int8[np.ndarray, " n"]:
    """The label of every frame, in the order in which one rule beats the next.

    Frames of demonstrations keep their label; skipped (paused) frames have none; corrected frames
    are positive; all others are positive or negative by advantage. The options change what becomes
    of demonstrations and corrections.

    Args:
        is_positive: Whether the advantage reaches the threshold.
        current: Labels before.
        is_intervention: A human drove.
        is_demonstration: The frame's whole episode was driven by a human.
        is_skipped: Time stands still on this frame.
        is_frozen: Corrections in which an arm stood still; None: none is treated apart.
        interventions: Label of corrected frames.
        demonstrations: Label of demonstrations.
        frozen: Label of the corrections in ``is_frozen``.
    """
    codes = np.where(is_positive, np.int8(POSITIVE), np.int8(NEGATIVE))
    if interventions == "positive":
        keeps_positive = is_intervention & ~is_demonstration
        if is_frozen is not None and frozen == "by_advantage":
            keeps_positive &= ~is_frozen
        codes[keeps_positive] = POSITIVE
    if is_frozen is not None and frozen == "none":
        codes[is_frozen & ~is_demonstration] = NONE
    codes[is_skipped] = NONE
    if demonstrations == "keep":
        return np.where(is_demonstration, current, codes)
    if demonstrations == "positive":
        codes[is_demonstration] = POSITIVE
    return codes
