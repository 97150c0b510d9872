"""What a training says of itself: bounded run-ahead, lines of metrics, and the NaN guard."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int

from recap_core.checkpoints.train_state import newest_train_state
from recap_core.config.training import TrainConfig
from recap_core.errors import TrainingError
from recap_core.progress import Bar, MetricsLog
from recap_core.sharding import is_first_process
from recap_core.training.prefetch import Batches
from recap_core.training.step import Mean, Metrics
from recap_core.training.throughput import Throughput

METRICS_FILE = "metrics.jsonl"
_GUARDED = ("loss", "grad_norm", "param_norm")
_STEPS_IN_FLIGHT = 2
_SECONDS_BETWEEN_REDRAWS = 0.2
_MAX_FRAMES_IN_MESSAGE = 64


class Journal:
    """Metrics of the steps since the last line."""

    def __init__(  # noqa: PLR0913 - options are keyword-only
        self,
        batches: Batches,
        config: TrainConfig,
        work: Path,
        *,
        start: int,
        bar: Bar,
        throughput: Throughput,
    ) -> None:
        """Continue the metrics in ``work``.

        Args:
            batches: For the frames of a step that went wrong.
            config: Optimisation settings.
            work: Directory of ``metrics.jsonl``, which the first process alone writes.
            start: Finished steps.
            bar: Who watches.
            throughput: Counts the time.
        """
        self._batches = batches
        self._config = config
        self._work = work
        self._bar = bar
        self._throughput = throughput
        self._log: MetricsLog | None = None
        if is_first_process():
            self._log = MetricsLog(work / METRICS_FILE, resume_step=start)
        self._done = start
        self._pending: list[Metrics] = []
        self._note = "compiling"
        self._validation = ""
        self._drawn_at = time.monotonic()
        bar.update(start, self._note)

    def add(self, metrics: Metrics, *, waited_s: float) -> None:
        """Take a step's metrics, which the devices may still be computing.

        Args:
            metrics: Of the step.
            waited_s: Time that the loop waited for the step's batch.
        """
        self._pending.append(metrics)
        self._done += 1
        self._throughput.count(waited_s)
        if len(self._pending) > _STEPS_IN_FLIGHT:
            # Wait for an older step: the host stays ahead, but not without bound.
            jax.block_until_ready(self._pending[-1 - _STEPS_IN_FLIGHT]["loss"])
        now = time.monotonic()
        if now - self._drawn_at >= _SECONDS_BETWEEN_REDRAWS:
            self._bar.update(self._done, self._note)
            self._drawn_at = now

    def write(self, measured: Mapping[str, float] | None = None) -> None:
        """Check the pending steps, and append their means to ``metrics.jsonl``, if there are any.

        Args:
            measured: Further metrics, of the state after the last of them.

        Raises:
            TrainingError: If one of them is not finite.
        """
        if not self._pending:
            return
        rows, measured = self._finite_rows(), measured or {}
        means = _means(rows)
        means["lr"] = float(rows[-1]["lr"].total)
        if self._log is not None:
            self._log.write(self._done, means | self._throughput.metrics() | dict(measured))
        if "val_loss" in measured:
            best = measured.get("best_val_loss", measured["val_loss"])
            self._validation = f"  val {measured['val_loss']:.4g} (best {best:.4g})"
        self._note = f"loss {means['loss']:.4g}  lr {means['lr']:.2e}{self._validation}"
        self._bar.update(self._done, self._note)
        self._drawn_at = time.monotonic()
        self._pending.clear()

    def check(self) -> None:
        """Raise TrainingError if a pending step is not finite."""
        self._finite_rows()

    def _finite_rows(self) -> list[Mapping[str, Mean]]:
        rows = jax.device_get(self._pending)
        for offset, row in enumerate(rows):
            for name in _GUARDED:
                if not math.isfinite(row[name].total):
                    step = self._done - len(rows) + offset
                    raise self._not_finite(name, float(row[name].total), step)
        return rows

    def _not_finite(self, name: str, value: float, step: int) -> TrainingError:
        places = self._batches.places(step)
        bad = _rows_with_bad_numbers(self._batches(step), len(places))
        cause = f" Not finite in the data themselves: {_named(places[bad])}." if len(bad) else ""
        return TrainingError(
            f"{name} is {value} at step {step + 1} of {self._config.num_steps}, on "
            f"{len(places)} frames: {_named(places)}.{cause} "
            f"Last good checkpoint: {newest_train_state(self._work) or 'none'}. "
            f"Check those frames, or lower peak_lr (now {self._config.optimizer.peak_lr:.3g})."
        )


def _named(places: Int[np.ndarray, "b 2"]) -> str:
    """``episode 3, frames 17, 20; episode 5, frames 2``."""
    listed = places[:_MAX_FRAMES_IN_MESSAGE]
    by_episode = [
        f"episode {episode}, frames {', '.join(map(str, listed[listed[:, 0] == episode, 1]))}"
        for episode in dict.fromkeys(listed[:, 0].tolist())
    ]
    rest = len(places) - len(listed)
    return "; ".join(by_episode) + (f"; and {rest} more" if rest else "")


def _rows_with_bad_numbers(batch: object, num_rows: int) -> Int[np.ndarray, " bad"]:
    """Rows of a batch that hold NaN or infinity; none where this process has not all rows."""
    bad = np.zeros(num_rows, dtype=bool)
    for leaf in map(np.asarray, jax.tree.leaves(batch)):
        if len(leaf) == num_rows and np.issubdtype(leaf.dtype, np.floating):
            bad |= ~np.isfinite(leaf.reshape(num_rows, -1)).all(axis=1)
    return np.flatnonzero(bad)


def _means(rows: list[Mapping[str, Mean]]) -> dict[str, float]:
    totals = {name: sum(float(row[name].total) for row in rows) for name in rows[0]}
    nums = {name: sum(float(row[name].num) for row in rows) for name in rows[0]}
    return {name: totals[name] / nums[name] for name in rows[0] if nums[name] > 0}
