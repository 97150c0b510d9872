"""When a new policy may replace the current one."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact, multinomial

from recap_core.config.gate import EXACTLY_AS_SUCCESSFUL, GateConfig, with_gate
from recap_core.evaluation.gate import Samples, compare_on_tasks, pairs_by_seed, rule_on
from recap_core.evaluation.gate_words import ruling_sentence
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.paired import (
    PairCounts,
    Rates,
    holm_adjusted,
    interval,
    scaled,
    tails,
)

RANK = {"fails": 0, "undecided": 1, "holds": 2}


def outcomes(
    successes: Sequence[bool | int], task: str = "cube", first_seed: int = 0
) -> list[EpisodeOutcome]:
    return [
        EpisodeOutcome(seed=first_seed + i, success=bool(s), num_frames=9, best_stage=0, task=task)
        for i, s in enumerate(successes)
    ]


def pairs(
    num_pairs: int, gained: int, lost: int, task: str = "cube"
) -> tuple[list[EpisodeOutcome], list[EpisodeOutcome]]:
    """Current and new policy on the same seeds; the rest of the seeds fails for both."""
    rest = num_pairs - gained - lost
    current = [0] * gained + [1] * lost + [0] * rest
    new = [1] * gained + [0] * lost + [0] * rest
    return outcomes(current, task), outcomes(new, task)


def compared(*tasks: tuple[list[EpisodeOutcome], list[EpisodeOutcome]]) -> Samples:
    current = [outcome for one, _ in tasks for outcome in one]
    new = [outcome for _, other in tasks for outcome in other]
    return compare_on_tasks(current, new, confidence=0.95)


def standing(samples: Samples, **config: object) -> str:
    return rule_on(samples, GateConfig.model_validate(config)).standing


def test_mcnemar_by_hand() -> None:
    """6 of 6 differing seeds gained: the chance of that is 2^-6, twice that on either side."""
    found = tails(PairCounts(50, 6, 0))

    assert found.better == pytest.approx(1 / 64)
    assert found.worse == 1
    assert found.two_sided == pytest.approx(1 / 32)


@pytest.mark.parametrize(("gained", "lost"), [(12, 2), (3, 3), (0, 9), (20, 31)])
def test_mcnemar_is_the_binomial_test(gained: int, lost: int) -> None:
    """Of scipy, on the seeds that went differently."""
    expected = binomtest(gained, gained + lost).pvalue

    assert tails(PairCounts(99, gained, lost)).two_sided == pytest.approx(expected)


@pytest.mark.parametrize("new", range(3, 18, 2))
def test_fishers_tails_are_scipys(new: int) -> None:
    """Independent samples: 20 episodes of the new policy, 30 of the current one, 12 successful."""
    table = [[new, 20 - new], [12, 18]]

    found = tails(Rates(new, 20, 12, 30))

    _, greater = fisher_exact(table, "greater")
    _, less = fisher_exact(table, "less")
    assert found.better == pytest.approx(greater)
    assert found.worse == pytest.approx(less)


def test_published_intervals() -> None:
    """Newcombe 1998: 56/70 against 48/80; and his pairs 36, 12, 2, 0 under Tango's score."""
    assert interval(Rates(56, 70, 48, 80), 0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert interval(PairCounts(50, 12, 2), 0.95) == pytest.approx((0.0611, 0.3447), abs=5e-5)


def test_the_paired_interval_is_where_the_likelihood_says() -> None:
    """At its ends the score, the nuisance rate found by brute force, is the normal quantile."""
    n, b, c = 40, 9, 3
    low, high = interval(PairCounts(n, b, c), 0.95)
    for d in (low, high):
        rate_lost = np.linspace(max(-d, 0) + 1e-9, (1 - d) / 2 - 1e-9, 400_001)
        likelihood = (
            b * np.log(rate_lost + d) + c * np.log(rate_lost)
            + (n - b - c) * np.log(1 - 2 * rate_lost - d)
        )  # fmt: skip
        q = rate_lost[np.argmax(likelihood)]
        score = (b - c - n * d) / np.sqrt(n * (2 * q + d - d * d))
        assert abs(score) == pytest.approx(1.95996, abs=1e-3)


def test_no_seed_that_went_differently_still_leaves_doubt() -> None:
    """Plus and minus z^2 / (n + z^2): two episodes prove nothing, 150 rule 2.5 points out."""
    assert interval(PairCounts(2, 0, 0), 0.95).low == pytest.approx(-3.8415 / 5.8415, abs=1e-4)
    assert interval(PairCounts(150, 0, 0), 0.95).low == pytest.approx(-0.02497, abs=1e-5)


def test_holm_by_hand() -> None:
    """0.01 x 3, 0.02 x 2, and 0.04 x 1 raised to what came before."""
    assert holm_adjusted([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


@pytest.mark.parametrize(("num_pairs", "loss"), [(10, 0.2), (24, 0.1), (24, 0.2)])
def test_a_policy_that_is_worse_by_the_limit_seldom_passes(num_pairs: int, loss: float) -> None:
    """Exact chance over all tables, at the worst rate of differing seeds: near 2.5 %."""
    config = GateConfig(max_loss=loss, min_episodes=1)
    tables = [
        (b, c) for b in range(num_pairs + 1) for c in range(num_pairs + 1 - b)
        if b >= c and interval(PairCounts(num_pairs, b, c), 0.95).low > -config.max_loss
    ]  # fmt: skip
    counts = np.array([(b, c, num_pairs - b - c) for b, c in tables]).reshape(-1, 3)
    chances = [
        multinomial.pmf(counts, num_pairs, [gain, gain + loss, 1 - 2 * gain - loss]).sum()
        for gain in np.linspace(0, (1 - loss) / 2, 30)
    ]

    assert max(chances, default=0.0) < 0.045


def test_the_demo_is_promoted() -> None:
    """25.3 % to 57.3 % of 150 seeds: every default rule holds; the sentence has the reason."""
    samples = compared(pairs(150, gained=58, lost=10))

    assert standing(samples) == "holds"
    assert standing(samples, rule="better") == "holds"
    assert ruling_sentence(rule_on(samples, GateConfig()), samples, GateConfig()) == (
        "The new policy is better than the current one; a loss of 10 points or more is ruled out "
        "(95 % confidence)."
    )


def test_a_tie_passes_if_it_is_a_close_one() -> None:
    """On 150 seeds 10 points are ruled out at 28 seeds gained and lost, and no more at 29."""
    assert standing(compared(pairs(150, 28, 28))) == "holds"
    ruling = rule_on(compared(pairs(150, 29, 29)), GateConfig())
    assert (ruling.standing, ruling.num_more_episodes) == ("undecided", 1)
    assert standing(compared(pairs(150, 28, 28)), rule="better") == "undecided"


def test_no_number_of_episodes_makes_a_tie_better() -> None:
    """So none is promised."""
    ruling = rule_on(compared(pairs(60, 10, 10)), GateConfig(rule="better"))

    assert (ruling.standing, ruling.num_more_episodes) == ("undecided", None)


def test_a_small_loss_is_undecided_until_enough_episodes_show_it() -> None:
    """20 seeds, 4 gained, 7 lost; what is said to decide does decide, and less does not."""
    samples = compared(pairs(20, 4, 7))
    ruling = rule_on(samples, GateConfig())
    assert ruling.standing == "undecided"
    assert ruling.num_more_episodes is not None

    def high(num_more: int) -> float:
        return interval(scaled(PairCounts(20, 4, 7), 1 + num_more / 20), 0.95).high

    assert high(ruling.num_more_episodes) < 0 <= high(ruling.num_more_episodes - 2)
    assert "more episodes of each policy would decide" in ruling_sentence(
        ruling, samples, GateConfig()
    )


def test_the_gain_of_one_task_does_not_hide_the_loss_of_another() -> None:
    """+40 points on one task, 10 lost and none gained on the other: the total is better, yet no."""
    samples = compared(pairs(50, 20, 0, "cube"), pairs(50, 0, 10, "drawer"))
    ruling = rule_on(samples, GateConfig())

    assert samples.overall is not None
    assert samples.overall.outcome == "better" or samples.overall.difference > 0
    assert ruling.standing == "fails"
    assert ruling.because is not None
    assert ruling.because.task == "drawer"
    assert standing(samples, per_task="off") == "holds"


def test_a_loss_on_one_task_that_may_be_chance_holds_a_promotion_back() -> None:
    """3 of 10 lost proves nothing, and is more than 10 points: a person decides, or 10 more do."""
    samples = compared(pairs(90, 40, 2, "cube"), pairs(10, 0, 3, "drawer"))
    ruling = rule_on(samples, GateConfig())

    assert ruling.standing == "undecided"
    assert ruling.why == "task_loss"
    assert ruling.num_more_episodes is not None
    assert standing(samples, max_task_loss=0.3) == "holds"
    assert standing(samples, max_task_loss=0.3, per_task="each") == "undecided"


def test_ten_tasks_need_more_than_one_bad_draw() -> None:
    """6 of 6 lost on one of ten tasks: p = 1/64 alone is 10/64 among ten, and shows nothing."""
    alone = compared(pairs(40, 0, 6, "a"))
    among = compared(*[pairs(40, 6 * (t != "a"), 6 * (t == "a"), t) for t in "abcdefghij"])

    assert alone.tasks[0].outcome == "worse"
    assert among.tasks[0].outcome == "undecided"


def test_other_seeds_are_compared_as_independent_samples() -> None:
    """Newcombe and Fisher; a task that only the current policy was tried on holds back."""
    current, new = outcomes([0, 1] * 20), outcomes([1] * 36 + [0] * 4, first_seed=1000)
    samples = compare_on_tasks(current, new, confidence=0.95)

    assert isinstance(samples.tasks[0].sample, Rates)
    assert rule_on(samples, GateConfig(rule="better")).standing == "holds"
    more = compare_on_tasks([*current, *outcomes([1], "drawer")], new, confidence=0.95)
    assert rule_on(more, GateConfig()).why == "missing_task"


def test_more_of_an_easy_task_is_no_gain() -> None:
    """Equal on both tasks, but the new policy had more of the easy one: pooled it would win."""
    current = [*outcomes([1] * 18 + [0] * 2, "easy"), *outcomes([1] * 8 + [0] * 72, "hard")]
    new = [
        *outcomes([1] * 72 + [0] * 8, "easy", 900),
        *outcomes([1] * 2 + [0] * 18, "hard", 900),
    ]
    samples = compare_on_tasks(current, new, confidence=0.95)

    assert samples.overall is not None
    assert samples.overall.difference == pytest.approx(0)
    assert samples.overall.outcome == "undecided"


def test_pairs_are_what_the_gate_pairs() -> None:
    """Within a task, of the tasks that both had; none at all where a task's seeds differ."""
    cube, drawer = pairs(20, 3, 1), pairs(10, 0, 2, "drawer")  # the same seeds for both tasks
    current, new = cube[0] + drawer[0], outcomes([1] * 5, "door") + drawer[1] + cube[1]

    found = pairs_by_seed(current, new)

    assert found is not None
    assert len(found) == 30
    assert sum(pair.new.success > pair.current.success for pair in found) == 3
    assert sum(pair.new.success < pair.current.success for pair in found) == 3
    assert pairs_by_seed(current, new[:-1]) is None
    assert pairs_by_seed(cube[0], drawer[1]) is None


def test_few_episodes_promote_nothing() -> None:
    """19 of 19 gained is no promotion at 20 episodes; 19 of 19 lost is a loss all the same."""
    assert rule_on(compared(pairs(19, 19, 0)), GateConfig()).why == "too_few"
    assert standing(compared(pairs(19, 0, 19))) == "fails"


def test_old_settings_keep_their_meaning() -> None:
    """``if_not_worse`` has compared two rates, and still does."""
    assert with_gate({"promote": "never", "a": 1}) == {"a": 1, "gate": GateConfig(rule="never")}
    assert with_gate({"a": 1}) == {"a": 1}
    for gained, lost in ((1, 1), (2, 1)):
        samples = compared(pairs(4, gained, lost))
        assert rule_on(samples, EXACTLY_AS_SUCCESSFUL).standing == "holds"
    assert rule_on(compared(pairs(4, 1, 2)), EXACTLY_AS_SUCCESSFUL).standing == "undecided"
    with pytest.raises(ValueError, match=r"gate\.rule"):
        with_gate({"promote": "sometimes"})


episodes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=24)
rules = st.builds(
    GateConfig,
    rule=st.sampled_from(["better", "not_worse"]),
    per_task=st.sampled_from(["off", "each", "no_harm"]),
    max_loss=st.sampled_from([0.05, 0.1, 0.5]),
    min_gain=st.sampled_from([0.0, 0.1]),
    min_episodes=st.just(4),
)


@settings(max_examples=15)
@given(episodes, episodes)
def test_swapped_policies_have_the_swapped_outcome(
    cube: list[tuple[bool, bool]], drawer: list[tuple[bool, bool]]
) -> None:
    """Intervals are mirrored, better is worse."""
    one = compared(*_both(cube, drawer))
    other = compared(*((new, current) for current, new in _both(cube, drawer)))
    swapped = {"better": "worse", "worse": "better", "undecided": "undecided"}
    for there, back in zip((*one.tasks, one.overall), (*other.tasks, other.overall), strict=True):
        assert there is not None
        assert back is not None
        assert there.interval is not None
        assert back.interval is not None
        assert there.interval.low == pytest.approx(-back.interval.high, abs=1e-7)
        assert back.outcome == swapped[there.outcome or ""]


@settings(max_examples=12)
@given(episodes, episodes, rules, st.data())
def test_a_success_more_never_hurts(
    cube: list[tuple[bool, bool]],
    drawer: list[tuple[bool, bool]],
    config: GateConfig,
    data: st.DataObject,
) -> None:
    """Whatever the rule, turning a failure of the new policy into a success lowers no standing."""
    failures = [i for i, (_, new) in enumerate(cube) if not new]
    if not failures:
        return
    chosen = data.draw(st.sampled_from(failures))
    raised = [(was, new or i == chosen) for i, (was, new) in enumerate(cube)]

    before = rule_on(compared(*_both(cube, drawer)), config).standing
    after = rule_on(compared(*_both(raised, drawer)), config).standing

    assert RANK[after] >= RANK[before]


@settings(max_examples=15)
@given(episodes, episodes, rules)
def test_a_task_that_is_worse_is_never_promoted(
    cube: list[tuple[bool, bool]], drawer: list[tuple[bool, bool]], config: GateConfig
) -> None:
    """Unless tasks are not looked at, whatever the other task gained."""
    samples = compared(*_both(cube, drawer))

    is_harmed = any(task.outcome == "worse" for task in samples.tasks)

    if is_harmed and config.per_task != "off":
        assert rule_on(samples, config).standing == "fails"


def _both(
    cube: list[tuple[bool, bool]], drawer: list[tuple[bool, bool]]
) -> list[tuple[list[EpisodeOutcome], list[EpisodeOutcome]]]:
    return [
        (outcomes([was for was, _ in task], name), outcomes([new for _, new in task], name))
        for name, task in (("cube", cube), ("drawer", drawer))
    ]
