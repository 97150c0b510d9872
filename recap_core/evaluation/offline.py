"""What a policy would do on recorded frames: how far from what was done there, and how sanely."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field

from recap_core.config.gate import OfflineCheckName
from recap_core.config.offline import CheckPolicyConfig

CLASSES = ("demonstration", "intervention", "positive", "negative", "none")
"""Who drove, else the frame's label: classes are disjoint."""

GOOD_CLASSES = ("intervention", "positive")
"""What the policy is asked to do. Of a ``negative`` frame's action it should stay away, and the
policies of a project all know its demonstrations, the first one by heart: there any error grows."""

QUANTILE = 0.95
_CHOICE_SEED = 42


class Recorded(NamedTuple):
    """What was done, all frames of a dataset."""

    actions: Float[np.ndarray, "n d"]
    episode_ends: Int[np.ndarray, " e"]
    frame_class: Int[np.ndarray, " n"]
    """Index into :data:`CLASSES`."""

    @property
    def scale(self) -> Float[np.ndarray, " d"]:
        """Standard deviation of every dimension; one that hardly moves counts 1 % of the widest."""
        deviation = self.actions.std(axis=0)
        widest = float(deviation.max())
        return np.maximum(deviation, 0.01 * widest) if widest > 0 else np.ones_like(deviation)


class Asked(NamedTuple):
    """Frames at which a policy is asked: some, and the ones where the robot would ask next."""

    first: Int[np.ndarray, " m"]
    num_steps: int
    """From a frame to the next one that is asked, within an episode."""

    @property
    def frames(self) -> Int[np.ndarray, " q"]:
        """All of them once, in order."""
        return np.unique(np.concatenate([self.first, self.first + self.num_steps]))


class ClassError(BaseModel):
    """Action errors on the frames of one class."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    frame_class: str
    num_frames: int = Field(ge=0)
    error: float | None
    """Root mean square distance from the recorded actions, in their standard deviations, of the
    finite ones; None without frames."""
    current_error: float | None = None
    """The current policy's; None if there is none."""


