"""The numbers of held-out episodes apart by task: an average hides the task that is not learned."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from recap_core.config.stages import HealthConfig
from recap_core.valuation.calibration import Interval
from recap_core.valuation.health import HeldOut, assess_health

OVERFIT_RATIO = 1.5
"""Cross-entropy on held-out episodes over that on trained ones, from which memory is suspected."""


class TaskHealth(NamedTuple):
    """What a value model shows on the held-out episodes of one task."""

    task: str
    num_success_episodes: int
    num_failure_episodes: int
    num_frames: int
    cross_entropy: float
    """Nats."""
    spearman: Interval
    """NaN where an outcome has fewer than two episodes."""
    separation: Interval
    """NaN likewise."""


def health_by_task(
    held_out: HeldOut,
    episode_tasks: Int[np.ndarray, " e"],
    tasks: Sequence[str],
    config: HealthConfig,
) -> tuple[TaskHealth, ...]:
    """One row per task that has held-out frames, in the order of ``tasks``.

    Args:
        held_out: Predictions.
        episode_tasks: Task of every episode of the dataset.
        tasks: Task texts by task index.
        config: Says how often to resample.
    """
    of_frame = episode_tasks[held_out.episode]
    rows = []
    for index in np.unique(of_frame):
        report = assess_health(_of(held_out, of_frame == index), config)
        rows.append(
            TaskHealth(
                tasks[int(index)],
                report.num_success_episodes,
                report.num_failure_episodes,
                report.num_frames,
                report.cross_entropy,
                report.spearman,
                report.separation,
            )
        )
    return tuple(rows)


def overfit_warning(held_out: float, trained: float) -> str | None:
    """A sentence if held-out episodes are predicted much worse than trained ones, else None.

    Args:
        held_out: Cross-entropy, nats.
        trained: The same, on episodes that the model was trained on.
    """
    if not held_out > OVERFIT_RATIO * trained:
        return None
    return (
        f"cross-entropy is {held_out:.2f} nats on these episodes, but {trained:.2f} on those the "
        "model was trained on: it remembers them. Stop earlier, freeze more, or record more."
    )


def _of(held_out: HeldOut, mine: np.ndarray) -> HeldOut:
    """The frames of some episodes; the mean distribution stays that of all."""
    frames = {name: array[mine] for name, array in held_out._asdict().items() if name != "bin_mass"}
    return HeldOut(bin_mass=held_out.bin_mass, **frames)
