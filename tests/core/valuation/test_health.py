"""The health gate, on predictions made up to be good or bad in a known way."""

import numpy as np
import pytest

from recap_core.config.stages import HealthConfig
from recap_core.valuation.health import HeldOut, _ranking, assess_health, rank_correlation
from recap_core.valuation.task_health import health_by_task, overfit_warning

CONFIG = HealthConfig(num_bootstrap=200)


def _held_out(
    *, values: np.ndarray | None = None, num_success: int = 5, num_failure: int = 5
) -> HeldOut:
    """Episodes of ten frames; successes are worth -(frames to go)/10, failures -1."""
    num = num_success + num_failure
    episode = np.repeat(np.arange(num), 10)
    to_go = np.tile(np.arange(9, -1, -1), num)
    success = episode < num_success
    targets = np.where(success, -to_go / 10, -1.0)
    return HeldOut(
        values=targets if values is None else values,
        targets=targets,
        cross_entropy=np.full(10 * num, 2.0),
        target_rank=np.tile([0, 1, 4, 5, 9, 0, 1, 4, 5, 9], num),
        episode=episode,
        frames_to_go=to_go,
        success=success,
        bin_mass=np.full(201, 1 / 201),
        top_bin=np.round((targets + 1) * 200).astype(int),
    )


def test_a_perfect_model_is_healthy() -> None:
    """V equal to its target: rank correlation 1; means -0.45 and -1 are 0.55 apart."""
    report = assess_health(_held_out(), CONFIG)

    assert report.healthy
    assert report.reasons == ()
    assert report.spearman.estimate == pytest.approx(1)
    assert report.spearman_time_to_go == pytest.approx(1)
    assert report.separation.estimate == pytest.approx(0.55)
    assert report.separation.low == pytest.approx(0.55)


def test_counts_and_top_k_shares() -> None:
    """Of ten frames two have their target's bin on top and six among the first five."""
    report = assess_health(_held_out(), CONFIG)

    assert (report.num_success_episodes, report.num_failure_episodes) == (5, 5)
    assert report.num_frames == 100
    assert report.top1 == pytest.approx(0.2)
    assert report.top5 == pytest.approx(0.6)
    assert report.cross_entropy == pytest.approx(2.0)


def test_noise_ranks_nothing() -> None:
    """Random values have intervals around zero: both bars are missed, by name."""
    values = np.random.default_rng(0).uniform(-1, 0, 100)

    report = assess_health(_held_out(values=values), CONFIG)

    assert not report.healthy
    assert any("rank correlation" in reason for reason in report.reasons)
    assert any("separation" in reason for reason in report.reasons)
    assert report.spearman.low < report.spearman.estimate < report.spearman.high


def test_a_constant_prediction_is_unhealthy() -> None:
    """A saturated model correlates with nothing, and says so without a warning."""
    report = assess_health(_held_out(values=np.full(100, -0.5)), CONFIG)

    assert not report.healthy
    assert report.spearman.estimate == 0
    assert report.separation.estimate == 0


def test_a_collapsed_distribution_is_unhealthy() -> None:
    """One bin with 95 % of the mass is more than the 90 % that are allowed."""
    mass = np.full(201, 0.05 / 200)
    mass[0] = 0.95

    report = assess_health(_held_out()._replace(bin_mass=mass), CONFIG)

    assert not report.healthy
    assert report.reasons == (
        "one bin holds 95% of the predicted mass, more than 90%: the predictions have collapsed",
    )


@pytest.mark.parametrize(("num_success", "num_failure"), [(5, 0), (0, 5), (5, 1)])
def test_both_outcomes_must_be_held_out(num_success: int, num_failure: int) -> None:
    """Without two episodes of either outcome nothing can be said, so labels are not trusted."""
    report = assess_health(_held_out(num_success=num_success, num_failure=num_failure), CONFIG)

    assert not report.healthy
    assert f"{num_success} successes and {num_failure} failures" in report.reasons[0]
    assert "held_out_spearman" not in report.metrics()


def test_the_bars_are_settings() -> None:
    """A model that separates outcomes by 0.55 misses a bar of 0.6."""
    report = assess_health(_held_out(), CONFIG.model_copy(update={"min_separation": 0.6}))

    assert len(report.reasons) == 1
    assert report.reasons[0] == (
        "separation of successes and failures is 0.55 [0.55, 0.55], "
        "its lower 95 % bound must be above 0.6"
    )


def test_the_verdict_is_deterministic() -> None:
    """The bootstrap is seeded: the same predictions give the same interval."""
    values = np.random.default_rng(1).uniform(-1, 0, 100)
    first, second = (assess_health(_held_out(values=values), CONFIG) for _ in range(2))

    assert first == second


