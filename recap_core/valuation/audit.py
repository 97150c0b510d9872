"""Outcome audit: episodes whose V contradicts what the operator marked.

The end of an episode shows its outcome best, so the mean V of its last quarter is compared with
what its targets would be there, had it been marked a success or a failure:

    score = (V - target of the marked outcome) / (target of the other one - target of the marked)

clipped to [0, 1]. At 0 the model sees what the operator marked, at 1 the opposite; from 1/2 on the
opposite is nearer. Episodes the model was trained on have taught it their mark: there a
contradiction weighs more, and agreement says nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LATE_SHARE = 0.25
"""Share of an episode's frames that count as its end."""
CONTRADICTED = 0.5
"""Score from which V is nearer to the other outcome."""


class Contradiction(NamedTuple):
    """One audited episode."""

    episode: int
    success: bool
    """As marked."""
    score: float
    """In [0, 1]; higher: V contradicts the mark more."""
    late_value: float
    """Mean V of its last quarter."""
    late_target: float
    """Mean target there, under the marked outcome."""
    other_target: float
    """The same under the other outcome."""

    @property
    def opposite(self) -> str:
        """The outcome that V speaks for."""
        return "failure" if self.success else "success"


def audit_outcomes(  # noqa: PLR0913 - two rules and three facts of the episodes
    values: Float[np.ndarray, " n"],
    if_success: Float[np.ndarray, " n"],
    if_failure: Float[np.ndarray, " n"],
    *,
    episode_ends: Int[np.ndarray, " e"],
    success: Bool[np.ndarray, " e"],
    episodes: Sequence[int] | None = None,
) -> tuple[Contradiction, ...]:
    """Episodes by falling score.

    Args:
        values: V of every frame, by global index; NaN where there is none.
        if_success: Value target of every frame, had every episode succeeded; NaN on skipped ones.
        if_failure: The same, had every episode failed.
        episode_ends: One past the global index of every episode's last frame.
        success: Outcome as marked.
        episodes: Whom to audit; None: all.

    Returns:
        One row per episode. Episodes without a frame that has V and a target, or whose targets are
        the same under both outcomes, are left out.
    """
    starts = np.concatenate([[0], episode_ends[:-1]])
    rows = []
    for episode in range(len(episode_ends)) if episodes is None else episodes:
        frames = np.arange(starts[episode], episode_ends[episode])
        frames = frames[np.isfinite(if_success[frames]) & np.isfinite(values[frames])]
        late = frames[-max(1, round(LATE_SHARE * len(frames))) :]
        if not len(late):
            continue
        marked = bool(success[episode])
        seen = float(values[late].mean())
        ends = float(if_success[late].mean()), float(if_failure[late].mean())
        own, other = ends if marked else ends[::-1]
        if own == other:
            continue
        score = float(np.clip((seen - own) / (other - own), 0, 1))
        rows.append(Contradiction(int(episode), marked, score, seen, own, other))
    return tuple(sorted(rows, key=lambda row: (-row.score, row.episode)))


def contradicted(audit: Sequence[Contradiction]) -> tuple[Contradiction, ...]:
    """Those worth a look: V is nearer to the other outcome."""
    return tuple(row for row in audit if row.score >= CONTRADICTED)
