"""Whether a value model may label: what it shows on episodes that it was not trained on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

from recap_core.config.stages import HealthConfig
from recap_core.data.frames import FrameTable
from recap_core.errors import DataError
from recap_core.labels.two_hot import expectation, two_hot
from recap_core.progress import Progress, Silent
from recap_core.valuation.calibration import (
    UNDEFINED,
    Calibration,
    CalibrationFrames,
    Interval,
    calibrate,
)
from recap_core.valuation.prediction import Predictions, ValuePredictor

_MAX_RANKED_FRAMES = 20_000
_MIN_EPISODES_PER_OUTCOME = 2


class HeldOut(NamedTuple):
    """Predictions for the frames of held-out episodes, skipped frames left out."""

    values: Float[np.ndarray, " n"]
    """V, in [-1, 0]."""
    targets: Float[np.ndarray, " n"]
    """What V should be, in [-1, 0]."""
    cross_entropy: Float[np.ndarray, " n"]
    """Of the predicted distribution with the two-hot target, nats."""
    target_rank: Int[np.ndarray, " n"]
    """Number of bins that are predicted to be more likely than the target's bin."""
    episode: Int[np.ndarray, " n"]
    frames_to_go: Int[np.ndarray, " n"]
    success: Bool[np.ndarray, " n"]
    """Outcome of the frame's episode."""
    bin_mass: Float[np.ndarray, " bins"]
    """Mean predicted probability of every bin."""
    top_bin: Int[np.ndarray, " n"]
    """The most likely bin of every frame."""


@dataclass(frozen=True)
class HealthReport:
    """The verdict on a value model, and the numbers behind it."""

    healthy: bool
    reasons: tuple[str, ...]
    """Why it is not healthy; empty if it is."""
    num_success_episodes: int
    num_failure_episodes: int
    num_frames: int
    cross_entropy: float
    """Nats; ln(bins) for a uniform prediction."""
    top1: float
    """Share of frames whose target's bin is the most likely one."""
    top5: float
    """Share of frames whose target's bin is among the five most likely ones."""
    spearman: Interval
    """Rank correlation of V with its target."""
    spearman_time_to_go: float
    """Rank correlation of V with minus the frames to go, in successful episodes."""
    separation: Interval
    """Mean V of successful episodes minus that of failed ones."""
    max_bin_share: float
    """Largest share of the predicted mass in one bin."""
    max_top_bin_share: float
    """Largest share of the frames that have one and the same most likely bin."""
    calibration_error: Interval
    """Expected calibration error (:mod:`recap_core.valuation.calibration`)."""

    def metrics(self) -> dict[str, float]:
        """Every defined number by name, for a manifest."""
        numbers = {
            "num_success_episodes": self.num_success_episodes,
            "num_failure_episodes": self.num_failure_episodes,
            "num_frames": self.num_frames,
            "cross_entropy": self.cross_entropy,
            "top1": self.top1,
            "top5": self.top5,
            "spearman": self.spearman.estimate,
            "spearman_low": self.spearman.low,
            "spearman_high": self.spearman.high,
            "spearman_time_to_go": self.spearman_time_to_go,
            "separation": self.separation.estimate,
            "separation_low": self.separation.low,
            "separation_high": self.separation.high,
            "max_bin_share": self.max_bin_share,
            "max_top_bin_share": self.max_top_bin_share,
            "calibration_error": self.calibration_error.estimate,
        }
        return {f"held_out_{k}": float(v) for k, v in numbers.items() if not np.isnan(v)}


