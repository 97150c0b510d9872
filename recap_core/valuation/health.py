"""Whether a value model may label: what it shows on episodes that it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

from recap_core.config.stages import HealthConfig
from recap_core.data.frames import FrameTable
from recap_core.labels.two_hot import expectation, two_hot
from recap_core.valuation.prediction import ValuePredictor

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


class Interval(NamedTuple):
    """A statistic with its 95 % bootstrap interval; NaN where it is undefined."""

    estimate: float
    low: float
    high: float


_UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))


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
        }
        return {f"held_out_{k}": float(v) for k, v in numbers.items() if not np.isnan(v)}


def predict_held_out(
    table: FrameTable,
    predictor: ValuePredictor,
    targets: Float[np.ndarray, " n"],
    episodes: Sequence[int],
) -> HeldOut:
    """Predict all frames of ``episodes`` that have a target.

    Args:
        table: The dataset.
        predictor: The value model.
        targets: Value target of every frame of the dataset; NaN on skipped ones.
        episodes: Held-out episodes, at least one.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    masses: list[np.ndarray] = []
    for batch in predictor.predictions(table, episodes):
        keep = ~np.isnan(targets[batch.indices])
        indices, probs = batch.indices[keep], batch.probs[keep].astype(np.float64)
        wanted = two_hot(targets[indices], probs.shape[1])
        bins = np.argmax(wanted, axis=1)
        of_target = np.take_along_axis(probs, bins[:, None], axis=1)
        log_probs = np.log(np.maximum(probs, np.finfo(np.float32).tiny))
        parts.append(
            (
                np.clip(expectation(probs), -1, 0),
                targets[indices],
                -np.sum(wanted * log_probs, axis=1),
                np.sum(probs > of_target, axis=1),
                indices,
            )
        )
        masses.append(probs.sum(axis=0))
    values, wanted_values, cross_entropy, rank, indices = map(
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
    )


def assess_health(held_out: HeldOut, config: HealthConfig) -> HealthReport:
    """Judge predictions by the bars of ``config``.

    Intervals come from resampling whole episodes, successes and failures apart: frames of an
    episode are no independent evidence.
    """
    is_first = np.diff(held_out.episode, prepend=-1) != 0
    successes = held_out.episode[is_first & held_out.success]
    failures = held_out.episode[is_first & ~held_out.success]
    spearman = separation = _UNDEFINED
    if min(len(successes), len(failures)) >= _MIN_EPISODES_PER_OUTCOME:
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
    )
    return _judged(report, config)


def rank_correlation(a: Shaped[np.ndarray, " n"], b: Shaped[np.ndarray, " n"]) -> float:
    """Spearman's correlation; 0 where one side is constant or there are fewer than two frames."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def _judged(report: HealthReport, config: HealthConfig) -> HealthReport:
    reasons = []
    if np.isnan(report.spearman.estimate):
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
    """Rank correlation of V with its target over the frames of some episodes."""
    stride = -(-len(held_out.values) // _MAX_RANKED_FRAMES)
    pairs = _by_episode(held_out, np.stack([held_out.values, held_out.targets], axis=1), stride)

    def statistic(successes: Int[np.ndarray, " i"], failures: Int[np.ndarray, " j"]) -> float:
        chosen = np.concatenate([pairs[e] for e in (*successes, *failures)])
        return rank_correlation(chosen[:, 0], chosen[:, 1])

    return statistic


def _separation(held_out: HeldOut) -> _Statistic:
    """Mean over episodes of their mean V, successes minus failures."""
    means = np.full(held_out.episode.max() + 1, np.nan)
    for episode, values in _by_episode(held_out, held_out.values, 1).items():
        means[episode] = values.mean()

    def statistic(successes: Int[np.ndarray, " i"], failures: Int[np.ndarray, " j"]) -> float:
        return float(means[successes].mean() - means[failures].mean())

    return statistic


def _by_episode(
    held_out: HeldOut, rows: Float[np.ndarray, "n ..."], stride: int
) -> dict[int, Float[np.ndarray, "k ..."]]:
    starts = np.flatnonzero(np.diff(held_out.episode, prepend=-1))
    parts = np.split(rows, starts[1:])
    return {int(held_out.episode[i]): part[::stride] for i, part in zip(starts, parts, strict=True)}
