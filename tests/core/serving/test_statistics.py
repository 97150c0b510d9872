"""What a server counts; numbers worked out on paper."""

import pytest

from recap_core.serving.statistics import ServingStatistics

POLICY = {"name": 'a "new" one', "id": "0a1b"}


def counted() -> ServingStatistics:
    """Ten requests of 1 to 10 ms, each 1 ms longer as a whole, 5 s after the start."""
    times = iter([100.0, 105.0, 105.0])
    statistics = ServingStatistics(clock=lambda: next(times))
    for i in range(1, 11):
        statistics.answered(inference_s=i / 1000, total_s=(i + 1) / 1000)
    statistics.count("request_errors_total")
    statistics.gauge("connections", 3)
    statistics.gauge("connections", -1)
    return statistics


def test_means_and_quantiles() -> None:
    """Of 1 to 10 ms: mean 5.5, p50 5.5, p99 halfway by linear interpolation, 9.91."""
    found = counted().plain(POLICY)

    assert found["policy"] == POLICY
    assert found["uptime_s"] == 5
    assert found["inference"] == pytest.approx(
        {"count": 10, "mean_ms": 5.5, "p50_ms": 5.5, "p99_ms": 9.91}
    )
    assert found["request"]["p50_ms"] == pytest.approx(6.5)
    assert (found["connections"], found["request_errors_total"]) == (2, 1)


def test_the_same_for_prometheus() -> None:
    """Summaries in seconds; quotes in labels are escaped."""
    lines = counted().prometheus(POLICY).splitlines()

    assert 'recap_serve_policy_info{name="a \\"new\\" one",id="0a1b"} 1' in lines
    assert 'recap_serve_inference_seconds{quantile="0.5"} 0.005500' in lines
    assert "recap_serve_inference_seconds_sum 0.055000" in lines
    assert "recap_serve_request_seconds_count 10" in lines
    assert "recap_serve_connections 2" in lines
    assert "recap_serve_uptime_seconds 5.000" in lines


def test_before_the_first_request_there_are_no_times() -> None:
    """Null in JSON, NaN for Prometheus."""
    statistics = ServingStatistics()

    assert statistics.plain({})["inference"] == {
        "count": 0,
        "mean_ms": None,
        "p50_ms": None,
        "p99_ms": None,
    }
    assert 'recap_serve_inference_seconds{quantile="0.99"} nan' in statistics.prometheus({})


def test_old_times_leave_the_quantiles() -> None:
    """They are those of the latest 2048 requests; the mean is that of all."""
    statistics = ServingStatistics()
    statistics.answered(inference_s=2049.0, total_s=2049.0)
    for _ in range(2048):
        statistics.answered(inference_s=1.0, total_s=1.0)

    found = statistics.plain({})["inference"]

    assert (found["p50_ms"], found["p99_ms"]) == (1000, 1000)
    assert found["mean_ms"] == pytest.approx(1000 * (2049 + 2048) / 2049)


def test_only_known_counters_count() -> None:
    """A misspelt one is an error in our code."""
    with pytest.raises(KeyError):
        ServingStatistics().count("request_errors")