def predict_held_out(
    table: FrameTable,
    predictor: ValuePredictor,
    targets: Float[np.ndarray, " n"],
    episodes: Sequence[int],
    *,
    progress: Progress | None = None,
) -> HeldOut:
    """Predict all frames of ``episodes`` that have a target.

    An episode that was merged more than once is predicted once: its copies are no evidence.

    Args:
        table: The dataset.
        predictor: The value model.
        targets: Value target of every frame of the dataset; NaN on skipped ones.
        episodes: Held-out episodes, at least one with a target.
        progress: Who watches.

    Raises:
        DataError: If no frame of them has a target.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    masses: list[np.ndarray] = []
    chosen = _once(table, episodes)
    total = int(table.episode_lengths[chosen].sum())
    with (progress or Silent()).bar("predict", total) as bar:
        for done, batch in _counted(predictor.predictions(table, chosen)):
            keep = ~np.isnan(targets[batch.indices])
            parts.append(_judged_frames(batch.indices[keep], batch.probs[keep], targets))
            masses.append(batch.probs[keep].sum(axis=0, dtype=np.float64))
            bar.update(done)
    if not any(len(part[0]) for part in parts):
        raise DataError(
            f"none of the {len(episodes)} held-out episodes of {table.meta.root} has a frame with "
            "a value target. Record more episodes."
        )
    values, wanted_values, cross_entropy, rank, top_bin, indices = map(
        np.concatenate, zip(*parts, strict=True)
    )
    episode = table.episode_index[indices]
    return HeldOut(
        values=values,
        targets=wanted_values,
        cross_entropy=cross_entropy,
        target_rank=rank,
        episode=episode,
        frames_to_go=table.episode_ends[episode] - 1 - indices,
        success=table.success[episode],
        bin_mass=np.sum(masses, axis=0) / len(indices),
        top_bin=top_bin,
    )


def held_out_of_values(
    table: FrameTable,
    values: Float[np.ndarray, " n"],
    targets: Float[np.ndarray, " n"],
    episodes: Sequence[int],
) -> HeldOut:
    """What is known of held-out episodes from stored V alone: nothing of the distributions.

    Args:
        table: The dataset.
        values: V of its frames; NaN where there is none.
        targets: What V should be; NaN on skipped frames.
        episodes: Held-out episodes.
    """
    frames = np.flatnonzero(np.isin(table.episode_index, _once(table, episodes)))
    frames = frames[np.isfinite(targets[frames]) & np.isfinite(values[frames])]
    episode = table.episode_index[frames]
    return HeldOut(
        values=values[frames].astype(np.float64),
        targets=targets[frames],
        cross_entropy=np.full(len(frames), np.nan),
        target_rank=np.zeros(len(frames), np.int64),
        episode=episode,
        frames_to_go=table.episode_ends[episode] - 1 - frames,
        success=table.success[episode],
        bin_mass=np.full(1, np.nan),
        top_bin=np.zeros(len(frames), np.int64),
    )


def _counted(batches: Iterator[Predictions]) -> Iterator[tuple[int, Predictions]]:
    """Batches with the number of frames so far."""
    done = 0
    for batch in batches:
        done += len(batch.indices)
        yield done, batch


def _judged_frames(
    indices: Int[np.ndarray, " b"], probs: Float[np.ndarray, "b bins"], targets: np.ndarray
) -> tuple[np.ndarray, ...]:
    """V, target, cross-entropy, rank of the target's bin, top bin and index of every frame."""
    probs = probs.astype(np.float64)
    wanted = two_hot(targets[indices], probs.shape[1])
    of_target = np.take_along_axis(probs, np.argmax(wanted, axis=1)[:, None], axis=1)
    log_probs = np.log(np.maximum(probs, np.finfo(np.float32).tiny))
    return (
        np.clip(expectation(probs), -1, 0),
        targets[indices],
        -np.sum(wanted * log_probs, axis=1),
        np.sum(probs > of_target, axis=1),
        np.argmax(probs, axis=1),
        indices,
    )


def _once(table: FrameTable, episodes: Sequence[int]) -> list[int]:
    """``episodes`` without those that are copies of one before them."""
    first: dict[int, int] = {}
    for episode in episodes:
        first.setdefault(int(table.originals[episode]), int(episode))
    return list(first.values())


def assess_health(held_out: HeldOut, config: HealthConfig) -> HealthReport:
    """Judge predictions by the bars of ``config``.

    Intervals come from resampling whole episodes, successes and failures apart: frames of an
    episode are no independent evidence.
    """
    # Sorted, so that the verdict does not depend on the order in which episodes were predicted.
    successes = np.unique(held_out.episode[held_out.success])
    failures = np.unique(held_out.episode[~held_out.success])
    spearman = separation = UNDEFINED
    is_finite = bool(np.isfinite(held_out.values).all())
    if is_finite and min(len(successes), len(failures)) >= _MIN_EPISODES_PER_OUTCOME:
        groups = (successes, failures)
        spearman = _interval(_ranking(held_out), groups, config)
        separation = _interval(_separation(held_out), groups, config)
    succeeded = held_out.success
    report = HealthReport(
        healthy=True,
        reasons=(),
        num_success_episodes=len(successes),
        num_failure_episodes=len(failures),
        num_frames=len(held_out.values),
        cross_entropy=float(held_out.cross_entropy.mean()),
        top1=float((held_out.target_rank < 1).mean()),
        top5=float((held_out.target_rank < 5).mean()),
        spearman=spearman,
        spearman_time_to_go=rank_correlation(
            held_out.values[succeeded], -held_out.frames_to_go[succeeded]
        ),
        separation=separation,
        max_bin_share=float(held_out.bin_mass.max()),
        max_top_bin_share=float(np.bincount(held_out.top_bin).max() / len(held_out.top_bin)),
        calibration_error=calibration_of(held_out, config).error,
    )
    return _judged(report, config)


def calibration_of(held_out: HeldOut, config: HealthConfig) -> Calibration:
    """The reliability table of the same predictions."""
    frames = CalibrationFrames(
        held_out.values,
        held_out.targets,
        held_out.episode,
        held_out.frames_to_go,
        held_out.success,
    )
    return calibrate(frames, num_bootstrap=config.num_bootstrap)


