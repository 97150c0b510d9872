"""Two policies on the same seeds."""

from collections.abc import Sequence

import pytest

from recap_core.errors import DataError
from recap_core.evaluation.comparison import compare
from recap_core.evaluation.outcome import EpisodeOutcome


def _outcomes(successes: Sequence[int], first_seed: int = 0) -> list[EpisodeOutcome]:
    return [
        EpisodeOutcome(seed=first_seed + i, success=bool(s), num_frames=10, best_stage=4 * s)
        for i, s in enumerate(successes)
    ]


def test_a_policy_that_never_loses_a_seed_is_better() -> None:
    """Wins on 5 of 10 seeds and ties elsewhere: no resample can be negative, few are zero."""
    result = compare(_outcomes([1] * 10), _outcomes([0] * 5 + [1] * 5))

    assert result.difference == pytest.approx(0.5)
    assert result.low == pytest.approx(0.2)  # 2.5 % quantile of Binomial(10, 1/2) / 10
    assert result.high == pytest.approx(0.8)
    assert result.verdict == "better"


def test_equal_policies_are_undecided() -> None:
    """Every difference is zero, so is the interval."""
    same = _outcomes([0, 1, 1, 0])

    assert compare(same, same) == (0.0, 0.0, 0.0, "undecided")


def test_the_loser_is_worse() -> None:
    """Swapping the policies swaps the verdict."""
    assert compare(_outcomes([0] * 8), _outcomes([1] * 8)).verdict == "worse"


def test_other_seeds_are_refused() -> None:
    """Unpaired outcomes would make the interval a lie."""
    with pytest.raises(DataError, match="equal seeds"):
        compare(_outcomes([1, 0]), _outcomes([1, 0], first_seed=7))
