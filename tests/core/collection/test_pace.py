"""The beat of the control loop."""

import pytest

from recap_core.collection.pace import Pace
from tests.core.collection.live_cell import HandClock


def test_delays_do_not_add_up() -> None:
    """Work of changing length between ticks; the beat stays on its schedule."""
    clock = HandClock()
    pace = Pace(10, now=clock.now, sleep=clock.sleep)
    times = []
    for work_s in (0.0, 0.09, 0.01, 0.05, 0.0):
        pace.wait()
        times.append(clock.now_s)
        clock.sleep(work_s)

    assert [round(time - times[0], 6) for time in times] == [0, 0.1, 0.2, 0.3, 0.4]
    stats = pace.stats()
    assert stats.mean_hz == pytest.approx(10)
    assert stats.jitter_p99_ms == pytest.approx(0, abs=1e-6)
    assert stats.num_late == 0


def test_missed_ticks_are_given_up_and_counted() -> None:
    """After a standstill of 0.35 s the beat begins anew, with no burst of ticks."""
    clock = HandClock()
    pace = Pace(10, now=clock.now, sleep=clock.sleep)
    pace.wait()
    clock.sleep(0.35)

    assert pace.wait() == pytest.approx(0.35)
    assert pace.wait() == pytest.approx(0.1)
    stats = pace.stats()
    assert stats.num_late == 1
    assert stats.jitter_max_ms == pytest.approx(250)
    assert stats.mean_hz == pytest.approx(2 / 0.45)


def test_a_pause_between_episodes_is_no_delay() -> None:
    """Saving takes its time; the statistics and the beat do not know."""
    clock = HandClock()
    pace = Pace(10, now=clock.now, sleep=clock.sleep)
    pace.wait()
    clock.sleep(3)
    pace.skip()

    assert pace.wait() == 0
    assert pace.wait() == pytest.approx(0.1)
    assert pace.stats(num_last=5).num_late == 0


def test_no_tick_no_rate() -> None:
    """Before the second tick nothing is known."""
    assert Pace(10).stats().mean_hz == 0