def rank_correlation(a: Shaped[np.ndarray, " n"], b: Shaped[np.ndarray, " n"]) -> float:
    """Spearman's correlation; 0 where one side is constant or there are fewer than two frames."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def _judged(report: HealthReport, config: HealthConfig) -> HealthReport:
    reasons = []
    if np.isnan(report.calibration_error.estimate):
        reasons.append("predictions are not finite: training diverged, try a lower learning rate")
    elif np.isnan(report.spearman.estimate):
        reasons.append(
            f"{report.num_success_episodes} successes and {report.num_failure_episodes} failures "
            f"are held out, at least {_MIN_EPISODES_PER_OUTCOME} of each are needed: "
            "record more episodes of the missing outcome"
        )
    for name, interval, bar in (
        ("rank correlation with the target", report.spearman, config.min_spearman),
        ("separation of successes and failures", report.separation, config.min_separation),
    ):
        if interval.low <= bar:
            reasons.append(
                f"{name} is {interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}], "
                f"its lower 95 % bound must be above {bar:g}"
            )
    if report.max_bin_share > config.max_bin_share:
        reasons.append(
            f"one bin holds {report.max_bin_share:.0%} of the predicted mass, more than "
            f"{config.max_bin_share:.0%}: the predictions have collapsed"
        )
    if report.max_top_bin_share > config.max_top_bin_share:
        reasons.append(
            f"one bin is the most likely one of {report.max_top_bin_share:.0%} of the frames, more "
            f"than {config.max_top_bin_share:.0%}: the predictions have collapsed"
        )
    if report.calibration_error.estimate > config.max_calibration_error:
        reasons.append(
            f"expected calibration error is {report.calibration_error.estimate:.2f}, more than "
            f"{config.max_calibration_error:g}: V is off by that much on average"
        )
    return replace(report, healthy=not reasons, reasons=tuple(reasons))


type _Statistic = Callable[[Int[np.ndarray, " i"], Int[np.ndarray, " j"]], float]
"""A number from (resampled) successful and failed episodes."""


def _interval(
    statistic: _Statistic,
    groups: tuple[Int[np.ndarray, " i"], Int[np.ndarray, " j"]],
    config: HealthConfig,
) -> Interval:
    result = stats.bootstrap(
        groups,
        statistic,
        n_resamples=config.num_bootstrap,
        vectorized=False,
        paired=False,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return Interval(statistic(*groups), float(low), float(high))


def _ranking(held_out: HeldOut) -> _Statistic:
    """Rank correlation of V with its target over the frames of some episodes.

    Episodes that are drawn twice count twice: their frames get a weight, and the ranks come from
    running sums of weights. That is what ranking the drawn frames gives, without sorting them.
    """
    stride = -(-len(held_out.values) // _MAX_RANKED_FRAMES)
    starts = np.flatnonzero(np.diff(held_out.episode, prepend=-1))
    within = np.arange(len(held_out.episode)) - np.repeat(
        starts, np.diff(starts, append=len(held_out.episode))
    )
    kept = within % stride == 0
    episode = held_out.episode[kept]
    of_value = np.unique(held_out.values[kept], return_inverse=True)[1]
    of_target = np.unique(held_out.targets[kept], return_inverse=True)[1]
    num_episodes = int(episode.max()) + 1

    def statistic(successes: Int[np.ndarray, " i"], failures: Int[np.ndarray, " j"]) -> float:
        drawn = np.bincount(np.concatenate([successes, failures]), minlength=num_episodes)
        weights = drawn[episode].astype(np.float64)
        a, b = _weighted_ranks(of_value, weights), _weighted_ranks(of_target, weights)
        spread = float(np.sqrt((weights @ a**2) * (weights @ b**2)))
        return float(weights @ (a * b)) / spread if spread > 0 else 0.0

    return statistic


def _weighted_ranks(
    code: Int[np.ndarray, " n"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Centred ranks of frames that occur ``weights`` times; equal codes share their mean rank."""
    occurrences = np.bincount(code, weights)
    middle = np.cumsum(occurrences) - (occurrences - 1) / 2
    # The mean of the ranks 1 to n, whatever the ties.
    return (middle - (occurrences.sum() + 1) / 2)[code]


def _separation(held_out: HeldOut) -> _Statistic:
    """Mean over episodes of their mean V, successes minus failures."""
    counts = np.bincount(held_out.episode)
    means = np.bincount(held_out.episode, held_out.values) / np.maximum(counts, 1)

    def statistic(successes: Int[np.ndarray, " i"], failures: Int[np.ndarray, " j"]) -> float:
        return float(means[successes].mean() - means[failures].mean())

    return statistic
