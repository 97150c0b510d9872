"""Rates of a training, on a clock that the test turns."""

import jax
import pytest

from recap_core.sharding import device_mesh
from recap_core.training import throughput
from recap_core.training.throughput import Throughput


class Clock:
    """Seconds, as told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def _after_two_steps(clock: Clock, flops_per_sample: int | None = None) -> Throughput:
    """A compiling step until second 60, and two of two seconds, waiting for data one in each."""
    counted = Throughput(
        batch_size=8,
        mesh=device_mesh(devices=jax.devices()[:1]),
        flops_per_sample=flops_per_sample,
        clock=clock,
    )
    for now in (60.0, 62.0, 64.0):
        clock.now = now
        counted.count(waited_s=1.0)
    return counted


def test_rates_leave_compiling_out() -> None:
    """Two steps in four seconds, half of them spent waiting."""
    found = _after_two_steps(Clock()).metrics()

    assert found["steps_per_s"] == pytest.approx(0.5)
    assert found["samples_per_s"] == pytest.approx(4)
    assert found["data_wait"] == pytest.approx(0.5)
    # This process has libraries loaded, and less than the machine's memory.
    assert 0.05 < found["host_gb"] < 100


def test_measuring_is_no_training_time() -> None:
    """A hundred seconds of validation between two steps leave the rates as they are."""
    clock = Clock()
    counted = _after_two_steps(clock)
    with counted.paused():
        clock.now += 100

    assert counted.metrics()["steps_per_s"] == pytest.approx(0.5)


def test_each_line_counts_its_own_steps() -> None:
    """One more step in a second, without waiting."""
    clock = Clock()
    counted = _after_two_steps(clock)
    counted.metrics()
    clock.now = 65.0
    counted.count(waited_s=0.0)

    found = counted.metrics()

    assert (found["steps_per_s"], found["data_wait"]) == (1, 0)


def test_nothing_is_known_before_the_second_step() -> None:
    """The first step compiles, so a line after it has no rates."""
    counted = Throughput(batch_size=8, mesh=device_mesh(devices=jax.devices()[:1]))
    counted.count(waited_s=0.0)

    assert "steps_per_s" not in counted.metrics()


def test_utilisation_is_a_share_of_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four samples per second of 25 operations, on a device that could do 1000."""
    assert "mfu" not in _after_two_steps(Clock(), 25).metrics()

    monkeypatch.setattr(throughput, "peak_flops", lambda _: 1000.0)

    assert _after_two_steps(Clock(), 25).metrics()["mfu"] == pytest.approx(0.1)
