"""Which frames of a pool are the best share of it, exactly and reproducibly."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class TopShare(NamedTuple):
    """The best frames of one pool."""

    threshold: float
    """Smallest advantage that is positive."""
    is_positive: Bool[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]
    """0 for the largest advantage; equal advantages in the order in which they are given."""


def num_positive(pool_size: int, share: float) -> int:
    """``floor((n - 1) * share) + 1``: what a percentile with ``>=`` gives on distinct values.

    Args:
        pool_size: n, frames in the pool, at least 1.
        share: In (0, 1].

    Raises:
        ValueError: If the pool is empty or the share is outside (0, 1].
    """
    if pool_size < 1:
        raise ValueError("an empty pool has no threshold")
    if not 0 < share <= 1:
        raise ValueError(f"the positive share must be in (0, 1], got {share}")
    # 1e-9: 100 * 0.29 is 28.999999999999996, and means 29.
    return math.floor((pool_size - 1) * share + 1e-9) + 1


def best_first(advantages: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Positions by falling advantage; equal advantages in the order in which they are given.

    Sorts float32 numbers as integers with the position in the lower half, which makes a stable
    sort of a fast one.

    Args:
        advantages: No NaN.
    """
    if advantages.dtype != np.float32 or len(advantages) >= 2**32:
        return np.argsort(-advantages, kind="stable")
    # + 0: -0 becomes 0, which it equals. Negative floats have falling bit patterns, so flip them.
    bits = (-advantages + np.float32(0)).view(np.uint32)
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = rising.astype(np.uint64) << np.uint64(32) | np.arange(len(bits), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def top_share(advantages: Float[np.ndarray, " n"], share: float) -> TopShare:
    """Mark exactly ``num_positive(n, share)`` frames: the largest advantages, earlier ones first.

    Args:
        advantages: The pool's advantages, by ascending global index; no NaN.
        share: Share of the pool that becomes positive, in (0, 1].

    Raises:
        ValueError: If the pool is empty or the share is outside (0, 1].
    """
    count = num_positive(len(advantages), share)
    order = best_first(advantages)
    rank = np.empty(len(advantages), dtype=np.int64)
    rank[order] = np.arange(len(advantages))
    return TopShare(float(advantages[order[count - 1]]), rank < count, rank)


def quantile_threshold(advantages: Float[np.ndarray, " n"], share: float) -> float:
    """The (1 - share) quantile, interpolated linearly: the threshold of RLinf and Evo-RL.

    Ties at the threshold are not broken, so more (``>=``) or fewer (``>``) frames than the share
    may be positive.

    Args:
        advantages: The pool's advantages, in any order; no NaN.
        share: In (0, 1].

    Raises:
        ValueError: If the pool is empty or the share is outside (0, 1].
    """
    num_positive(len(advantages), share)  # the same rules for its arguments
    # float64: in float32 the position in a large pool is off by up to a frame.
    return float(np.quantile(advantages.astype(np.float64), 1.0 - share))


def reaches(
    advantages: Float[np.ndarray, "..."], threshold: float, *, strictly: bool
) -> Bool[np.ndarray, "..."]:
    """Which advantages are positive at a threshold: at least, or more than it."""
    return advantages > threshold if strictly else advantages >= threshold
