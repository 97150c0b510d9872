"""Thresholds per task, source and dataset, by share and by value, and what labels must keep."""

import numpy as np
import pytest

from recap_core.errors import ColumnError
from recap_core.labels.choice import Judged, ThresholdRule, choose
from recap_core.labels.invariants import check_labels
from recap_core.labels.labelling import Frames, LabelRule, label_frames
from recap_core.labels.targets import Episodes, frame_targets
from recap_core.labels.threshold import best_first, top_share


def judged(advantage: list[float], *, autonomous: list[bool] | None = None) -> Judged:
    n = len(advantage)
    is_autonomous = np.ones(n, dtype=bool) if autonomous is None else np.array(autonomous)
    return Judged(np.array(advantage, dtype=np.float32), is_autonomous, np.ones(n, dtype=bool))


def episodes(lengths: list[int], *, sources: list[int] | None = None) -> Episodes:
    e = len(lengths)
    return Episodes(
        np.array(lengths),
        np.ones(e, dtype=bool),
        np.zeros(e, dtype=int),
        np.ones(e, dtype=int),
        None if sources is None else np.array(sources),
    )


def test_one_threshold_per_source() -> None:
    """A good and a bad recording each keep their better half."""
    rule = ThresholdRule(share=0.5, scope="source")

    choice = choose(judged([4, 3, 2, 1, -1, -2]), episodes([3, 3], sources=[1, 0]), rule)

    # floor(2 * 0.5) + 1 = 2 of each three.
    assert choice.is_positive.tolist() == [True, True, False, True, True, False]
    assert choice.threshold.tolist() == [-1, 3]
    assert (choice.pool_size.tolist(), choice.num_positive.tolist()) == ([3, 3], [2, 2])


def test_thresholds_per_source_need_sources() -> None:
    """The error says what else there is."""
    with pytest.raises(
        ColumnError, match=r"names none\. Choose thresholds per task or per dataset"
    ):
        choose(judged([1, 2]), episodes([2]), ThresholdRule(scope="source"))


@pytest.mark.parametrize(("comparison", "positive"), [("at_least", [0, 1]), ("above", [0])])
def test_an_absolute_threshold(comparison: str, positive: list[int]) -> None:
    """As in kai0 and OpenTau; STEAM's and the paper's ``>`` leaves out what equals it."""
    rule = ThresholdRule()._replace(threshold=0.5, comparison=comparison)

    choice = choose(judged([0.75, 0.5, 0.25]), episodes([3]), rule)

    assert np.flatnonzero(choice.is_positive).tolist() == positive
    assert choice.threshold.tolist() == [0.5]
    assert choice.rank.tolist() == [0, 1, 2]
    assert choice.autonomous_positive_share == pytest.approx(len(positive) / 3)


def test_an_absolute_threshold_needs_no_pool() -> None:
    """Where a human drove throughout, advantages are still compared."""
    rule = ThresholdRule(threshold=0.5)

    choice = choose(judged([0.75, 0.25], autonomous=[False, False]), episodes([2]), rule)

    assert choice.is_positive.tolist() == [True, False]
    assert (choice.pool_size.tolist(), choice.autonomous_positive_share) == ([0], 0)


def test_ties_at_a_quantile_are_not_broken() -> None:
    """Ten equal advantages: all reach their quantile, none is above it, and a share breaks ties."""
    flat, one = judged([0.5] * 10), episodes([10])
    quantile = ThresholdRule(share=0.3, selection="quantile")

    assert choose(flat, one, quantile).is_positive.all()
    assert not choose(flat, one, quantile._replace(comparison="above")).is_positive.any()
    exact = choose(flat, one, ThresholdRule(share=0.3))
    assert np.flatnonzero(exact.is_positive).tolist() == [0, 1, 2]


