"""Tests that may be looked at after every episode."""

import itertools
from collections.abc import Callable
from functools import cache
from math import comb, exp, log

import numpy as np
import pytest

from recap_core.errors import ConfigError
from recap_core.evaluation.paired import PairCounts, interval
from recap_core.evaluation.sequential import (
    NUM_SHARES,
    Question,
    SequentialTest,
    Trials,
    Verdict,
    interval_at_all_times,
    is_at_least,
    is_better,
    log_wealth,
    num_more_trials,
    verdict_on,
)

ANY_DIFFERENCE = is_better(margin=None)


def stops(question: Question) -> Callable[[int, int], Verdict]:
    """The verdict on won and lost trials, each asked for once; ties say nothing of a direction."""

    @cache
    def verdict(won: int, lost: int) -> Verdict:
        return verdict_on(Trials(won, 0, lost), question)

    return verdict


def chances(
    question: Question, *, wins: float, num_trials: int
) -> tuple[dict[Verdict, float], float]:
    """Exact chances of the verdicts, looked at after every trial, and the trials until then.

    Every path is counted: the chance of each pair of counts that has not stopped is carried from
    one trial to the next.
    """
    verdict = stops(question)
    going = {(0, 0): 1.0}
    ended: dict[Verdict, float] = {"better": 0.0, "worse": 0.0, "futile": 0.0}
    expected = 0.0
    for _ in range(num_trials):
        expected += sum(going.values())
        after: dict[tuple[int, int], float] = {}
        for (won, lost), chance in going.items():
            for counts, share in (((won + 1, lost), wins), ((won, lost + 1), 1 - wins)):
                after[counts] = after.get(counts, 0.0) + chance * share
        going = {}
        for counts, chance in after.items():
            found = verdict(*counts)
            if found == "continue":
                going[counts] = chance
            else:
                ended[found] += chance
    return {**ended, "continue": sum(going.values())}, expected


def test_a_bettor_by_hand() -> None:
    """One stake c on a success, m = 1/2: 1 - c + 2 c = 1 + c; all stakes 1/80 ... 79/80.

    Their mean is 1 + 1/2 after a success; after one more failure it is the mean of (1 + c)(1 - c).
    """
    shares = [(2 * k + 1) / 80 for k in range(NUM_SHARES)]

    assert exp(log_wealth(Trials(1), 0.5)) == pytest.approx(1.5)
    expected = sum(1 - c * c for c in shares) / NUM_SHARES
    assert exp(log_wealth(Trials(1, 0, 1), 0.5)) == pytest.approx(expected)
    assert log_wealth(Trials(0, 7, 0), 0.5) == pytest.approx(0)


def test_stakes_are_likelihood_ratios() -> None:
    """Of m + c (1 - m) to m: the same number by binomial probabilities."""
    won, lost, mean = 7, 3, 0.6
    shares = [(2 * k + 1) / 80 for k in range(NUM_SHARES)]
    rates = [mean + c * (1 - mean) for c in shares]

    def chance(rate: float) -> float:
        return comb(10, won) * rate**won * (1 - rate) ** lost

    expected = sum(chance(rate) for rate in rates) / NUM_SHARES / chance(mean)
    assert exp(log_wealth(Trials(won, 0, lost), mean)) == pytest.approx(expected)


def test_eight_seeds_in_a_row_are_enough_and_seven_are_not() -> None:
    """(2^9 - 1) / 9 = 56.8 coins, (2^8 - 1) / 8 = 31.9 coins, where 40 are needed."""
    test = SequentialTest(ANY_DIFFERENCE)

    seven = [test.add_pair(new=True, other=False) for _ in range(7)]

    assert set(seven) == {"continue"}
    assert test.standing().num_more == 1
    assert test.add_pair(new=True, other=True) == "continue"
    assert test.add_pair(new=True, other=False) == "better"
    for _ in range(30):  # the first verdict stays
        test.add_pair(new=False, other=True)
    assert (test.verdict, test.num_at_verdict) == ("better", 9)


