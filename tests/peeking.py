"""The numbers of docs/evaluation.md: how often looking again and again is wrong, and what it costs.

python -m tests.peeking
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from recap_core.evaluation.paired import PairCounts, interval, tails
from recap_core.evaluation.sequential import Trials, is_better, verdict_on

NUM_SEQUENCES, NUM_SEEDS, BLOCK = 4000, 300, 25
LEVEL = 0.05

type Test = Callable[[int, int, int], str]
"""The verdict on gained, lost and all seeds."""


class Ended(NamedTuple):
    """How simulated comparisons ended, as shares, and after how many seeds on average."""

    better: float
    worse: float
    futile: float
    num_seeds: float
    missed: float
    """Intervals made for one look that do not hold the true difference."""


@cache
def looked_at_once(gained: int, lost: int, num_seeds: int) -> str:
    """McNemar's exact test, as the gate has it: made for one look."""
    found = tails(PairCounts(num_seeds, gained, lost))
    if found.two_sided > LEVEL:
        return "continue"
    return "better" if found.better < found.worse else "worse"


@cache
def looked_at_any_time(gained: int, lost: int, num_seeds: int) -> str:
    """The sequential test, with 10 points as the difference that matters."""
    return verdict_on(Trials(gained, num_seeds - gained - lost, lost), is_better(margin=0.1))


@cache
def misses(gained: int, lost: int, num_seeds: int, difference: float) -> bool:
    """Whether the interval made for one look does not hold the true difference."""
    low, high = interval(PairCounts(num_seeds, gained, lost), 1 - LEVEL)
    return not low <= difference <= high


def simulate(test: Test, *, gain: float, loss: float, every: int) -> Ended:
    """Compare two policies many times, looking after every so many seeds, and stop at a verdict."""
    rng = np.random.default_rng(7)
    chances = (gain, loss, 1 - gain - loss)
    steps = rng.choice((1, -1, 0), p=chances, size=(NUM_SEQUENCES, NUM_SEEDS))
    looks = np.arange(every, NUM_SEEDS + 1, every)
    gained = (steps > 0).cumsum(axis=1)[:, looks - 1]
    lost = (steps < 0).cumsum(axis=1)[:, looks - 1]
    count = {"better": 0, "worse": 0, "futile": 0, "continue": 0}
    seeds = num_missed = 0
    for won, gone in zip(gained.tolist(), lost.tolist(), strict=True):
        verdict, num, one, other = "continue", NUM_SEEDS, 0, 0
        for one, other, num in zip(won, gone, looks.tolist(), strict=True):
            verdict = test(one, other, num)
            if verdict != "continue":
                break
        count[verdict] += 1
        seeds += num
        num_missed += misses(one, other, num, gain - loss)
    better, worse, futile = (count[key] / NUM_SEQUENCES for key in ("better", "worse", "futile"))
    shares = (seeds / NUM_SEQUENCES, num_missed / NUM_SEQUENCES)
    return Ended(better, worse, futile, *shares)


def main() -> None:
    """Print both tables."""
    write = sys.stdout.write
    write(f"{NUM_SEQUENCES} comparisons of two equal policies that differ on 40 % of the seeds\n")
    write("looks                     one-look test wrong   any-time test wrong\n")
    for every, name in ((300, "once, at 300 seeds"), (25, "every 25 seeds"), (1, "every seed")):
        one, other = (
            simulate(test, gain=0.2, loss=0.2, every=every)
            for test in (looked_at_once, looked_at_any_time)
        )
        wrong = (each.better + each.worse for each in (one, other))
        write("{:<26}{:>18.1%}{:>22.1%}\n".format(name, *wrong))
    write(f"\nany-time test, a look every {BLOCK} seeds, at most {NUM_SEEDS}\n")
    write("gain   seeds that differ   better   worse   futile   undecided   seeds on average")
    write("   missed\n")
    for difference, differ in (
        (0, 0.1),
        (0, 0.4),
        (0.1, 0.3),
        (0.2, 0.4),
        (0.3, 0.45),
        (-0.2, 0.4),
    ):
        gain, loss = (differ + difference) / 2, (differ - difference) / 2
        found = simulate(looked_at_any_time, gain=gain, loss=loss, every=BLOCK)
        rest = 1 - found.better - found.worse - found.futile
        write(
            f"{100 * difference:+4.0f} {differ:>18.0%} {found.better:>11.1%} {found.worse:>7.1%} "
            f"{found.futile:>8.1%} {rest:>11.1%} {found.num_seeds:>18.0f} "
            f"{found.missed:>8.1%}\n"
        )


if __name__ == "__main__":
    main()