class OfflineSummary(BaseModel):
    """The content of ``offline.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    policy: str
    """``<name>-<id8>``, as of the next two."""
    current: str | None
    dataset: str
    num_episodes: int
    num_episodes_seen: int
    """Episodes that the new policy was trained on."""
    num_episodes_seen_by_current: int | None
    errors: tuple[ClassError, ...]
    """Of every class that has frames."""
    num_not_finite: int
    """Action chunks with a number that is none."""
    outside_share: float
    """Share of actions outside the recorded range."""
    outside_dims: tuple[int, ...]
    """Dimensions in which any was."""
    jump_ratio: float
    """95 % quantile of the steps from chunk to chunk, as a multiple of the recorded one."""
    current_outside_share: float | None = None
    current_jump_ratio: float | None = None
    failed: tuple[OfflineCheckName, ...]
    warnings: tuple[str, ...]


class Measured(NamedTuple):
    """What one policy does on the asked frames."""

    errors: Mapping[str, float]
    """By class."""
    num_not_finite: int
    outside_share: float
    outside_dims: tuple[int, ...]
    jump_ratio: float


def choose_frames(
    recorded: Recorded, usable: Bool[np.ndarray, " n"], *, most_per_class: int, num_steps: int
) -> Asked:
    """Frames to ask at, at most so many of every class, drawn by a fixed seed.

    Args:
        recorded: The dataset.
        usable: Frames that may be asked at; one later by ``num_steps`` is never in another episode.
        most_per_class: Most frames of every class.
        num_steps: Actions that the robot carries out before it asks again.
    """
    ends = np.repeat(recorded.episode_ends, np.diff(recorded.episode_ends, prepend=0))
    # Counted in frames: the next question is still asked within the episode.
    has_next = np.arange(len(ends)) + num_steps < ends
    rng = np.random.default_rng(_CHOICE_SEED)
    chosen: list[np.ndarray] = []
    for index in range(len(CLASSES)):
        pool = np.flatnonzero(usable & has_next & (recorded.frame_class == index))
        chosen.append(rng.permutation(pool)[:most_per_class])
    return Asked(np.sort(np.concatenate(chosen)), num_steps)


def measure(
    recorded: Recorded,
    asked: Asked,
    chunks: Float[np.ndarray, "q h d"],
    config: CheckPolicyConfig,
) -> Measured:
    """Compare chunks with what was recorded.

    Args:
        recorded: The dataset.
        asked: Where the policy was asked.
        chunks: Its answer at each of ``asked.frames``.
        config: The tolerance of the range.
    """
    scale, frames = recorded.scale, asked.frames
    row = np.searchsorted(frames, asked.first)
    is_finite = np.asarray(np.isfinite(chunks).all(axis=(1, 2)))
    errors = _frame_errors(recorded, asked.first, chunks[row])
    by_class: dict[str, float] = {}
    for index, name in enumerate(CLASSES):
        of_class = is_finite[row] & (recorded.frame_class[asked.first] == index)
        if of_class.any():
            by_class[name] = float(np.sqrt(np.mean(errors[of_class])))
    low, high = recorded.actions.min(axis=0), recorded.actions.max(axis=0)
    slack = config.range_tolerance * np.maximum(high - low, scale)
    finite = chunks[is_finite]
    outside = (finite < low - slack) | (finite > high + slack)
    return Measured(
        errors=by_class,
        num_not_finite=int((~is_finite).sum()),
        outside_share=float(outside.any(axis=2).mean()) if len(finite) else 1.0,
        outside_dims=tuple(int(dim) for dim in np.flatnonzero(outside.any(axis=(0, 1)))),
        jump_ratio=_jump_ratio(recorded, asked, chunks),
    )


def _frame_errors(
    recorded: Recorded, frames: Int[np.ndarray, " m"], chunks: Float[np.ndarray, "m h d"]
) -> Float[np.ndarray, " m"]:
    """Mean squared distance of every chunk from the actions that followed, in deviations.

    Past the end of an episode nothing was done, so nothing counts there.
    """
    ends = recorded.episode_ends[np.searchsorted(recorded.episode_ends, frames, side="right")]
    wanted = frames[:, None] + np.arange(chunks.shape[1])
    is_done = wanted < ends[:, None]
    actions = recorded.actions[np.minimum(wanted, ends[:, None] - 1)]
    with np.errstate(invalid="ignore", over="ignore"):
        squared = np.mean(((chunks - actions) / recorded.scale) ** 2, axis=2)
    return np.sum(np.where(is_done, squared, 0.0), axis=1) / is_done.sum(axis=1)


def _jump_ratio(recorded: Recorded, asked: Asked, chunks: Float[np.ndarray, "q h d"]) -> float:
    """The step from the last executed action of a chunk to the first of the next one."""
    frames, n = asked.frames, asked.num_steps
    one = np.searchsorted(frames, asked.first)
    other = np.searchsorted(frames, asked.first + n)
    with np.errstate(invalid="ignore", over="ignore"):
        jumps = _length((chunks[other, 0] - chunks[one, n - 1]) / recorded.scale)
    later = asked.first + n
    steps = _length((recorded.actions[later] - recorded.actions[later - 1]) / recorded.scale)
    jumps = jumps[np.isfinite(jumps)]
    if not len(jumps):
        return 0.0
    # A robot that stood still gives no measure; a thousandth of a deviation is still.
    usual = max(float(np.quantile(steps, QUANTILE)), 1e-3)
    return float(np.quantile(jumps, QUANTILE)) / usual


def _length(steps: Float[np.ndarray, "m d"]) -> Float[np.ndarray, " m"]:
    return np.sqrt(np.mean(steps**2, axis=1))


class Findings(NamedTuple):
    """What is wrong, by name and in words."""

    failed: tuple[OfflineCheckName, ...]
    warnings: tuple[str, ...]


def find_faults(
    new: Measured, current: Measured | None, num_chunks: int, config: CheckPolicyConfig
) -> Findings:
    """What of a policy's answers is worth a warning."""
    failed: list[OfflineCheckName] = []
    warnings: list[str] = []
    if new.num_not_finite:
        failed.append("finite")
        warnings.append(
            f"{new.num_not_finite} of {num_chunks} action chunks hold numbers that are not "
            "finite: the policy is broken. Look at the training loss."
        )
    if new.outside_share > config.max_outside_share:
        failed.append("range")
        dims = ", ".join(str(dim) for dim in new.outside_dims)
        warnings.append(
            f"{100 * new.outside_share:.1f} % of the actions lie outside what was ever recorded "
            f"(dimensions {dims}; at most {100 * config.max_outside_share:g} % may). Check the "
            "norm stats and the embodiment."
        )
    if new.jump_ratio > config.max_jump_ratio:
        failed.append("jumps")
        warnings.append(
            f"Steps from one action chunk to the next are {new.jump_ratio:.1f} times as long as "
            f"recorded steps (95 % quantiles; at most {config.max_jump_ratio:g}): the robot would "
            "jerk."
        )
    for name in GOOD_CLASSES:
        before = current.errors.get(name) if current else None
        now = new.errors.get(name)
        if before is None or now is None or now <= before * (1 + config.max_error_growth):
            continue
        if "error" not in failed:
            failed.append("error")
        growth = now / before - 1 if before else float("inf")
        warnings.append(
            f"On {name} frames the new policy's action error is {now:.3f}, the current one's "
            f"{before:.3f} standard deviations: {100 * growth:.0f} % larger (at most "
            f"{100 * config.max_error_growth:g} %)."
        )
    return Findings(tuple(failed), tuple(warnings))