def test_every_sequence_of_twelve_seeds() -> None:
    """All 4,096, equally likely if the policies are equal: their shares are the exact chances."""
    verdict = stops(ANY_DIFFERENCE)
    counted = {"better": 0, "worse": 0, "continue": 0}
    for sequence in itertools.product((True, False), repeat=12):
        won = lost = 0
        found = "continue"
        for is_won in sequence:
            won, lost = won + is_won, lost + (not is_won)
            found = verdict(won, lost)
            if found != "continue":
                break
        counted[found] += 1

    exact, _ = chances(ANY_DIFFERENCE, wins=0.5, num_trials=12)

    assert counted["better"] == counted["worse"] > 0
    assert {key: count / 4096 for key, count in counted.items()} == pytest.approx(
        {key: exact[key] for key in counted}  # pyright: ignore[reportArgumentType] - verdicts
    )


@pytest.mark.parametrize(
    ("question", "wins"),
    [(ANY_DIFFERENCE, 0.5), (is_at_least(0.8), 0.8), (is_at_least(0.3), 0.3)],
)
def test_no_number_of_looks_makes_it_wrong_more_often(question: Question, wins: float) -> None:
    """A look after each of 250 trials: exact chance of a false verdict at most 2.5 % per side.

    With a test for a fixed number it grows with every look: tests/peeking.py.
    """
    exact, _ = chances(question, wins=wins, num_trials=250)

    assert exact["better"] <= 0.025
    assert exact["worse"] <= 0.025
    assert exact["better"] + exact["worse"] > 0.005  # it is a test, not a refusal to answer


def test_false_verdicts_in_simulated_sequences() -> None:
    """4,000 sequences of 300 seeds of equal policies that differ on 40 %, looked at after each.

    At most 5 % stop wrongly: their number is binomial, and 237 is its 99.7 % quantile at 5 %.
    """
    rng = np.random.default_rng(11)
    steps = rng.choice((1, 0, -1), p=(0.2, 0.6, 0.2), size=(4000, 300))
    is_wrong = stopped(steps, ANY_DIFFERENCE)[0] != "continue"

    assert is_wrong.sum() <= 237


def test_a_better_policy_is_found_as_often_as_calculated() -> None:
    """Of the seeds that differ the new policy wins 75 %: the exact chance to have seen it by then.

    1,500 simulated sequences of 60 such seeds agree within four standard errors, and so does the
    number of seeds that it took.
    """
    exact, expected = chances(ANY_DIFFERENCE, wins=0.75, num_trials=60)
    rng = np.random.default_rng(3)
    steps = rng.choice((1, -1), p=(0.75, 0.25), size=(1500, 60))
    found, took = stopped(steps, ANY_DIFFERENCE)

    share = np.mean(found == "better")
    error = np.sqrt(exact["better"] * (1 - exact["better"]) / 1500)
    assert exact["better"] > 0.85
    assert exact["worse"] < 1e-3
    assert abs(share - exact["better"]) < 4 * error
    assert abs(took.mean() - expected) < 4 * took.std() / np.sqrt(1500)


def stopped(steps: np.ndarray, question: Question) -> tuple[np.ndarray, np.ndarray]:
    """First verdict of every sequence of +1, 0 and -1, and the trials until then."""
    verdict = stops(question)
    won, lost = (steps > 0).cumsum(axis=1), (steps < 0).cumsum(axis=1)
    looked = np.vectorize(verdict, otypes=["U8"])(won, lost)
    is_stopped = looked != "continue"
    first = np.where(is_stopped.any(axis=1), is_stopped.argmax(axis=1), steps.shape[1] - 1)
    return looked[np.arange(len(steps)), first], first + 1


