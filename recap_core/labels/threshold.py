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


def top_share(advantages: Float[np.ndarray, " n"], share: float) -> TopShare:
    """Mark exactly ``num_positive(n, share)`` frames: the largest advantages, earlier ones first.

    Args:
        advantages: The pool's advantages, by ascending global index; no NaN.
        share: Share of the pool that becomes positive, in (0, 1].

    Raises:
        ValueError: If the pool is empty or the share is outside (0, 1].
    """
    count = num_positive(len(advantages), share)
    order = np.argsort(-advantages, kind="stable")
    rank = np.empty(len(advantages), dtype=np.int64)
    rank[order] = np.arange(len(advantages))
    return TopShare(float(advantages[order[count - 1]]), rank < count, rank)
