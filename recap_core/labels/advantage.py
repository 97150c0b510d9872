"""N-step advantages, for one episode and for a whole dataset at once."""

# jaxtyping's np.ndarray carries no dtype, which strict mode calls unknown.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

type TailRule = Literal["last_value", "zero", "outcome"]


def n_step_advantage(  # noqa: PLR0913 - options are keyword-only
    rewards: Float[np.ndarray, " t"],
    values: Float[np.ndarray, " t"],
    *,
    lookahead: int | None,
    end_value: float,
    takeovers: Bool[np.ndarray, " t"] | None = None,
    is_skipped: Bool[np.ndarray, " t"] | None = None,
) -> Float[np.ndarray, " t"]:
    """Advantage of every frame of one episode over the next ``lookahead`` frames.

        A[t] = sum(r[t : u]) + V[u] - V[t],   u = min(t + N, first takeover after t, T)

    N = lookahead, undiscounted. ``V[T]``, past the last frame, is ``end_value``. Skipped frames are
    taken out first: they are not counted by N or T, earn nothing, and get NaN.

    Args:
        rewards: Per-step reward of the episode's frames, in frame order.
        values: ``V(o_t)`` of the same frames, each in [-1, 0].
        lookahead: N, in frames (50 frames are 1.67 s at 30 fps); None: to the end of the episode.
        end_value: Value of whatever follows the last frame, in [-1, 0].
        takeovers: Frames at which a window that started earlier ends, so that what led to a
            correction is not credited with the correction; None: no window is cut.
        is_skipped: Frames on which time stands still; None: on no frame.

    Raises:
        ValueError: If ``lookahead`` is below 1.
    """
    active = np.ones(len(rewards), dtype=bool) if is_skipped is None else ~is_skipped
    advantage = np.full(len(rewards), np.nan)
    num_active = int(active.sum())
    advantage[active] = window_advantages(
        rewards[active],
        values[active],
        episode_ends=np.full(num_active, num_active),
        end_values=np.full(num_active, end_value),
        lookahead=lookahead,
        takeovers=None if takeovers is None else takeovers[active],
    )
    return advantage


def window_ends(
    episode_ends: Int[np.ndarray, " n"],
    *,
    lookahead: int | None,
    takeovers: Bool[np.ndarray, " n"] | None,
) -> Int[np.ndarray, " n"]:
    """For every frame, the index at which its window ends: u of :func:`n_step_advantage`.

    Args:
        episode_ends: For every frame, the index one past the last frame of its episode.
        lookahead: N in frames, or None.
        takeovers: Frames that end the windows that started before them, or None.

    Raises:
        ValueError: If ``lookahead`` is below 1.
    """
    if lookahead is not None and lookahead < 1:
        raise ValueError(f"lookahead must be at least 1 frame, got {lookahead}")
    num_frames = len(episode_ends)
    index = np.arange(num_frames)
    ends = episode_ends if lookahead is None else np.minimum(index + lookahead, episode_ends)
    if takeovers is not None:
        at_or_after = np.where(takeovers, index, num_frames)
        at_or_after = np.minimum.accumulate(at_or_after[::-1])[::-1]
        ends = np.minimum(ends, np.append(at_or_after[1:], num_frames))
    return ends


def returns_to_go(
    rewards: Float[np.ndarray, " n"], episode_ends: Int[np.ndarray, " n"], *, discount: float
) -> Float[np.ndarray, " n"]:
    """Discounted reward from every frame to the end of its episode, float64.

        G[t] = r[t] + discount * G[t + 1]

    Sums of 1, 2, 4, ... frames are put together, so there is no loop over frames.

    Args:
        rewards: Per-step rewards of episodes laid end to end.
        episode_ends: For every frame, the index one past the last frame of its episode.
        discount: In (0, 1].
    """
    index = np.arange(len(rewards))
    left = episode_ends - index
    longest = int(left.max(initial=1))
    sums, length = rewards.astype(np.float64), 1
    while length < longest:
        further = np.zeros_like(sums)
        further[:-length] = sums[length:]
        sums = sums + np.where(left > length, discount**length * further, 0.0)
        length *= 2
    return sums


def window_advantages(  # noqa: PLR0913 - options are keyword-only
    rewards: Float[np.ndarray, " n"],
    values: Float[np.ndarray, " n"],
    *,
    episode_ends: Int[np.ndarray, " n"],
    end_values: Float[np.ndarray, " n"],
    lookahead: int | None,
    takeovers: Bool[np.ndarray, " n"] | None,
    discount: float = 1.0,
) -> Float[np.ndarray, " n"]:
    """:func:`n_step_advantage` of many episodes laid end to end, without a loop.

    With a discount g, step k of a window counts g^k, and the value at its end g^(u - t).

    Args:
        rewards: Per-step rewards.
        values: ``V(o_t)``; NaN makes every window that touches the frame NaN.
        episode_ends: For every frame, the index one past the last frame of its episode.
        end_values: For every frame, the value past the last frame of its episode.
        lookahead: N in frames, or None.
        takeovers: Frames that end the windows that started before them, or None.
        discount: In (0, 1]; 1 is undiscounted.

    Raises:
        ValueError: If ``lookahead`` is below 1.
    """
    ends = window_ends(episode_ends, lookahead=lookahead, takeovers=takeovers)
    start_value = values.astype(np.float64)
    next_value = np.append(start_value, np.nan)[ends]
    end_value = np.where(ends == episode_ends, end_values, next_value)
    if discount == 1.0:
        # float64: differences of a running sum lose digits that float32 does not have.
        total = np.concatenate([[0.0], np.cumsum(rewards, dtype=np.float64)])
        return total[ends] - total[:-1] + end_value - start_value
    to_go = returns_to_go(rewards, episode_ends, discount=discount)
    after = np.where(ends == episode_ends, 0.0, np.append(to_go, 0.0)[ends])
    factor = discount ** (ends - np.arange(len(rewards)))
    return to_go - factor * after + factor * end_value - start_value


def tail_values(
    last_values: Float[np.ndarray, " e"],
    success: Bool[np.ndarray, " e"],
    *,
    rule: TailRule,
    lookahead: int | None,
) -> Float[np.ndarray, " e"]:
    """Value past the last frame of every episode.

    ``last_value``: V of the last frame. ``zero``: 0. ``outcome``: 0 after a success, -1 after a
    failure. A Monte Carlo return (``lookahead`` None) is complete, so ``last_value`` adds 0 there.

    Args:
        last_values: V of every episode's last frame.
        success: Outcome of every episode.
        rule: Which of the three.
        lookahead: N, or None for Monte Carlo.
    """
    if rule == "outcome":
        return np.where(success, 0.0, -1.0)
    if rule == "last_value" and lookahead is not None:
        return last_values.astype(np.float64)
    return np.zeros(len(success))
