"""Which arm a correction left standing still (SPEC §17).

An operator who corrects one arm holds the other one still. All frames of the correction say
``positive``, but what the idle arm did in them is no example to follow.
"""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


def motion_energy(
    actions: Float[np.ndarray, "t a"], arms: Sequence[tuple[int, int]]
) -> Float[np.ndarray, " arms"]:
    """How much each arm moved in a run of frames.

        E = sum over t and the arm's dims d of (a[t + 1, d] - a[t, d])^2

    Args:
        actions: Of consecutive frames; absolute targets.
        arms: First dim of every arm, and one past its last.
    """
    steps = np.square(np.diff(actions.astype(np.float64), axis=0))
    return np.array([steps[:, first:end].sum() for first, end in arms])


def frozen_arms(
    actions: Float[np.ndarray, "n a"],
    is_intervention: Bool[np.ndarray, " n"],
    episode_ends: Int[np.ndarray, " e"],
    *,
    arms: Sequence[tuple[int, int]],
    ratio: float = 0.25,
) -> Bool[np.ndarray, "n arms"]:
    """Whether an arm stood still in the correction that a frame belongs to.

    Over each contiguous run of intervention frames of one episode, an arm stood still if its motion
    energy is below ``ratio`` times that of the arm that moved most. In a run of one frame, or of no
    motion at all, none did; outside interventions, none does.

    Args:
        actions: Actions of all frames, by global index; absolute targets.
        is_intervention: Frames that a human drove.
        episode_ends: Global index one past every episode's last frame, rising.
        arms: First dim of every arm, and one past its last.
        ratio: Share of the busiest arm's energy, in (0, 1).

    Raises:
        ValueError: If an arm has dims that the actions lack.
    """
    num_dims = actions.shape[1]
    if any(end > num_dims for _, end in arms):
        raise ValueError(f"arms {tuple(arms)} reach beyond the actions' {num_dims} dims")
    frozen = np.zeros((len(actions), len(arms)), dtype=bool)
    for first, end in _runs(is_intervention, episode_ends):
        energy = motion_energy(actions[first:end], arms)
        frozen[first:end] = energy < ratio * energy.max()
    return frozen


def _runs(
    flags: Bool[np.ndarray, " n"], episode_ends: Int[np.ndarray, " e"]
) -> list[tuple[int, int]]:
    """Start and end of every stretch of true flags that stays within one episode."""
    starts_episode = np.zeros(len(flags) + 1, dtype=bool)
    starts_episode[0] = True
    starts_episode[episode_ends] = True
    before = np.concatenate([[False], flags])
    after = np.concatenate([flags, [False]])
    starts = np.flatnonzero(after & (~before | starts_episode))
    ends = np.flatnonzero(before & (~after | starts_episode))
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
