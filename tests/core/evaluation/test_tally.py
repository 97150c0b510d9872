"""Counting beside a robot while an operator evaluates."""

import subprocess
import sys

import pytest
from scipy.stats import binomtest

from recap_core.evaluation.sequential import SequentialTest, is_better
from recap_core.evaluation.tally import PassiveTally, verdict_sentence


def test_a_session_counted_by_hand() -> None:
    """Nine of twelve: 75 %, Wilson's interval as SciPy has it; two episodes were helped."""
    tally = PassiveTally()
    for is_success in [True] * 9 + [False] * 3:
        tally.add(is_success=is_success)
    tally.add(is_success=True, num_correcting_frames=4)
    tally.add(is_success=False, num_correcting_frames=1)

    low, high = binomtest(9, 12).proportion_ci(method="wilson")
    assert tally.interval == pytest.approx((low, high))
    assert (tally.num_episodes, tally.num_successes, tally.rate) == (12, 9, 0.75)
    assert tally.num_disqualified == 2
    assert tally.verdict == "continue"
    assert tally.standing is None
    assert tally.sentence() == (
        "9 of 12 (75 %, 95 % interval 47 to 91 %). 2 disqualified by a takeover."
    )


def test_it_says_how_many_more_trials_decide_and_then_that_they_have() -> None:
    """At least 50 %: of successes alone, eight show it (2^9 - 1 over 9 is 57 coins)."""
    tally = PassiveTally(target=0.5)
    assert tally.sentence() == "No episode yet. The question is whether it reaches 50 %."
    for _ in range(5):
        tally.add(is_success=True)
    assert "about 3 more trials decide this" in tally.sentence()
    for _ in range(3):
        tally.add(is_success=True)

    assert tally.verdict == "better"
    assert "its success rate is above 50 % (shown after 8 episodes" in tally.sentence()
    assert tally.standing is not None
    assert tally.standing.num_more is None


def test_what_lies_at_the_target_is_not_decided() -> None:
    """Eighteen of twenty against 90 %: no number of trials like these tells, and it says so."""
    tally = PassiveTally(target=0.9)
    for index in range(20):
        tally.add(is_success=index % 10 != 0)

    assert "would not decide it" in tally.sentence()


def test_a_gain_that_was_asked_for_is_named() -> None:
    """In every sentence about it."""
    said: list[str] = []
    for worth in ([1.0] * 50, [0.0] * 50, [0.5] * 2):
        test = SequentialTest(is_better(margin=None, min_gain=0.2))
        test.add_all(worth)
        said.append(verdict_sentence(test))

    assert "the new policy is by more than 20 points better than the other one" in said[0]
    assert "a gain of 20 points or more is ruled out" in said[1]
    assert "whether it gains more than 20 points" in said[2]


def test_the_robots_computer_needs_no_scientific_library() -> None:
    """Neither JAX nor SciPy nor NumPy is imported by it."""
    heavy = "{'jax', 'scipy', 'numpy', 'torch'}"
    code = f"import recap_core.evaluation.tally, sys; print({heavy} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours

    assert done.stdout.strip() == "set()"