def test_the_reference_counts() -> None:
    """14,318 distinct advantages: 4,296 positive and 10,022 negative under every selection."""
    advantage = np.random.default_rng(0).permutation(14_318).astype(np.float32)
    one = episodes([14_318])
    rule = ThresholdRule(share=0.3, scope="dataset", pool="autonomous")

    for changes in (
        {},
        {"selection": "quantile"},
        {"selection": "quantile", "comparison": "above"},
    ):
        choice = choose(judged(advantage.tolist()), one, rule._replace(**changes))
        assert (int(choice.is_positive.sum()), int((~choice.is_positive).sum())) == (4_296, 10_022)


def test_both_sorts_break_ties_alike() -> None:
    """float32 is sorted as integers, float64 by comparison; zero has no sign, infinity an end."""
    numbers = [0.0, -0.0, 0.5, -0.5, 0.5, 1e-40, -1e-40, np.inf, -np.inf, 0.0]
    falling = [7, 2, 4, 5, 0, 1, 9, 6, 3, 8]

    assert best_first(np.array(numbers, dtype=np.float32)).tolist() == falling
    assert best_first(np.array(numbers)).tolist() == falling
    rng = np.random.default_rng(1)
    many = rng.integers(-5, 5, 2_000) / 4
    np.testing.assert_array_equal(best_first(many), best_first(many.astype(np.float32)))
    assert top_share(many, 0.25).is_positive.sum() == 1_999 // 4 + 1


def test_corrections_with_a_frozen_arm() -> None:
    """By advantage: positive only where that is high; ``none``: no label. Demonstrations keep."""
    frames = Frames(
        values=np.array([-0.9, -0.1, -0.9, -0.8, -0.7, -0.6], dtype=np.float32),
        is_intervention=np.array([False, True, True, False, True, True]),
        is_paused=np.zeros(6, dtype=bool),
        adv_ind=np.full(6, 2, dtype=np.int8),
        is_frozen=np.array([False, True, False, False, True, True]),
    )
    two = episodes([4, 2])
    rule = LabelRule(lookahead=1, threshold=ThresholdRule(share=0.1, pool="autonomous"))

    judged_anew = label_frames(frames, two, rule)
    left_out = label_frames(frames, two, rule._replace(frozen="none"))

    # Frame 1 falls from -0.1 to -0.9, far below; frame 2 is a whole correction.
    assert judged_anew.adv_ind.tolist() == [2, 1, 2, 1, 2, 2]
    assert left_out.adv_ind.tolist() == [2, 0, 2, 1, 2, 2]
    for result, own in ((judged_anew, rule), (left_out, rule._replace(frozen="none"))):
        check_labels(result.adv_ind, result.choice.rank, frames, two, own)


@pytest.mark.parametrize(
    "rule",
    [
        LabelRule(interventions="by_advantage", demonstrations="positive"),
        LabelRule(threshold=ThresholdRule(threshold=-0.1)),
        LabelRule(threshold=ThresholdRule(selection="quantile"), demonstrations="by_advantage"),
    ],
)
def test_what_a_rule_does_not_promise_is_not_checked(rule: LabelRule) -> None:
    """Rules that judge humans too, or have no share, keep their own promises."""
    rng = np.random.default_rng(0)
    frames = Frames(
        values=-rng.random(20).astype(np.float32),
        is_intervention=np.arange(20) % 3 == 0,
        is_paused=np.zeros(20, dtype=bool),
        adv_ind=np.zeros(20, dtype=np.int8),
    )
    two = episodes([19, 1])

    result = label_frames(frames, two, rule)

    check_labels(result.adv_ind, result.choice.rank, frames, two, rule)


def test_a_target_rule_needs_its_number() -> None:
    """The errors name rule and number."""
    one, nothing = episodes([2]), np.zeros(2, dtype=bool)

    with pytest.raises(ValueError, match="return_range needs fail_frames of at least 0, got None"):
        frame_targets(one, is_skipped=nothing, rule="return_range")
    with pytest.raises(ValueError, match=r"reference has no discount, got 0.9; use per_task or"):
        frame_targets(one, is_skipped=nothing, rule="reference", discount=0.9)
