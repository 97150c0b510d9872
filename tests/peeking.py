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
    """Of those that stopped early: intervals made for one look without the true difference."""
    called_better: float
    """By the test made for one look, after the last seed that was tried."""


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


def simulate(
    test: Test, *, gain: float, loss: float, every: int, num_seeds: int = NUM_SEEDS
) -> Ended:
    """Compare two policies many times, looking after every so many seeds, and stop at a verdict."""
    rng = np.random.default_rng(7)
    chances = (gain, loss, 1 - gain - loss)
    steps = rng.choice((1, -1, 0), p=chances, size=(NUM_SEQUENCES, num_seeds))
    looks = np.arange(every, num_seeds + 1, every)
    gained = (steps > 0).cumsum(axis=1)[:, looks - 1]
    lost = (steps < 0).cumsum(axis=1)[:, looks - 1]
    count = {"better": 0, "worse": 0, "futile": 0, "continue": 0}
    seeds = num_early = num_missed = num_called = 0
    for won, gone in zip(gained.tolist(), lost.tolist(), strict=True):
        verdict, num, one, other = "continue", num_seeds, 0, 0
        for one, other, num in zip(won, gone, looks.tolist(), strict=True):
            verdict = test(one, other, num)
            if verdict != "continue":
                break
        count[verdict] += 1
        seeds += num
        num_called += looked_at_once(one, other, num) == "better"
        num_early += num < num_seeds
        num_missed += num < num_seeds and misses(one, other, num, gain - loss)
    better, worse, futile = (count[key] / NUM_SEQUENCES for key in ("better", "worse", "futile"))
    missed = num_missed / num_early if num_early else 0.0
    called_better = num_called / NUM_SEQUENCES
    return Ended(better, worse, futile, seeds / NUM_SEQUENCES, missed, called_better)


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
    write("gain   seeds that differ   better   worse   futile   undecided   seeds on average\n")
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
            f"{found.futile:>8.1%} {rest:>11.1%} {found.num_seeds:>18.0f}\n"
        )
    write("\nwhere it stopped early: 95 % intervals made for one look that miss the truth\n")
    write("gain   seeds that differ   at most 300   at most 150\n")
    for difference, differ in ((0.1, 0.3), (0.2, 0.4)):
        gain, loss = (differ + difference) / 2, (differ - difference) / 2
        missed = [
            simulate(looked_at_any_time, gain=gain, loss=loss, every=BLOCK, num_seeds=most).missed
            for most in (NUM_SEEDS, NUM_SEEDS // 2)
        ]
        write(f"{100 * difference:+4.0f} {differ:>18.0%} {missed[0]:>13.1%} {missed[1]:>13.1%}\n")
    write("\nequal policies called better by the gate's test, which is made for one look\n")
    write("seeds that differ   fixed 300   stopped early\n")
    for differ in (0.2, 0.4):
        fixed, early = (
            simulate(looked_at_any_time, gain=differ / 2, loss=differ / 2, every=every)
            for every in (NUM_SEEDS, BLOCK)
        )
        write(f"{differ:>17.0%} {fixed.called_better:>11.1%} {early.called_better:>15.1%}\n")


if __name__ == "__main__":
    main()
