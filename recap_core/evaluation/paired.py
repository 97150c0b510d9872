"""Difference of two success rates: exact tests, and intervals that hold for few episodes.

Same seeds: the scene of a seed is as hard for both policies, so only seeds that went differently
say anything. Other seeds: two independent samples, which tell less.
"""

from collections.abc import Sequence
from math import comb
from statistics import NormalDist
from typing import NamedTuple

from recap_core.evaluation.statistics import Interval

_CLOSE = 1e-10
_PRECISION = 1e-12

type Count = float | int
"""Of episodes; a whole number unless it is projected."""


class PairCounts(NamedTuple):
    """Seeds on which both policies were evaluated."""

    num_pairs: Count
    num_gained: Count
    """The new policy succeeded where the current one failed."""
    num_lost: Count
    """The current one succeeded where the new one failed."""

    @property
    def difference(self) -> float:
        """Success rate, new minus current."""
        return (self.num_gained - self.num_lost) / self.num_pairs


class Rates(NamedTuple):
    """Two independent samples."""

    new_successes: Count
    new_episodes: Count
    current_successes: Count
    current_episodes: Count

    @property
    def difference(self) -> float:
        """Success rate, new minus current."""
        new = self.new_successes / self.new_episodes
        return new - self.current_successes / self.current_episodes


type Sample = PairCounts | Rates


class Tails(NamedTuple):
    """One-sided exact p-values of equal success rates."""

    worse: float
    """Chance of so few successes of the new policy, or fewer, if both were equal."""
    better: float
    """Chance of so many, or more."""

    @property
    def two_sided(self) -> float:
        """Twice the smaller one, at most 1."""
        return min(1.0, 2 * min(self))


def tails(sample: Sample) -> Tails:
    """Exact test of equal success rates, on whole counts.

    Equal seeds, McNemar: of the seeds that went differently, each policy wins one with probability
    1/2. Other seeds, Fisher: given all successes, those of the new policy are hypergeometric.
    """
    if isinstance(sample, PairCounts):
        found, different = int(sample.num_gained), int(sample.num_gained + sample.num_lost)
        ways = [comb(different, k) for k in range(different + 1)]
    else:
        found, num_new = int(sample.new_successes), int(sample.new_episodes)
        successes = found + int(sample.current_successes)
        failures = num_new + int(sample.current_episodes) - successes
        ways = [comb(successes, k) * comb(failures, num_new - k) for k in range(num_new + 1)]
    # Whole numbers of any size: their ratio is exact to the last digit.
    worse, better, total = sum(ways[: found + 1]), sum(ways[found:]), sum(ways)
    return Tails(worse / total, better / total)


def interval(sample: Sample, confidence: float) -> Interval:
    """Two-sided interval of the difference; counts need not be whole."""
    if isinstance(sample, PairCounts):
        return _paired_interval(sample, confidence)
    return _unpaired_interval(sample, confidence)


def scaled[S: Sample](sample: S, factor: Count) -> S:
    """The same rates with ``factor`` times the episodes."""
    return type(sample)(*(factor * count for count in sample))


def _paired_interval(counts: PairCounts, confidence: float) -> Interval:
    """Tango's score interval of the difference on equal seeds (Statist. Med. 1998, 17:891).

    All differences d with |Z(d)| <= z, where, with n pairs, b gained and c lost,

        Z(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d)))

    and q is the most likely rate of lost seeds under that d: the larger root of
    2n q^2 + ((2n - b + c) d - b - c) q - c d (1 - d) = 0. Unlike a bootstrap it has a width where
    no seed went differently: +- z^2 / (n + z^2).
    """
    z = _quantile(confidence)

    def root(end: float, sign: int) -> float:
        """Where the score is z, between the estimate and ``end``; ``end`` if it stays below."""
        outside, inside = end * (1 - _CLOSE), counts.difference
        if sign * _tango_score(counts, outside) <= z:
            return end
        # The score falls as the difference grows.
        while abs(outside - inside) > _PRECISION:
            middle = (outside + inside) / 2
            if sign * _tango_score(counts, middle) > z:
                outside = middle
            else:
                inside = middle
        return (outside + inside) / 2

    return Interval(root(-1.0, 1), root(1.0, -1))


def _tango_score(counts: PairCounts, difference: float) -> float:
    n, b, c = counts
    d = difference
    half = (2 * n - b + c) * d - b - c
    root = max(half * half + 8 * n * c * d * (1 - d), 0.0) ** 0.5
    rate_lost = (root - half) / (4 * n)
    variance = n * (2 * rate_lost + d * (1 - d))
    distance = b - c - n * d
    if variance <= 0:
        return 0.0 if distance == 0 else float("inf") * distance
    return distance / variance**0.5


def _unpaired_interval(rates: Rates, confidence: float) -> Interval:
    """Newcombe's hybrid score interval of the difference (Statist. Med. 1998, 17:873, method 10).

    With Wilson's interval [l, u] of each rate p, new (1) minus current (2):

        p1 - p2 - sqrt((p1 - l1)^2 + (u2 - p2)^2)   to   p1 - p2 + sqrt((u1 - p1)^2 + (p2 - l2)^2)
    """
    new = rates.new_successes / rates.new_episodes
    current = rates.current_successes / rates.current_episodes
    of_new = wilson(rates.new_successes, rates.new_episodes, confidence)
    of_current = wilson(rates.current_successes, rates.current_episodes, confidence)
    below = ((new - of_new.low) ** 2 + (of_current.high - current) ** 2) ** 0.5
    above = ((of_new.high - new) ** 2 + (current - of_current.low) ** 2) ** 0.5
    return Interval(max(new - current - below, -1.0), min(new - current + above, 1.0))


def _quantile(confidence: float) -> float:
    """Of the normal distribution: a two-sided interval is so many standard deviations wide."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(num_successes: Count, num_episodes: Count, confidence: float) -> Interval:
    """Wilson's score interval of a rate, in [0, 1], of counts that need not be whole."""
    z = _quantile(confidence)
    n, rate = num_episodes, num_successes / num_episodes
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    # Rounding puts an end a little outside.
    return Interval(max(middle - half, 0.0), min(middle + half, 1.0))


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """P-values that may be held against one level together (Holm's step-down method).

    The i-th smallest of m becomes the largest of (m - j + 1) p_(j) over j <= i, at most 1: the
    chance that any of the true hypotheses is rejected stays below the level, whatever depends on
    what.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for position, index in enumerate(order):
        largest = max(largest, min((len(p_values) - position) * p_values[index], 1.0))
        adjusted[index] = largest
    return adjusted
