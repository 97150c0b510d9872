"""openpi's learning-rate schedule, number by number."""

import math

import numpy as np
import pytest

from recap_core.config.training import OptimizerConfig
from recap_core.training.optimizer import learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 2.5e-5 / 1001),
        (500, (2.5e-5 / 1001 + 2.5e-5) / 2),
        (1000, 2.5e-5),
        (15_500, (2.5e-5 + 2.5e-6) / 2),
        (30_000, 2.5e-6),
        (1_000_000, 2.5e-6),
    ],
)
def test_the_default_schedule(step: int, expected: float) -> None:
    """Warm-up over 1000 steps, half a cosine down to a tenth at 30,000, then constant."""
    assert np.asarray(learning_rate(OptimizerConfig())(step)) == pytest.approx(expected, rel=1e-5)


def test_no_warm_up_starts_at_the_peak() -> None:
    """With zero warm-up steps the cosine starts at once."""
    schedule = learning_rate(
        OptimizerConfig(peak_lr=1.0, end_lr=0.0, warmup_steps=0, decay_steps=4)
    )

    expected = [0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(5)]
    np.testing.assert_allclose([np.asarray(schedule(i)) for i in range(5)], expected, atol=1e-6)


def test_equal_peak_and_end_stay_constant_after_the_warm_up() -> None:
    """pi05_libero's schedule: peak = end."""
    schedule = learning_rate(
        OptimizerConfig(peak_lr=5e-5, end_lr=5e-5, warmup_steps=10, decay_steps=1000)
    )

    np.testing.assert_allclose([np.asarray(schedule(i)) for i in (10, 500, 2000)], 5e-5, rtol=1e-6)
