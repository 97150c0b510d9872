"""A policy's line in the table, by hand and by SciPy."""

import pytest
from scipy.stats import binomtest

from recap_core.errors import DataError
from recap_core.evaluation.checkpoint_row import Span, checkpoint_row, cycle_seconds
from recap_core.evaluation.failures import failure_reason
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.paired import wilson


def simulated(
    seed: int, num_frames: int, best_stage: int, *, success: bool = False
) -> EpisodeOutcome:
    return EpisodeOutcome(seed=seed, success=success, num_frames=num_frames, best_stage=best_stage)


EPISODES = (
    simulated(0, 20, 4, success=True),
    simulated(1, 40, 4, success=True),
    simulated(2, 60, 0),
    simulated(3, 60, 0),
    simulated(4, 60, 2),
    simulated(5, 30, 3),
)


def test_a_row_by_hand() -> None:
    """2 of 6 in 270 frames at 10 per second: 27 s, so 266.7 an hour and 7.4 per 1000 frames."""
    row = checkpoint_row("new", EPISODES, fps=10, max_frames=60)

    assert (row.num_episodes, row.num_successes, row.rate) == (6, 2, pytest.approx(1 / 3))
    assert row.per_hour == pytest.approx(2 * 3600 / 27)
    assert row.per_1000_frames == pytest.approx(2000 / 270)
    assert (row.success_frames, row.success_s) == (30, pytest.approx(3.0))
    assert row.per_hour_with_resets is None
    assert list(row.failures.items()) == [
        ("time limit: never touched the cube", 2),
        ("fell off the table", 1),
        ("time limit: lifted it, did not reach the other hand", 1),
    ]


@pytest.mark.parametrize("num_successes", [0, 1, 17, 49, 50])
def test_wilsons_interval_is_scipys(num_successes: int) -> None:
    """Of 50 episodes; once also held against statsmodels 0.15.0's proportion_confint(wilson)."""
    episodes = [simulated(i, 9, 0, success=i < num_successes) for i in range(50)]
    row = checkpoint_row("new", episodes, fps=10, max_frames=60)

    expected = binomtest(num_successes, 50).proportion_ci(method="wilson")
    assert row.interval == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("num_episodes", [7, 25, 30, 150])
def test_wilsons_interval_stays_a_rate(num_episodes: int) -> None:
    """Also where rounding would put an end beside 0 or 1."""
    none, every = (wilson(k, num_episodes, 0.95) for k in (0, num_episodes))

    assert (none.low, every.high) == (0, 1)


def test_a_session_with_resets_and_a_lunch_break() -> None:
    """Starts 60 s apart but for one hour: a cycle is a minute, so half of 60 an hour succeed."""
    spans = [Span(60.0 * i + (3600 if i > 2 else 0), 20.0) for i in range(6)]
    episodes = [
        EpisodeOutcome(
            seed=i,
            success=i % 2 == 0,
            num_frames=200,
            best_stage=0,
            episode=f"e{i}",
            started_at_s=span.started_at_s,
            duration_s=span.duration_s,
        )
        for i, span in enumerate(spans)
    ]
    row = checkpoint_row("new", episodes, fps=10, max_frames=None, spans=spans)

    assert cycle_seconds(spans) == pytest.approx(60)
    assert row.per_hour_with_resets == pytest.approx(30)
    assert row.per_hour == pytest.approx(3 * 3600 / 120)
    assert row.failures == {"no reason noted": 3}


def test_a_single_start_tells_nothing_of_resets() -> None:
    """Nor do episodes of a simulated clock."""
    assert cycle_seconds([Span(5.0, 3.0)]) is None
    assert cycle_seconds([Span(None, 3.0), Span(None, 3.0)]) is None


def test_what_the_operator_says_comes_first() -> None:
    """A success has no reason at all."""
    failed = simulated(0, 9, 2).model_copy(update={"failure_reason": "slipped"})

    assert failure_reason(failed, max_frames=60) == "slipped"
    assert failure_reason(simulated(0, 9, 4, success=True), max_frames=60) is None


def test_nothing_is_no_row() -> None:
    """A rate of nothing has no value."""
    with pytest.raises(DataError, match="no episode that counts"):
        checkpoint_row("new", [], fps=10, max_frames=60)