def test_every_metric_has_a_name() -> None:
    """A manifest gets plain floats."""
    metrics = assess_health(_held_out(), CONFIG).metrics()

    assert metrics["held_out_spearman_low"] == pytest.approx(1)
    assert metrics["held_out_separation"] == pytest.approx(0.55)
    assert all(type(value) is float for value in metrics.values())


def test_rank_correlation_by_hand() -> None:
    """1 - 6 sum(d^2) / (n (n^2 - 1)) with one swap among four: 1 - 6 * 2 / 60 = 0.8."""
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])

    assert rank_correlation(a, b) == pytest.approx(0.8)
    assert rank_correlation(a, np.ones(4)) == 0
    assert rank_correlation(a[:1], b[:1]) == 0


def test_weighted_ranks_are_ranks_of_what_was_drawn() -> None:
    """A bootstrap by weights gives what ranking the drawn frames gives, ties included."""
    rng = np.random.default_rng(0)
    values = np.round(rng.uniform(-1, 0, 100), 1)
    held_out = _held_out(values=values)
    drawn = rng.integers(0, 5, 5), rng.integers(5, 10, 5)
    rows = np.concatenate([np.flatnonzero(held_out.episode == e) for e in np.concatenate(drawn)])

    found = _ranking(held_out)(*drawn)

    plain = rank_correlation(values[rows], held_out.targets[rows])
    assert found == pytest.approx(plain, abs=1e-12)


def test_the_order_of_episodes_changes_nothing() -> None:
    """Predicted last to first, a model gets the same verdict."""
    values = np.random.default_rng(1).uniform(-1, 0, 100)
    held_out = _held_out(values=values)
    order = np.concatenate([np.arange(10) + 10 * e for e in range(9, -1, -1)])
    turned = HeldOut(
        **{k: v if k == "bin_mass" else v[order] for k, v in held_out._asdict().items()}
    )

    first, second = assess_health(held_out, CONFIG), assess_health(turned, CONFIG)

    assert second.spearman == pytest.approx(first.spearman)
    assert second.separation == pytest.approx(first.separation)


def test_one_most_likely_bin_may_be_a_bar_too() -> None:
    """95 of 100 frames have the same top bin: off by default, a collapse under a bar of 90 %."""
    held_out = _held_out()._replace(top_bin=np.where(np.arange(100) < 95, 7, 8))
    strict = CONFIG.model_copy(update={"max_top_bin_share": 0.9})

    assert assess_health(held_out, CONFIG).healthy
    report = assess_health(held_out, strict)

    assert report.max_top_bin_share == pytest.approx(0.95)
    assert len(report.reasons) == 1
    assert "the most likely one of 95% of the frames, more than 90%" in report.reasons[0]


def test_a_biased_model_misses_a_calibration_bar() -> None:
    """V a tenth below its target everywhere ranks perfectly, and is off by that much."""
    targets = _held_out().targets
    report = assess_health(
        _held_out(values=np.where(targets > -1, targets - 0.1, targets)),
        CONFIG.model_copy(update={"max_calibration_error": 0.04}),
    )

    assert report.calibration_error.estimate == pytest.approx(0.05)
    assert len(report.reasons) == 1
    assert "expected calibration error is 0.05, more than 0.04" in report.reasons[0]


def test_a_model_that_diverged_is_unhealthy() -> None:
    """Predictions that are no numbers are called what they are."""
    values = _held_out().targets.copy()
    values[3] = np.nan

    report = assess_health(_held_out(values=values), CONFIG)

    assert not report.healthy
    assert report.reasons[0].startswith("predictions are not finite")


def test_tasks_apart() -> None:
    """Even episodes are of one task, odd ones of another, which V gets upside down."""
    held_out = _held_out()
    is_odd = held_out.episode % 2 == 1
    values = np.where(is_odd, -1 - held_out.targets, held_out.targets)

    good, bad = health_by_task(
        held_out._replace(values=values), np.arange(10) % 2, ("fold", "pour"), CONFIG
    )

    assert (good.task, good.num_success_episodes, good.num_failure_episodes) == ("fold", 3, 2)
    assert good.spearman.estimate == pytest.approx(1)
    assert bad.spearman.estimate == pytest.approx(-1)
    assert bad.separation.estimate == pytest.approx(-good.separation.estimate, abs=0.01)
    assert (good.num_frames, bad.num_frames) == (50, 50)


def test_memory_is_told_from_learning() -> None:
    """Half as much again on held-out episodes is a warning; less is not."""
    assert overfit_warning(3.0, 2.1) is None
    assert "5.00 nats on these episodes, but 1.20" in str(overfit_warning(5.0, 1.2))