@pytest.mark.parametrize("difference", [0.1, -0.1])
def test_futile_is_hardly_ever_said_of_a_difference_that_matters(difference: float) -> None:
    """Policies that differ by the margin, on half of the seeds, looked at after each of 400."""
    question = is_better(margin=0.1)
    rng = np.random.default_rng(5)
    gained, lost = 0.25 + difference / 2, 0.25 - difference / 2
    num_futile, looks = 0, 60
    for _ in range(looks):
        test = SequentialTest(question)
        for _ in range(20):
            steps = rng.choice((1.0, 0.0, 0.5), p=(gained, lost, 0.5), size=20)
            test.add_all(steps.tolist())
        num_futile += test.verdict == "futile"

    assert num_futile <= 5  # 2.5 % of 60 is 1.5; more than 5 have a chance of 0.3 %


def test_equal_policies_are_given_up() -> None:
    """Two policies that differ on 10 % of the seeds, evenly: no 10 points can be between them."""
    test = SequentialTest(is_better(margin=0.1))
    while test.verdict == "continue":
        assert test.trials.total < 400
        test.add_all([1.0, 0.0] + [0.5] * 18)

    assert test.verdict == "futile"
    low, high = test.standing().interval
    assert -0.1 <= low < 0 < high <= 0.1


def test_a_gain_that_is_asked_for_has_to_be_exceeded() -> None:
    """Of 20 points: 30 are shown to be more, 10 to be less; 20 alone never are either."""
    question = is_better(margin=None, min_gain=0.2)

    assert verdict_on(Trials(300, 700, 0), question) == "better"
    assert verdict_on(Trials(100, 900, 0), question) == "worse"
    assert verdict_on(Trials(200, 800, 0), question) == "continue"
    assert verdict_on(Trials(200, 800, 0), ANY_DIFFERENCE) == "better"


def test_the_interval_at_all_times_holds_what_is_not_ruled_out() -> None:
    """Its ends are where the bettors own 40 coins; it is wider than one for a fixed number."""
    trials = Trials(30, 50, 10)
    low, high = interval_at_all_times(trials, ANY_DIFFERENCE)

    assert log_wealth(trials, (1 + low) / 2) == pytest.approx(log(40), abs=1e-3)
    assert log_wealth(Trials(10, 50, 30), (1 - high) / 2) == pytest.approx(log(40), abs=1e-3)
    assert low < 20 / 90 < high
    fixed = interval(PairCounts(90, 30, 10), 0.95)
    assert low < fixed.low
    assert fixed.high < high


@pytest.mark.parametrize("trials", [Trials(6, 20, 0), Trials(20, 60, 10), Trials(9, 0, 11)])
def test_so_many_more_trials_decide(trials: Trials) -> None:
    """At the same rates: with that many there is a verdict, with one fewer there is none."""
    question = is_better(margin=0.2)
    more = num_more_trials(trials, question)
    assert more is not None

    def after(num_more: int) -> Verdict:
        factor = 1 + num_more / trials.total
        return verdict_on(Trials(*(factor * count for count in trials)), question)

    assert after(more) != "continue"
    assert after(more - 1) == "continue"


def test_blocks_look_less_often() -> None:
    """Trials that are added together are looked at once, in whichever order they were run."""
    one, other = (SequentialTest(ANY_DIFFERENCE) for _ in range(2))

    one.add_all([1.0] * 9 + [0.0] * 5)
    other.add_all([0.0] * 5 + [1.0] * 9)

    assert one.verdict == other.verdict == "continue"  # nine in a row alone would have decided


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: is_at_least(1.0), "success rate of 1"),
        (lambda: is_better(confidence=0.3), "confidence is 0.3"),
        (lambda: is_better(margin=0.0), "margin of 0"),
    ],
)
def test_impossible_questions_are_refused(make: Callable[[], Question], message: str) -> None:
    """With the rule."""
    with pytest.raises(ConfigError, match=message):
        make()
