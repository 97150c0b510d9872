"""What a policy server counts, as JSON and in Prometheus' text format."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

WINDOW = 2048
"""Latest durations that quantiles are taken over."""
_PREFIX = "recap_serve"


class Durations:
    """Count and sum of all durations, quantiles of the latest ``WINDOW``. Not thread-safe."""

    def __init__(self) -> None:
        self.count = 0
        self.sum_s = 0.0
        self._latest: deque[float] = deque(maxlen=WINDOW)

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.sum_s += seconds
        self._latest.append(seconds)

    def quantiles(self, *shares: float) -> list[float]:
        """Seconds; NaN before the first duration."""
        if not self._latest:
            return [float("nan")] * len(shares)
        return [float(x) for x in np.quantile(np.array(self._latest), shares)]

    def plain(self) -> dict[str, float | int | None]:
        """Count, and mean, p50 and p99 in milliseconds; None before the first."""
        if not self.count:
            return {"count": 0, "mean_ms": None, "p50_ms": None, "p99_ms": None}
        p50, p99 = self.quantiles(0.5, 0.99)
        return {
            "count": self.count,
            "mean_ms": 1e3 * self.sum_s / self.count,
            "p50_ms": 1e3 * p50,
            "p99_ms": 1e3 * p99,
        }


class ServingStatistics:
    """Counters of one server; every method may be called from any thread.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._started = clock()
        self._inference = Durations()
        self._total = Durations()
        self._counts: dict[str, int] = dict.fromkeys(
            (
                "connections_total",
                "refused_connections_total",
                "request_errors_total",
                "internal_errors_total",
                "swaps_total",
                "refused_swaps_total",
                "recorded_total",
                "dropped_recordings_total",
            ),
            0,
        )
        self._gauges: dict[str, int] = {"connections": 0, "queue_length": 0}

    def answered(self, *, inference_s: float, total_s: float) -> None:
        """A request was answered.

        Args:
            inference_s: Time of the policy.
            total_s: From the request's arrival to the answer's departure, waiting included.
        """
        with self._lock:
            self._inference.add(inference_s)
            self._total.add(total_s)

    def count(self, what: str) -> None:
        """One more of a counter that exists."""
        with self._lock:
            self._counts[what] += 1

    def gauge(self, what: str, change: int) -> None:
        """Add ``change`` to a gauge that exists."""
        with self._lock:
            self._gauges[what] += change

    def plain(self, policy: Mapping[str, str]) -> dict[str, Any]:
        """Everything, for JSON.

        Args:
            policy: What is served now: its ``name``, ``id`` and the like.
        """
        with self._lock:
            return {
                "policy": dict(policy),
                "uptime_s": self._clock() - self._started,
                "inference": self._inference.plain(),
                "request": self._total.plain(),
                **self._gauges,
                **self._counts,
            }

    def prometheus(self, policy: Mapping[str, str]) -> str:
        """Everything, as Prometheus scrapes it."""
        with self._lock:
            labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in policy.items())
            lines = [
                f"# TYPE {_PREFIX}_policy_info gauge",
                f"{_PREFIX}_policy_info{{{labels}}} 1",
                f"# TYPE {_PREFIX}_uptime_seconds gauge",
                f"{_PREFIX}_uptime_seconds {self._clock() - self._started:.3f}",
            ]
            for name, durations in (("inference", self._inference), ("request", self._total)):
                lines += _summary(f"{_PREFIX}_{name}_seconds", durations)
            for kind, values in (("gauge", self._gauges), ("counter", self._counts)):
                for name, value in values.items():
                    full = f"{_PREFIX}_{name}"
                    lines += [f"# TYPE {full} {kind}", f"{full} {value}"]
        return "\n".join(lines) + "\n"


def _summary(name: str, durations: Durations) -> list[str]:
    p50, p99 = durations.quantiles(0.5, 0.99)
    return [
        f"# TYPE {name} summary",
        f'{name}{{quantile="0.5"}} {p50:.6f}',
        f'{name}{{quantile="0.99"}} {p99:.6f}',
        f"{name}_sum {durations.sum_s:.6f}",
        f"{name}_count {durations.count}",
    ]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
