"""Batches made ahead in the background."""

import threading
import time

import numpy as np

from recap_core.training.prefetch import Prefetch
from tests.core.training.regression import LineBatches
from tests.stage_processes import until


def test_batches_come_in_order() -> None:
    """Every step from start to stop, once."""
    batches = LineBatches()

    with Prefetch(batches, start=3, stop=7) as prefetch:
        received = [(step, np.asarray(batch["x"])) for step, batch in prefetch]

    assert [step for step, _ in received] == [3, 4, 5, 6]
    for step, x in received:
        np.testing.assert_allclose(x, batches.frames(step) / 10, rtol=1e-6)


def test_the_producer_stays_a_bounded_number_of_steps_ahead() -> None:
    """With nobody asking, two batches wait in the queue and one in hand."""
    batches = LineBatches()

    with Prefetch(batches, start=0, stop=100, depth=2):
        until(lambda: len(batches.asked) == 3)
        time.sleep(0.05)  # time enough for what must not happen

    assert batches.asked == [0, 1, 2]


def test_leaving_early_ends_the_thread() -> None:
    """A consumer that stops half-way leaves no thread behind."""
    with Prefetch(LineBatches(), start=0, stop=1000) as prefetch:
        next(iter(prefetch))

    assert "prefetch" not in {thread.name for thread in threading.enumerate()}
