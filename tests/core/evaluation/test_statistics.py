"""Success rates and their intervals."""

import pytest

from recap_core.errors import DataError
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.statistics import summarize, wilson_interval


def outcome(*, success: bool, num_frames: int, corrected: int = 0) -> EpisodeOutcome:
    return EpisodeOutcome(
        seed=1,
        success=success,
        num_frames=num_frames,
        num_correcting_frames=corrected,
        best_stage=4 if success else 0,
    )


def test_wilson_on_paper() -> None:
    """5 of 10, z^2 = 3.84: (5 + 1.92 +- 1.96 sqrt(2.5 + 0.96)) / 13.84 = 0.2366, 0.7634."""
    low, high = wilson_interval(5, 10)
    assert low == pytest.approx(0.2366, abs=1e-4)
    assert high == pytest.approx(0.7634, abs=1e-4)


@pytest.mark.parametrize(
    ("successes", "interval"), [(44, (23, 37)), (100, (59, 74)), (107, (64, 78))]
)
def test_published_intervals(successes: int, interval: tuple[int, int]) -> None:
    """29.3 %, 66.7 % and 71.3 % of 150, as SIM.md prints them in whole per cent."""
    low, high = wilson_interval(successes, 150)
    assert (round(100 * low), round(100 * high)) == interval


def test_no_success_leaves_room_above_zero() -> None:
    """0 of 150: z^2 / (n + z^2) = 3.84 / 153.84 = 2.5 %."""
    low, high = wilson_interval(0, 150)
    assert low == 0
    assert high == pytest.approx(0.02497, abs=1e-5)


def test_a_higher_confidence_is_a_wider_interval() -> None:
    """99 % contains 90 %."""
    narrow, wide = wilson_interval(5, 10, 0.9), wilson_interval(5, 10, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_summary_counts_rate_and_throughput() -> None:
    """Two of four in 20 + 30 + 40 + 40 = 130 frames: 50 %, 15.4 per 1000, 25 frames each."""
    outcomes = [
        outcome(success=True, num_frames=20),
        outcome(success=True, num_frames=30),
        outcome(success=False, num_frames=40),
        outcome(success=False, num_frames=40),
    ]
    summary = summarize(outcomes)
    assert summary.success_rate == 0.5
    assert summary.successes_per_1000_frames == pytest.approx(15.3846, abs=1e-4)
    assert summary.mean_success_frames == 25
    assert summary.success_rate_low < 0.5 < summary.success_rate_high


def test_without_success_there_is_no_mean_length() -> None:
    """None, not NaN."""
    assert summarize([outcome(success=False, num_frames=40)]).mean_success_frames is None


def test_an_episode_with_help_is_refused() -> None:
    """A takeover would be counted as the policy's own success."""
    outcomes = [outcome(success=True, num_frames=20, corrected=3)]
    with pytest.raises(DataError, match="3 correcting frames"):
        summarize(outcomes)


def test_no_episodes_are_refused() -> None:
    """A rate of nothing has no value."""
    with pytest.raises(DataError, match="no episodes"):
        summarize([])
